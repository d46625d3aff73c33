"""Confidence intervals of 95 % for means, for their differences and ratios, and for ratios of medians.

Which method for which figure was decided by the share of intervals that held the truth, see
docs/decisions/0012-statistics.md. An interval is None where the values have no spread to compute one from.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from trainer.benchmark.libraries import scipy_stats
from trainer.experiment.record import Reported

CONFIDENCE = 0.95
RESAMPLES = 9999
SEED = 0
FEWEST_FOR_MEDIANS = 5  # of fewer values the bootstrap's intervals are too narrow
_GREATEST_LOGARITHM = 700.0  # beyond, exp has no number; a ratio of so little can't be told


class Interval(Reported):
    """Where the truth lies with 95 % confidence, both ends included."""

    low: float
    high: float


class Estimate(Reported):
    """A figure, and the interval around it where there is one."""

    value: float
    interval: Interval | None = Field(None, description="None where the values have no spread, or are too few.")

    @property
    def ends(self) -> tuple[float, float]:
        """Low and high; the value itself twice where there is no interval."""
        return (self.value, self.value) if self.interval is None else (self.interval.low, self.interval.high)

    def scaled(self, factor: float) -> "Estimate":
        """The same in another unit; `factor` is above zero."""
        low, high = self.ends
        interval = None if self.interval is None else Interval(low=factor * low, high=factor * high)
        return Estimate(value=factor * self.value, interval=interval)


def mean(values: Sequence[float]) -> Estimate:
    """The mean, by Student's t."""
    value = statistics.fmean(values)
    if len(values) < 2:
        return Estimate(value=value)
    return Estimate(value=value, interval=_around(value, _squared_error(values), len(values) - 1))


def difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """The mean of `a` minus that of `b`, by Welch's t: neither spread nor number need be equal."""
    value = statistics.fmean(a) - statistics.fmean(b)
    if min(len(a), len(b)) < 2:
        return Estimate(value=value)
    errors = _squared_error(a), _squared_error(b)
    return Estimate(value=value, interval=_around(value, sum(errors), _freedom(errors, a, b)))


def ratio(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """The mean of `a` divided by that of `b`; None unless all values are above zero.

    Welch's t on the logarithms of the means, the variance of a logarithm being that of the mean divided by its square
    (the delta method).
    """
    if min(*a, *b) <= 0:
        return None
    above, below = statistics.fmean(a), statistics.fmean(b)
    value = above / below
    if min(len(a), len(b)) < 2:
        return Estimate(value=value)
    errors = _squared_error(a) / above**2, _squared_error(b) / below**2
    logarithm = _around(math.log(value), sum(errors), _freedom(errors, a, b))
    if logarithm is None or logarithm.high > _GREATEST_LOGARITHM:
        return Estimate(value=value)
    return Estimate(value=value, interval=Interval(low=math.exp(logarithm.low), high=math.exp(logarithm.high)))


def ratio_of_medians(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """The median of `a` divided by that of `b`; None unless all values are above zero.

    By the percentile bootstrap, whose seed is fixed: the same values give the same interval.
    """
    if min(*a, *b) <= 0:
        return None
    import numpy as np

    def statistic(a: Any, b: Any, axis: int) -> Any:
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    value = float(np.median(a) / np.median(b))
    if min(len(a), len(b)) < FEWEST_FOR_MEDIANS or len({*a}) == len({*b}) == 1:
        return Estimate(value=value)
    found = scipy_stats().bootstrap(
        (a, b),
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    low, high = found.confidence_interval
    return Estimate(value=value, interval=Interval(low=float(low), high=float(high)))


def _squared_error(values: Sequence[float]) -> float:
    """The variance of the mean."""
    return statistics.variance(values) / len(values)


def _freedom(errors: tuple[float, float], a: Sequence[float], b: Sequence[float]) -> float:
    """Welch and Satterthwaite's degrees of freedom; of no spread at all it doesn't matter how many."""
    parts = math.fsum(error**2 / (len(values) - 1) for error, values in zip(errors, (a, b), strict=True))
    return sum(errors) ** 2 / parts if parts > 0 else 1.0


def _around(value: float, squared_error: float, freedom: float) -> Interval | None:
    if squared_error == 0:
        return None
    reach = float(scipy_stats().t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(squared_error)
    return Interval(low=value - reach, high=value + reach)
