"""Shows a local run while it runs: one live display on a terminal, plain lines anywhere else."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

from trainer.experiment.best import objective_value
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.experiment.spec import Experiment
from trainer.packages import have
from trainer.report.results import outcome_text
from trainer.report.run_progress import RunProgress
from trainer.report.wording import duration, number, one_line, settings


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
