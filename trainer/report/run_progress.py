"""Where a run stands while it runs: counts, the best so far, the time left. It draws nothing."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from trainer.experiment import moments
from trainer.experiment.best import direction, objective_value
from trainer.experiment.comparable import depends_on_validation
from trainer.experiment.expand import Point, Trial
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import VALIDATION, Record
from trainer.experiment.spec import Experiment, HyperparamSearch, Scalar
from trainer.report.wording import at_once, count, short_names


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
    """Counts what begins and ends. `kept` are final records of an earlier run, whose trials do not run again."""

    def __init__(
        self,
        experiment: Experiment,
        trials: Sequence[Trial],
        kept: Sequence[Record],
        *,
        slots: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = experiment.name
        self.total = len(trials)
        self.slots = slots
        self.steps = "epoch" if experiment.spec.program is None else "step"  # what trials tell of
        self.metric: str | None = None
        self.sign = 1
        if isinstance(experiment, HyperparamSearch):
            self.metric = experiment.spec.objective.metric
            self.sign = 1 if direction(experiment.spec.objective) == "Minimize" else -1
        self.names = short_names(dict.fromkeys(path for trial in trials for path in trial.parameters))
        self.running: dict[str, Running] = {}
        self.done = self.failed = 0
        self.leader: Leader | None = None
        self._points = {trial.id: trial.point for trial in trials}
        self._repeats = experiment.spec.repeats
        self._values: dict[int, list[float]] = {}
        self._measured: list[float] = []
        self._validated_on: set[Scalar | None] = set()
        self._now = now
        for record in kept:
            self._count(record)
        self.heading = _heading(trials, self.done, slots)

    def started(self, trial: Trial) -> None:
        """A trial runs from now on."""
        self.running[trial.id] = Running(trial, self._now())

    def reported(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> None:
        """A running trial has told its metrics after a step."""
        if (running := self.running.get(trial.id)) is not None:
            running.step, running.metrics = step, metrics

    def ended(self, trial: Trial, record: Record) -> None:
        """A trial has left its record."""
        self.running.pop(trial.id, None)
        if record.outcome is Outcome.SUCCEEDED:
            self._measured.append(record.seconds.total)
        self._count(record)

    def seconds(self, running: Running) -> float:
        """How long a trial has been running."""
        return self._now() - running.since

    def seconds_left(self) -> float | None:
        """What is left at the mean time of this run's trials that succeeded; None until one has."""
        if not self._measured:
            return None
        mean = math.fsum(self._measured) / len(self._measured)
        waiting = max(0, self.total - self.done - len(self.running))
        rest = math.fsum(max(0.0, mean - self.seconds(running)) for running in self.running.values())
        return (waiting * mean + rest) / self.slots

    def _count(self, record: Record) -> None:
        if not record.final:
            return
        self.done += 1
        self.failed += record.outcome not in (Outcome.SUCCEEDED, Outcome.SKIPPED)
        value = objective_value(record, self.metric) if self.metric is not None else None
        point = self._points.get(record.id)
        if value is None or point is None:
            return
        self._validated_on.add(record.evidence.get(VALIDATION))
        if len(self._validated_on) > 1 and self.metric is not None and depends_on_validation(self.metric):
            self.leader = None  # there is no best of figures that answer different questions
            return
        values = self._values.setdefault(point, [])
        values.append(value)
        if len(values) < self._repeats:
            return
        mean = moments.mean(values)
        # Of equals the one listed first, whichever ended first.
        if self.leader is None or (self.sign * mean, point) < (self.sign * self.leader.value, self.leader.point):
            self.leader = Leader(record.parameters, mean, point)


def _heading(trials: Sequence[Trial], kept: int, slots: int) -> str:
    parts = [count(len(trials), "trial")]
    if kept:
        parts.append(f"{kept:,} done before")
    parts.append(at_once(slots))
    threads = {trial.threads for trial in trials}
    workers = {trial.workers for trial in trials}
    if len(workers) == 1 and workers != {1}:
        parts.append(f"{workers.pop()} workers each")
    if len(threads) == 1 and (number := threads.pop()) is not None:
        parts.append(f"{count(number, 'thread')} each")
    return ", ".join(parts)
