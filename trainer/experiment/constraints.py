"""What a point's records say of a search's constraints: the figures they bound, and how far each is broken. Pure."""

import math
from collections.abc import Sequence

from trainer.experiment import moments
from trainer.experiment.bounds import PEAK_MEMORY, Constraint
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.record import Record

_UNKNOWN = 1.0  # as much as a constraint is broken by whose figure is missing


def figure(record: Record, metric: str) -> float | None:
    """What a constraint bounds of a trial: bytes, seconds, or as reported. None where there is no finite figure."""
    known = OBJECTIVES.get(metric)
    value: float | None
    if metric == PEAK_MEMORY:
        value = max((float(memory.counted_peak) for memory in record.memory if memory is not None), default=None)
    elif known is not None and known.part == "seconds":
        value = getattr(record.seconds, metric.removesuffix("Seconds"))
    else:
        value = record.metrics.get(metric)
    return value if value is not None and math.isfinite(value) else None


def violations(constraints: Sequence[Constraint], records: Sequence[Record]) -> tuple[float, ...]:
    """How far a point with these records lies beyond each constraint, in its unit: above 0 it is broken.

    Of several records the mean counts, of memory the most. Where one lacks the figure it is 1.
    """
    return tuple(_violation(constraint, records) for constraint in constraints)


def measured(constraint: Constraint, records: Sequence[Record]) -> float | None:
    """What a constraint bounds of a point with these records; None where one lacks the figure."""
    found = [value for record in records if (value := figure(record, constraint.metric)) is not None]
    if not found or len(found) < len(records):
        return None
    return max(found) if constraint.metric == PEAK_MEMORY else moments.mean(found)


def _violation(constraint: Constraint, records: Sequence[Record]) -> float:
    value = measured(constraint, records)
    if value is None:
        return _UNKNOWN
    over = -math.inf if constraint.at_most is None else value - constraint.at_most
    under = -math.inf if constraint.at_least is None else constraint.at_least - value
    return max(over, under)
