"""Confidence intervals of 95 % for means, for their differences and ratios, and for ratios of medians.

Which method for which figure was decided by the share of intervals that held the truth, see
docs/decisions/0013-statistics.md. An interval is None where the values have no spread to compute one from.
"""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from pydantic import Field

from trainer.benchmark import welch
from trainer.benchmark.libraries import scipy_stats
from trainer.benchmark.welch import CONFIDENCE, Welch
from trainer.experiment.record import Reported

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


def mean(values: Sequence[float], least: float | None = None) -> Estimate:
    """The mean, by Student's t; the interval ends at `least`, below which no value can lie."""
    found = Estimate(value=fmean(values)) if len(values) < 2 else _estimate(welch.mean(values))
    if found.interval is None or least is None:
        return found
    low = max(least, found.interval.low)
    return Estimate(value=found.value, interval=Interval(low=low, high=found.interval.high))


def difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """The mean of `a` minus that of `b`, by Welch's t."""
    if min(len(a), len(b)) < 2:
        return Estimate(value=fmean(a) - fmean(b))
    return _estimate(welch.difference(a, b))


def ratio(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """The mean of `a` divided by that of `b`, by Welch's t of their logarithms; None unless all is above zero."""
    if min(*a, *b) <= 0:
        return None
    value = fmean(a) / fmean(b)
    if min(len(a), len(b)) < 2:
        return Estimate(value=value)
    logarithm = _estimate(welch.logarithm_of_ratio(a, b)).interval
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


def _estimate(found: Welch) -> Estimate:
    reach = found.reach()
    if reach is None:
        return Estimate(value=found.value)
    return Estimate(value=found.value, interval=Interval(low=found.value - reach, high=found.value + reach))
