"""Which point of a search is best: by an objective that a trial has only if it succeeded. Pure.

Points are ranked within groups of trials that may be compared (see `comparable`). One that breaks a constraint of the
search is measured, and never best.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice
from typing import Annotated

from pydantic import Field

from trainer.experiment import moments
from trainer.experiment.bounds import Constraint
from trainer.experiment.comparable import Contents, comparable
from trainer.experiment.constraints import violations
from trainer.experiment.expand import Trial
from trainer.experiment.metrics import OBJECTIVES, Direction
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import UNREAD, Record, Reported, naive_name
from trainer.experiment.space import Point
from trainer.experiment.spec import Objective

_MOST_TIES = 16
_LEADERS = 5


class Best(Reported):
    """The point with the best objective: the mean over its repeats, all of which must have succeeded."""

    index: int = Field(description="The index of its first trial.")
    id: str = Field(description="The id of its first trial.")
    parameters: Annotated[Point, Field(max_length=32)] = Field(description="Its parameters, by path.")
    metric: str = Field(description="The figure that was compared.")
    direction: Direction = Field(description="Whether less or more of it is better.")
    value: float = Field(description="The mean of that figure over the repeats.")
    deviation: float | None = Field(
        description="Its standard deviation over the repeats; null for a single one, and where no float is near."
    )
    repeats: int = Field(description="How many repeats the mean is over.")
    ties: Annotated[tuple[int, ...], Field(max_length=_MOST_TIES)] = Field(
        (), description="The indexes of the first trials of other points with the same value, the first of them."
    )


class Leading(Reported):
    """One of the best points of a search."""

    index: int = Field(description="The index of its first trial.")
    id: str = Field(description="The id of its first trial.")
    parameters: Annotated[Point, Field(max_length=32)] = Field(description="Its parameters, by path.")
    value: float = Field(description="The mean of the objective over the repeats.")


class Naive(Reported):
    """A prediction that has learnt nothing, beside the trials: the training targets' mean, or their shares."""

    value: float = Field(description="What it gets on the validation samples.")
    beaten_by: int = Field(description="How many trials do better.")
    trials: int = Field(description="Of how many that can be compared with it.")
    best_beats: bool = Field(description="Whether the best point does better.")
    test_value: float | None = Field(None, description="What it gets on the test samples; null without any.")
    best_test_value: float | None = Field(
        None, description="What the best point gets on the test samples, by which it was not chosen."
    )


class Ranked(Reported):
    """The trials of a search that may be ranked together, because they were validated on the same samples."""

    fields: Annotated[Point, Field(max_length=32)] = Field(
        description="The varied fields of data that all of them share, by path."
    )
    trials: int = Field(description="How many trials.")
    best: Best | None = Field(description="The best point of them; null where none has all its repeats.")
    naive: Naive | None = Field(description="How a naive prediction does; null where it was not measured.")


@dataclass(frozen=True)
class Breaking:
    """A point that would be best if it did not break `constraint`; `records` are those of its repeats."""

    trial: Trial
    value: float
    constraint: Constraint
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Points:
    """The points of comparable trials that have all their repeats, by number: the mean objective of each.

    `kept` are those of them that break no constraint, `firsts` the first trial of each.
    """

    means: Mapping[int, float]
    kept: Mapping[int, float]
    firsts: Mapping[int, Trial]
    sign: int

    def leaders(self) -> tuple[Leading, ...]:
        """The best of those that may be best, in order."""
        best = nsmallest(_LEADERS, self.kept, key=lambda point: (self.sign * self.kept[point], point))
        return tuple(
            Leading(index=trial.index, id=trial.id, parameters=trial.parameters, value=self.kept[trial.point])
            for trial in map(self.firsts.__getitem__, best)
        )


@dataclass(frozen=True)
class Ranking:
    """The groups of a search. `other` trials have other content than the first record, and are in none.

    `unverified` are how many trials of the groups don't tell their data; `unread` the parameters that no trial of a
    program's read. `points` and `breaking` are of the one group, None where there is none or several.
    """

    groups: tuple[Ranked, ...]
    other: tuple[Trial, ...]
    unverified: int
    unread: tuple[str, ...] = ()
    points: Points | None = None
    breaking: Breaking | None = None

    @property
    def best(self) -> Best | None:
        """The best point, None where there is none, or where there are several groups."""
        return self.groups[0].best if len(self.groups) == 1 else None


def rank(
    objective: Objective,
    trials: Sequence[Trial],
    counted: Mapping[str, Record],
    first: Contents,
    constraints: Sequence[Constraint] = (),
) -> Ranking:
    """The points of a search by their trials' latest records; `first` is what `comparable.contents` returned."""
    read = objective_reader(objective.metric)
    values = {
        trial.id: value
        for trial in trials
        if (record := counted.get(trial.id)) is not None and (value := read(record)) is not None
    }
    found = comparable(objective.metric, trials, {identity: counted[identity] for identity in values}, first)
    sizes = Counter([trial.point for trial in trials])
    groups, points, breaking = [], None, None
    for group in found.groups:
        points = _points(objective, group.trials, values, sizes, constraints, counted)
        leader = _best(objective, group.trials, values, sizes, points)
        naive = _naive(objective, group.trials, leader, values, counted)
        groups.append(Ranked(fields=dict(group.fields), trials=len(group.trials), best=leader, naive=naive))
        breaking = _breaking(points, group.trials, constraints, counted)
    if len(groups) > 1:
        points = breaking = None
    return Ranking(tuple(groups), found.other, found.unverified, _unread(trials, counted, values), points, breaking)


def _points(
    objective: Objective,
    trials: Sequence[Trial],
    of_trial: Mapping[str, float],
    sizes: Mapping[int, int],
    constraints: Sequence[Constraint],
    counted: Mapping[str, Record],
) -> Points:
    """The points of a group."""
    of_point: dict[int, list[Trial]] = {}
    for trial in trials:
        of_point.setdefault(trial.point, []).append(trial)
    whole = {point: each for point, each in of_point.items() if len(each) == sizes[point]}
    means = {
        point: of_trial[each[0].id] if len(each) == 1 else moments.mean([of_trial[trial.id] for trial in each])
        for point, each in whole.items()
    }
    kept = means
    if constraints:
        kept = {
            point: means[point]
            for point, each in whole.items()
            if max(violations(constraints, [counted[trial.id] for trial in each])) <= 0
        }
    sign = 1 if direction(objective) == "Minimize" else -1
    return Points(means, kept, {point: each[0] for point, each in whole.items()}, sign)


def _breaking(
    points: Points, trials: Sequence[Trial], constraints: Sequence[Constraint], counted: Mapping[str, Record]
) -> Breaking | None:
    """The point that only a constraint keeps from being the best; None where there is none."""
    at = min(points.means, key=lambda point: points.sign * points.means[point], default=None)
    best = min((points.sign * value for value in points.kept.values()), default=math.inf)
    if at is None or at in points.kept or points.sign * points.means[at] >= best:
        return None
    records = tuple(counted[trial.id] for trial in trials if trial.point == at)
    beyond = violations(constraints, records)
    broken = next(each for each, amount in zip(constraints, beyond, strict=True) if amount > 0)
    return Breaking(points.firsts[at], points.means[at], broken, records)


def _unread(trials: Sequence[Trial], counted: Mapping[str, Record], measured: Iterable[str]) -> tuple[str, ...]:
    """The parameters that all measured trials say they have not read."""
    told = {identity: str(counted[identity].evidence.get(UNREAD, "")).split(", ") for identity in measured}
    if all(names == [""] for names in told.values()):
        return ()
    found: dict[str, bool] = {}
    for trial in trials:
        if (names := told.get(trial.id)) is not None:
            found |= {name: found.get(name, True) and name in names for name in trial.parameters}
    return tuple(name for name, by_none in found.items() if by_none)


def _best(
    objective: Objective,
    trials: Sequence[Trial],
    of_trial: Mapping[str, float],
    sizes: Mapping[int, int],
    points: Points,
) -> Best | None:
    kept = points.kept
    if not kept:
        return None
    at = min(kept, key=lambda point: points.sign * kept[point])  # of equals, the one listed first
    tied = islice((point for point, mean in kept.items() if mean == kept[at] and point != at), _MOST_TIES)
    first = points.firsts[at]
    return Best(
        index=first.index,
        id=first.id,
        parameters=first.parameters,
        metric=objective.metric,
        direction=direction(objective),
        value=kept[at],
        deviation=moments.deviation([of_trial[trial.id] for trial in trials if trial.point == at]),
        repeats=sizes[at],
        ties=tuple(points.firsts[point].index for point in tied),
    )


def _naive(
    objective: Objective,
    trials: Sequence[Trial],
    leader: Best | None,
    values: Mapping[str, float],
    counted: Mapping[str, Record],
) -> Naive | None:
    name, sign = naive_name(objective.metric), 1 if direction(objective) == "Minimize" else -1
    compared = [
        (values[trial.id], naive) for trial in trials if (naive := counted[trial.id].metrics.get(name)) is not None
    ]
    if leader is None or not compared:
        return None
    point = next(trial.point for trial in trials if trial.id == leader.id)
    of_best = [counted[trial.id].metrics for trial in trials if trial.point == point]
    test = objective.metric.replace("valid", "test", 1)
    has_test = test != objective.metric
    value = _mean(of_best, name)
    if value is None:
        return None
    return Naive(
        value=value,
        beaten_by=sum(sign * value < sign * naive for value, naive in compared),
        trials=len(compared),
        best_beats=sign * leader.value < sign * value,
        test_value=_mean(of_best, naive_name(test)) if has_test else None,
        best_test_value=_mean(of_best, test) if has_test else None,
    )


def _mean(metrics: Sequence[Mapping[str, float]], name: str) -> float | None:
    """The mean of a figure that all of these have."""
    values = [each[name] for each in metrics if name in each]
    return moments.mean(values) if len(values) == len(metrics) else None


def objective_value(record: Record, metric: str) -> float | None:
    """The objective of a trial, None unless it succeeded and the figure is finite."""
    return objective_reader(metric)(record)


def objective_reader(metric: str) -> Callable[[Record], float | None]:
    """`objective_value` of this metric, for many records."""
    known = OBJECTIVES.get(metric)
    seconds = metric.removesuffix("Seconds") if known is not None and known.part == "seconds" else None

    def read(record: Record) -> float | None:
        if record.outcome is not Outcome.SUCCEEDED:
            return None
        value: float | None = record.metrics.get(metric) if seconds is None else getattr(record.seconds, seconds)
        return value if value is not None and math.isfinite(value) else None

    return read


def direction(objective: Objective) -> Direction:
    """Which way the objective improves: as the user says, else as the metric is."""
    return objective.direction or OBJECTIVES[objective.metric].better
