"""A local run while it runs: counts, the best so far, the time left; live on a terminal, elsewhere as plain lines."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from trainer.experiment import moments
from trainer.experiment.best import direction, objective_value
from trainer.experiment.comparable import depends_on_validation
from trainer.experiment.constraints import violations
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import LEFT_OUT, Outcome
from trainer.experiment.record import VALIDATION, Record
from trainer.experiment.space import Point
from trainer.experiment.spec import Experiment, HyperparamSearch, Scalar
from trainer.packages import have
from trainer.report.results import outcome_text
from trainer.report.wording import at_once, count, duration, number, one_line, settings, short_names


@dataclass
class Running:
    """A trial that runs now; `metrics` are those of the last step that it told of, None before it did."""

    trial: Trial
    since: float
    step: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Leader:
    """The best point so far: the mean over its repeats, as in the summary."""

    parameters: Point
    value: float
    point: int


class RunProgress:
    """Counts what begins and ends. `kept` are final records of an earlier run, whose trials do not run again.

    Of a learning search `planned` are the points that it is to have. `told` is whether running trials tell of their
    steps, which they do where they run.
    """

    def __init__(
        self,
        experiment: Experiment,
        trials: Sequence[Trial],
        kept: Sequence[Record],
        *,
        slots: int,
        planned: int | None = None,
        told: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = experiment.name
        self.total = len(trials) if planned is None else planned * experiment.spec.repeats
        self.slots = slots
        self.told = told
        self.steps = "epoch" if experiment.spec.program is None else "step"  # what trials tell of
        self.metric: str | None = None
        self.sign = 1
        if isinstance(experiment, HyperparamSearch):
            self.metric = experiment.spec.objective.metric
            self.sign = 1 if direction(experiment.spec.objective) == "Minimize" else -1
        paths = dict.fromkeys(path for trial in trials for path in trial.parameters)
        if planned is not None and isinstance(experiment, HyperparamSearch):
            paths = dict.fromkeys(parameter.name for parameter in experiment.spec.parameters)
        self.names = short_names(paths)
        self.running: dict[str, Running] = {}
        self.done = self.failed = self.stopped = 0
        self.leader: Leader | None = None
        self._points = {trial.id: trial.point for trial in trials}
        self._repeats = experiment.spec.repeats
        self._constraints = experiment.spec.constraints if isinstance(experiment, HyperparamSearch) else ()
        self._of_point: dict[int, list[tuple[float, Record]]] = {}  # the objective and the record of each repeat
        self._measured: list[float] = []
        self._validated_on: set[Scalar | None] = set()
        self._now = now
        for record in kept:
            self._count(record)
        self.heading = _heading(self.total, trials, self.done, slots)

    def grown(self, trials: Sequence[Trial]) -> None:
        """A learning search has further trials."""
        self._points |= {trial.id: trial.point for trial in trials}

    def started(self, trial: Trial, seconds: float = 0.0) -> None:
        """A trial runs, and has run for so long."""
        self.running[trial.id] = Running(trial, self._now() - seconds)

    def reported(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> None:
        """A running trial has told its metrics after a step."""
        if (running := self.running.get(trial.id)) is not None:
            running.step, running.metrics = step, metrics

    def ended(self, trial: Trial, record: Record) -> None:
        """A trial has left its record."""
        self.running.pop(trial.id, None)
        if record.outcome in (Outcome.SUCCEEDED, Outcome.STOPPED):
            self._measured.append(record.seconds.total)
        self._count(record)

    def seconds(self, running: Running) -> float:
        """How long a trial has been running."""
        return self._now() - running.since

    def seconds_left(self) -> float | None:
        """What is left at the mean time of this run's trials that succeeded or were stopped; None before one."""
        if not self._measured:
            return None
        mean = math.fsum(self._measured) / len(self._measured)
        waiting = max(0, self.total - self.done - len(self.running))
        # Of those that train together each has had its share of the time.
        together = max(1.0, len(self.running) / self.slots)
        rest = math.fsum(max(0.0, mean - self.seconds(running) / together) for running in self.running.values())
        return (waiting * mean + rest) / self.slots

    def _count(self, record: Record) -> None:
        if not record.final:
            return
        self.done += 1
        self.failed += record.outcome is not Outcome.SUCCEEDED and record.outcome not in LEFT_OUT
        self.stopped += record.outcome is Outcome.STOPPED
        value = objective_value(record, self.metric) if self.metric is not None else None
        point = self._points.get(record.id)
        if value is None or point is None:
            return
        self._validated_on.add(record.evidence.get(VALIDATION))
        if len(self._validated_on) > 1 and self.metric is not None and depends_on_validation(self.metric):
            self.leader = None  # there is no best of figures that answer different questions
            return
        repeats = self._of_point.setdefault(point, [])
        repeats.append((value, record))
        if len(repeats) < self._repeats:
            return
        if any(beyond > 0 for beyond in violations(self._constraints, [each for _, each in repeats])):
            return
        mean = moments.mean([each for each, _ in repeats])
        # Of equals the one listed first, whichever ended first.
        if self.leader is None or (self.sign * mean, point) < (self.sign * self.leader.value, self.leader.point):
            self.leader = Leader(record.parameters, mean, point)


def _heading(total: int, trials: Sequence[Trial], kept: int, slots: int) -> str:
    parts = [count(total, "trial")]
    if kept:
        parts.append(f"{kept:,} done before")
    parts.append(at_once(slots))
    threads = {trial.threads for trial in trials}
    workers = {trial.workers for trial in trials}
    if len(workers) == 1 and workers != {1}:
        parts.append(f"{workers.pop()} workers each")
    if len(threads) == 1 and (each := threads.pop()) is not None:
        parts.append(f"{count(each, 'thread')} each")
    return ", ".join(parts)


class Progress(Protocol):
    """What a runner tells of its trials. None of it waits for a terminal longer than a write takes."""

    def grown(self, trials: Sequence[Trial]) -> None:
        """A learning search has further trials."""

    def started(self, trial: Trial, seconds: float = 0.0) -> None:
        """A trial's process runs, and has run for so long."""

    def reported(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> None:
        """A running trial has told its metrics after a step; of our trainer an epoch, counted from 1."""

    def waits(self, what: str) -> None:
        """The run waits for something, which takes long or may never come."""

    def ended(self, trial: Trial, record: Record) -> None:
        """A trial's record is in the ledger."""


@contextmanager
def progress(
    experiment: Experiment,
    trials: Sequence[Trial],
    kept: Sequence[Record],
    *,
    slots: int,
    stream: TextIO,
    planned: int | None = None,
    told: bool = True,
) -> Iterator[Progress]:
    """The progress of `trials`, all of the experiment's; `kept` are final records of an earlier run.

    Of a learning search `planned` are the points that it is to have. `told` is whether running trials tell of their
    steps.

    On a terminal a thread of its own redraws the display, so fork what must not have threads before this begins.
    Without rich there are lines on a terminal too.
    """
    progress = RunProgress(experiment, trials, kept, slots=slots, planned=planned, told=told)
    if stream.isatty() and have("rich"):
        from trainer.report.terminal import display  # rich takes 100 ms to import

        with display(progress, stream) as shown:
            yield shown
    else:
        yield Lines(progress, stream)


class Lines:
    """One line when it begins and one per ended trial, without control characters."""

    def __init__(self, progress: RunProgress, stream: TextIO) -> None:
        self._progress = progress
        self._stream = stream
        self._write(progress.heading)

    def grown(self, trials: Sequence[Trial]) -> None:
        """Says nothing: they start at once."""
        self._progress.grown(trials)

    def started(self, trial: Trial, seconds: float = 0.0) -> None:
        """Says nothing yet."""
        self._progress.started(trial, seconds)

    def reported(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> None:
        """Says nothing: a log with a line per step is not read."""

    def waits(self, what: str) -> None:
        """Writes what is waited for."""
        self._write(f"waiting for {one_line(what, 300)}")

    def ended(self, trial: Trial, record: Record) -> None:
        """Writes how a trial ended."""
        self._progress.ended(trial, record)
        progress = self._progress
        parts = [f"{progress.done} of {progress.total}", f"trial {trial.index}", ending(record, progress.metric)]
        parts.append(settings(trial.parameters, progress.names))
        if trial.repeat:
            parts.append(f"repeat {trial.repeat}")
        self._write("  ".join(parts))

    def _write(self, text: str) -> None:
        # A reader that has gone away must not stop the training.
        try:
            self._stream.write(f"{self._progress.name}  {text}\n")
            self._stream.flush()
        except (OSError, ValueError):
            return


def ending(record: Record, metric: str | None) -> str:
    """How a trial ended, in one line: its outcome, then its objective or its error, then its time."""
    said = [outcome_text(record)]
    value = objective_value(record, metric) if metric is not None else None
    if value is not None:
        said.append(f"{metric} {number(value)}")
    elif record.error:
        said.append(one_line(record.error, 300))
    if record.outcome is not Outcome.SKIPPED:
        said.append(duration(record.seconds.total))
    return "  ".join(said)
