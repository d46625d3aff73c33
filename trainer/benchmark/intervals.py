"""Means, their differences and ratios, and ratios of medians: each with its confidence interval of 95 %.

Which method for which figure was decided by the share of intervals that held the truth, see
docs/decisions/0013-statistics.md. An interval is None where the values have no spread to compute one from, and where
one of its ends has no float.
"""

import math
import statistics
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any

from pydantic import Field

from trainer.experiment import moments
from trainer.experiment.record import Reported
from trainer.packages import load

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


@dataclass(frozen=True)
class Welch:
    """A figure that varies as Student's t does: exact, with its squared standard error and degrees of freedom."""

    value: Fraction
    squared_error: Fraction
    freedom: float

    @classmethod
    def difference(cls, a: Sequence[float], b: Sequence[float]) -> "Welch":
        """The mean of `a` minus that of `b`, of two values or more each."""
        errors = _squared_error(a), _squared_error(b)
        value = moments.exact_mean(a) - moments.exact_mean(b)
        return cls(value, sum(errors, Fraction()), _freedom(errors, len(a), len(b)))

    @classmethod
    def logarithm_of_ratio(cls, a: Sequence[float], b: Sequence[float]) -> "Welch":
        """The logarithm of the mean of `a` divided by that of `b`, of two values or more each, all above zero.

        The variance of a logarithm is taken to be that of the mean divided by its square (the delta method).
        """
        above, below = moments.exact_mean(a), moments.exact_mean(b)
        errors = _squared_error(a) / above**2, _squared_error(b) / below**2
        value = Fraction(_logarithm(above / below))
        return cls(value, sum(errors, Fraction()), _freedom(errors, len(a), len(b)))

    def interval(self) -> Interval | None:
        """The interval of 95 %; None where nothing varies, and where an end has no float."""
        if self.squared_error == 0:
            return None
        factor = Fraction(float(scipy_stats().t.ppf((1 + CONFIDENCE) / 2, self.freedom)))
        reach = moments.root(factor**2 * self.squared_error)
        if reach is None:
            return None
        low, high = (moments.rounded(self.value + sign * Fraction(reach)) for sign in (-1, 1))
        return None if low is None or high is None else Interval(low=low, high=high)

    def p(self) -> float | None:
        """How often chance would bring it as far from zero, were it zero in truth; None where nothing varies."""
        if self.squared_error == 0:
            return None
        t = moments.root(self.value**2 / self.squared_error)
        if t is None:  # too large for a float, or too small
            t = math.inf if self.value**2 > self.squared_error else 0.0
        return 2 * float(scipy_stats().t.sf(t, self.freedom))


def scipy_stats() -> ModuleType:
    """The module scipy.stats, imported when something is compared, and not before.

    Raises:
        PackageMissing: scipy is not installed.
    """
    return load("scipy.stats", "comparing treatments")


def mean(values: Sequence[float], least: float | None = None) -> Estimate:
    """The mean, by Student's t; the interval ends at `least`, below which no value can lie."""
    value = moments.mean(values)
    if len(values) < 2:
        return Estimate(value=value)
    found = Welch(moments.exact_mean(values), _squared_error(values), len(values) - 1).interval()
    if found is not None:  # whose ends may be nearer to the mean than its last place
        low = min(found.low, value) if least is None else max(least, min(found.low, value))
        found = Interval(low=low, high=max(found.high, value))
    return Estimate(value=value, interval=found)


def difference(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """The mean of `a` minus that of `b`, by Welch's t; None where it has no float."""
    value = moments.rounded(moments.exact_mean(a) - moments.exact_mean(b))
    if value is None:
        return None
    return Estimate(value=value, interval=Welch.difference(a, b).interval() if min(len(a), len(b)) > 1 else None)


def ratio(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """The mean of `a` divided by that of `b`, by Welch's t of their logarithms.

    None unless all values are above zero, and where the ratio has no float.
    """
    value = quotient(moments.exact_mean(a), moments.exact_mean(b)) if min(*a, *b) > 0 else None
    if value is None:
        return None
    logarithm = Welch.logarithm_of_ratio(a, b).interval() if min(len(a), len(b)) > 1 else None
    if logarithm is None or max(-logarithm.low, logarithm.high) > _GREATEST_LOGARITHM:
        return Estimate(value=value)
    return Estimate(value=value, interval=Interval(low=math.exp(logarithm.low), high=math.exp(logarithm.high)))


def ratio_of_medians(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """The median of `a` divided by that of `b`; None unless all values are above zero, and where it has no float.

    By the percentile bootstrap, whose seed is fixed: the same values give the same interval.
    """
    if min(*a, *b) <= 0:
        return None
    medians = [statistics.median(map(Fraction, values)) for values in (a, b)]
    value = quotient(*medians)
    if value is None or min(len(a), len(b)) < FEWEST_FOR_MEDIANS or len({*a}) == len({*b}) == 1:
        return None if value is None else Estimate(value=value)
    return Estimate(value=value, interval=_bootstrapped(a, b, medians))


def quotient(above: Fraction, below: Fraction) -> float | None:
    """A figure above zero divided by another; None where that is beyond the largest float, or nearest to 0."""
    return moments.rounded(above / below) or None


def _bootstrapped(a: Sequence[float], b: Sequence[float], medians: Sequence[Fraction]) -> Interval | None:
    """The interval of a ratio of medians; None where resamples differ by more than a float can hold."""
    stats = scipy_stats()  # brings numpy
    import numpy as np

    def statistic(a: Any, b: Any, axis: int) -> Any:
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    # Powers of two change no bit of the ratio. With them both medians are near 1, so that sums stay in range.
    scales = [math.frexp(float(median))[1] for median in medians]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is judged below
        found = stats.bootstrap(
            tuple(np.ldexp(values, -scale) for values, scale in zip((a, b), scales, strict=True)),
            statistic,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(SEED),
        )
    ends = [float(end) for end in found.confidence_interval]
    if not all(math.isfinite(end) and end > 0 for end in ends):
        return None
    low, high = (quotient(Fraction(end), Fraction(2) ** (scales[1] - scales[0])) for end in ends)
    return None if low is None or high is None else Interval(low=low, high=high)


def _squared_error(values: Sequence[float]) -> Fraction:
    """The variance of the mean."""
    return moments.exact_variance(values) / len(values)


def _freedom(errors: tuple[Fraction, Fraction], n: int, m: int) -> float:
    """Welch and Satterthwaite's degrees of freedom; where nothing varies it doesn't matter how many."""
    whole = sum(errors)
    if whole == 0:
        return 1.0
    share = float(errors[0] / whole)
    return 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1))


def _logarithm(ratio: Fraction) -> float:
    """The natural logarithm of what is above zero, also where it is itself beyond a float's range."""
    near = moments.rounded(ratio)
    if near is None or near < sys.float_info.min:
        return math.log(ratio.numerator) - math.log(ratio.denominator)
    return math.log(near)
