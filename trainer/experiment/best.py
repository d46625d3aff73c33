"""Which point of a search is best: by an objective that a trial has only if it succeeded. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from trainer.experiment.expand import Point, Trial
from trainer.experiment.metrics import OBJECTIVES, Direction
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, Reported
from trainer.experiment.spec import Objective


class Best(Reported):
    """The point with the best objective: the mean over its repeats, all of which must have succeeded."""

    index: int = Field(description="The index of its first trial.")
    id: str = Field(description="The id of its first trial.")
    parameters: Annotated[Point, Field(max_length=32)] = Field(description="Its parameters, by path.")
    metric: str = Field(description="The figure that was compared.")
    direction: Direction = Field(description="Whether less or more of it is better.")
    value: float = Field(description="The mean of that figure over the repeats.")
    deviation: float | None = Field(description="Its standard deviation over the repeats; null for a single one.")
    repeats: int = Field(description="How many repeats the mean is over.")


def best(objective: Objective, trials: Sequence[Trial], counted: Mapping[str, Record]) -> Best | None:
    """The best point of a search by its trials' latest records, None without one."""
    better = direction(objective)
    sign = 1 if better == "Minimize" else -1
    read = objective_reader(objective.metric)
    sizes = Counter([trial.point for trial in trials])
    values: dict[int, list[float]] = {}
    for trial in trials:
        record = counted.get(trial.id)
        if record is not None and (value := read(record)) is not None:
            values.setdefault(trial.point, []).append(value)
    means = {
        point: of_point[0] if len(of_point) == 1 else math.fsum(of_point) / len(of_point)
        for point, of_point in values.items()
        if len(of_point) == sizes[point]
    }
    if not means:
        return None
    at = min(means, key=lambda point: sign * means[point])  # of equals, the one listed first
    first = next(trial for trial in trials if trial.point == at)
    return Best(
        index=first.index,
        id=first.id,
        parameters=first.parameters,
        metric=objective.metric,
        direction=better,
        value=means[at],
        deviation=_deviation(values[at], means[at]),
        repeats=sizes[at],
    )


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


def _deviation(values: Sequence[float], mean: float) -> float | None:
    if len(values) < 2:
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
