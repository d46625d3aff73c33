"""The live display of a run on a terminal. Only this module knows rich, and only a terminal imports it."""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from trainer.columns import GAP, aligned
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import LEFT_OUT, Outcome
from trainer.experiment.record import Record
from trainer.experiment.space import Point
from trainer.report.progress import Lines, Progress, Running, RunProgress, ending
from trainer.report.wording import brief, clock, duration, number, one_line, settings

REFRESH_HZ = 4
_ENDED = 5  # trials that ended last and are still shown
_OTHER_LINES = 7  # heading, counts, best, blank line, column heads, "more" and the prompt
_OTHER_COLUMNS = 44  # what the columns beside the parameters take


@contextmanager
def display(progress: RunProgress, stream: TextIO) -> Iterator[Progress]:
    """The display of `progress`; lines on a terminal that cannot move its cursor."""
    console = Console(file=stream, highlight=False)
    if console.is_dumb_terminal:
        yield Lines(progress, stream)
        return
    screen = Screen(progress, console)
    live = Live(
        get_renderable=screen.frame,
        console=console,
        refresh_per_second=REFRESH_HZ,
        redirect_stdout=False,  # stdout is for machines
        vertical_overflow="crop",
    )
    with live:
        try:
            yield screen
        finally:
            screen.close()


class Screen:
    """What is on the screen: the run as a whole, its running trials, and above them the trials that failed.

    Lines are aligned here rather than by rich's tables, which cost three times the CPU: the cores are training.
    """

    def __init__(self, progress: RunProgress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._ended: deque[tuple[Trial, Record]] = deque(maxlen=_ENDED)
        self._open = True
        self._lock = threading.Lock()  # the display's own thread reads what the runner's thread writes

    def grown(self, trials: Sequence[Trial]) -> None:
        """Takes in further trials of a learning search."""
        with self._lock:
            self._progress.grown(trials)

    def started(self, trial: Trial, seconds: float = 0.0) -> None:
        """Adds a trial to those that run."""
        with self._lock:
            self._progress.started(trial, seconds)

    def reported(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> None:
        """Moves a running trial on."""
        with self._lock:
            self._progress.reported(trial, step, metrics)

    def waits(self, what: str) -> None:
        """Leaves a line with what is waited for."""
        self._console.print(Padding(Text(f"waiting for {one_line(what, 300)}", style="yellow"), (0, 0, 0, 2)))

    def ended(self, trial: Trial, record: Record) -> None:
        """Counts a trial; one that failed leaves a line."""
        with self._lock:
            self._progress.ended(trial, record)
            self._ended.appendleft((trial, record))
        if record.outcome is not Outcome.SUCCEEDED:
            told = Text(f"trial {trial.index}  ", style="yellow" if record.outcome in LEFT_OUT else "red")
            told.append(ending(record, None))
            told.append(f"  {settings(trial.parameters, self._progress.names)}", style="dim")
            # Outside the lock: printing redraws the display, which takes it.
            self._console.print(Padding(told, (0, 0, 0, 2)))

    def close(self) -> None:
        """Leaves only the counts; what ended is told in full after the display."""
        with self._lock:
            self._open = False

    def frame(self) -> RenderableType:
        """The display as it is now."""
        with self._lock:
            progress = self._progress
            heading = _line((progress.name, "bold"), (f"{GAP}{progress.heading}", ""))
            if not self._open:
                return Group(heading, *self._counts())
            return Group(heading, *self._counts(), self._best(), *self._table())

    def _counts(self) -> Iterator[RenderableType]:
        progress = self._progress
        share = progress.done / max(1, progress.total)
        counted = [(f"  {progress.done} done  ", ""), (f"{progress.failed} failed", "red" if progress.failed else "")]
        if progress.stopped:
            counted.append((f"  {progress.stopped} stopped early", ""))
        if self._open:
            counted.append((f"  {len(progress.running)} running", ""))
        after = f"  {100 * share:.0f} %"
        if self._open and (left := progress.seconds_left()) is not None:
            after += f"  {clock(left)} left"
        line = _line(*counted, ("  ", ""))
        room = self._console.width - line.cell_len - len(after)
        if room >= 10:
            bar = ProgressBar(
                total=max(1, progress.total),
                completed=progress.done,
                width=min(30, room),
                complete_style="cyan",
                finished_style="yellow" if progress.failed else "green",
            )
            for segment in self._console.render(bar):
                line.append(segment.text, segment.style)
        yield line.append(after)

    def _best(self) -> RenderableType:
        progress = self._progress
        if progress.metric is None:
            return _line()
        if progress.leader is None:
            return _line(("  best so far  none yet", "dim"))
        return _line(
            ("  best so far  ", ""),
            (f"{progress.metric} {number(progress.leader.value)}", "bold green"),
            (f"   {settings(progress.leader.parameters, progress.names)}", ""),
        )

    def _table(self) -> Iterator[RenderableType]:
        """The running trials, then, where there is room, those that ended last."""
        room = max(1, self._console.height - _OTHER_LINES)
        running = list(self._progress.running.values())
        shown, ended = running[:room], list(self._ended)[: max(0, room - len(running))]
        if not shown and not ended:
            return
        points = [one.trial.parameters for one in shown] + [trial.parameters for trial, _ in ended]
        paths = self._paths_that_fit(points)
        rows = [
            ("trial", *(self._progress.names[path] for path in paths), self._progress.steps, self._watched(), "time")
        ]
        cells = [self._running(one) for one in shown] + [self._finished(trial, record) for trial, record in ended]
        for point, (index, *state) in zip(points, cells, strict=True):
            rows.append((index, *(_value(point, path) for path in paths), *state))
        styles = ["dim"] + [""] * len(shown) + ["dim"] * len(ended)
        yield _line()
        for text, style in zip(aligned(rows), styles, strict=True):
            yield _line((f"  {text}", style))
        if len(running) > len(shown):
            yield _line((f"  and {len(running) - len(shown)} more", "dim"))

    def _running(self, one: Running) -> tuple[str, str, str, str]:
        value = one.metrics.get(self._watched())
        most = f"/{one.trial.epochs}" if one.trial.epochs is not None else ""
        step = f"{one.step}{most}" if one.step is not None else "starting" if self._progress.told else "running"
        seconds = duration(self._progress.seconds(one))
        return str(one.trial.index), step, "" if value is None else number(value), seconds

    def _finished(self, trial: Trial, record: Record) -> tuple[str, str, str, str]:
        value = record.metrics.get(self._watched())
        said = "done" if record.outcome is Outcome.SUCCEEDED else str(record.outcome)
        return str(trial.index), said, "" if value is None else number(value), duration(record.seconds.total)

    def _watched(self) -> str:
        """The figure shown of each trial: the objective where epochs measure it."""
        metric = self._progress.metric
        measured = [one.metrics for one in self._progress.running.values() if one.metrics]
        if metric and (self._progress.steps == "step" or all(metric in metrics for metrics in measured)):
            return metric
        return "validLoss"

    def _paths_that_fit(self, points: list[Point]) -> list[str]:
        room = self._console.width - _OTHER_COLUMNS
        paths = []
        for path, name in self._progress.names.items():
            room -= len(GAP) + max(len(name), *(len(_value(point, path)) for point in points))
            if room < 0:
                break
            paths.append(path)
        return paths


def _value(point: Point, path: str) -> str:
    return brief(point[path]) if path in point else ""


def _line(*parts: tuple[str, str]) -> Text:
    """Text of one line, cut off where the terminal ends."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
