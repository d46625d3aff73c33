"""The rung entries of a search, in the order of their numbers, and what each decides. Pure.

Points are compared at the same rung. With repeats the mean of a point's repeats counts, once all have come there.
"""

import math
from bisect import insort
from collections.abc import Iterable, Mapping

from trainer.experiment import moments
from trainer.experiment.bounds import EarlyStopping
from trainer.experiment.expand import Trial
from trainer.experiment.metrics import Direction
from trainer.experiment.rung import RungEntry
from trainer.scheduling.stopping import asha, median


class Rungs:
    """What is known of a search's rungs. `stopped` are the points that don't go on, `count` the number of entries."""

    def __init__(self, early: EarlyStopping, direction: Direction, repeats: int) -> None:
        self.stopped: set[int] = set()
        self.count = 0
        self._early = early
        self._sign = 1 if direction == "Minimize" else -1
        self._repeats = repeats
        self._last: dict[str, RungEntry] = {}
        self._values: dict[tuple[int, int], list[float]] = {}  # of a point's repeats at a rung
        self._costs: dict[int, list[float]] = {}  # of all points at a rung, the best first
        self._best: dict[int, float] = {}  # the lowest cost of each point so far

    def steps(self, last: int) -> list[int]:
        """The rungs up to step `last`."""
        found = [self._early.min_step]
        while found[-1] <= last:
            found.append(self._next(found[-1]))
        return found[:-1]

    def last(self, trial: str) -> RungEntry | None:
        """The entry of the last rung that a trial has reached."""
        return self._last.get(trial)

    def entry(
        self, trial: Trial, attempt: int, step: int, metrics: Mapping[str, float], metric: str
    ) -> RungEntry | None:
        """What is to be written now that a trial has told its metrics after a step; None for nothing.

        It enters the highest rung that it has come to. Those that it passed without telling it doesn't enter: a
        figure of a later step would be unfair to others. Nor does one that is run again enter a rung twice.
        """
        rung, before, value = self._rung(step), self._last.get(trial.id), metrics.get(metric, math.nan)
        if rung is None or (before is not None and before.rung >= rung):
            return None
        if trial.point in self.stopped or not math.isfinite(value):
            return None
        finite = {name: each for name, each in metrics.items() if math.isfinite(each)}
        found = RungEntry(
            number=self.count, trial=trial.id, attempt=attempt, rung=rung, step=step, value=value, metrics=finite
        )
        return found.model_copy(update={"stop": self._stops(found, trial.point)})

    def enter(self, entry: RungEntry, point: int) -> None:
        """Takes in an entry that was written. What was decided by it stands, whatever would be decided now."""
        self.count = entry.number + 1
        self._last[entry.trial] = entry
        values = self._values.setdefault((entry.rung, point), [])
        values.append(entry.value)
        if len(values) == self._repeats:
            cost = self._cost(values)
            insort(self._costs.setdefault(entry.rung, []), cost)
            self._best[point] = min(cost, self._best.get(point, cost))
        if entry.stop:
            self.stopped.add(point)

    def _stops(self, entry: RungEntry, point: int) -> bool:
        """What follows from an entry that is about to be made."""
        values = [*self._values.get((entry.rung, point), ()), entry.value]
        if len(values) < self._repeats:
            return False
        cost, others = self._cost(values), self._costs.get(entry.rung, ())
        if self._early.rule == "ASHA":
            return not asha.goes_on(cost, others, self._early.reduction)
        return not median.goes_on(min(cost, self._best.get(point, cost)), others)

    def _cost(self, values: list[float]) -> float:
        return self._sign * moments.mean(values)

    def _rung(self, step: int) -> int | None:
        """The highest rung at or below a step."""
        first = self._early.min_step
        if step < first:
            return None
        if self._early.rule == "Median":
            return step // first * first
        rung = first
        while (higher := self._next(rung)) <= step:
            rung = higher
        return rung

    def _next(self, rung: int) -> int:
        return rung * self._early.reduction if self._early.rule == "ASHA" else rung + self._early.min_step


def replayed(
    early: EarlyStopping, direction: Direction, repeats: int, entries: Iterable[RungEntry], points: Mapping[str, int]
) -> list[RungEntry]:
    """The entries with what is decided anew, in their order; `points` has the point of each trial."""
    rungs, found = Rungs(early, direction, repeats), list[RungEntry]()
    for entry in entries:
        found.append(entry.model_copy(update={"stop": rungs._stops(entry, points[entry.trial])}))
        rungs.enter(entry, points[entry.trial])
    return found
