"""The statistics of one or two samples: means, differences and ratios with their intervals, and tests against chance.

Which method for which figure was decided by the share of intervals that held the truth, see
docs/decisions/0013-statistics.md. An interval, of 95 %, is None where the values have no spread to compute one from,
and where one of its ends has no float.
"""

import math
import statistics
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any, Literal

from pydantic import Field

from trainer.experiment import moments
from trainer.experiment.record import Reported
from trainer.packages import load

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
RESAMPLES = 9999
SEED = 0
FEWEST_FOR_MEDIANS = 5  # of fewer values the bootstrap's intervals are too narrow
_GREATEST_LOGARITHM = 700.0  # beyond, exp has no number; a ratio of so little can't be told
_MOST_DEALS = 1000  # ways to deal values to two treatments, up to which equal values are tested by all of them
Magnitude = Literal["negligible", "small", "medium", "large"]
# Romano et al. (2006), "Appropriate statistics for ordinal level data", by the absolute value.
_MAGNITUDES: tuple[tuple[float, Magnitude], ...] = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"))


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


def by_means(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The p that goes with the pair's interval: of the ratio of means, or of their difference where there is none.

    None where nothing varies.
    """
    return (Welch.logarithm_of_ratio(a, b) if min(*a, *b) > 0 else Welch.difference(a, b)).p()


def by_ranks(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Mann and Whitney's U of `a`, and its two-sided p: exact, or of the normal distribution for many values."""
    together = {*a, *b}
    if len(together) == 1:  # scipy would divide by a spread of zero
        return len(a) * len(b) / 2, 1.0
    stats = scipy_stats()
    method = "auto"
    if len(together) < len(a) + len(b) and math.comb(len(a) + len(b), len(a)) <= _MOST_DEALS:
        # Where values are equal scipy takes the normal distribution, whose p is too small for so few.
        method = stats.PermutationMethod(n_resamples=_MOST_DEALS)
    found = stats.mannwhitneyu(a, b, alternative="two-sided", method=method)
    return float(found.statistic), float(found.pvalue)


def corrected(p: Sequence[float]) -> list[float]:
    """Each p by Holm's method: of equal treatments, any is below 0.05 in at most 5 of 100 experiments."""
    multitest = load("statsmodels.stats.multitest", "comparing treatments")
    return [float(value) for value in multitest.multipletests(p, method="holm")[1]]


def least_by_ranks(n: int, m: int) -> float:
    """The smallest p that ranks can have of n and m values: that of samples which don't overlap."""
    return 2 / math.comb(n + m, n)


def cliffs_delta(u: float, n: int, m: int) -> float:
    """How often a value of the first sample exceeds one of the second, less how often it falls short: -1 to 1.

    `u` is Mann and Whitney's statistic of the first sample, which counts just that; n and m are the samples' sizes.
    """
    return 2 * u / (n * m) - 1


def magnitude(delta: float) -> Magnitude:
    """A word for a Cliff's delta."""
    return next((word for limit, word in _MAGNITUDES if abs(delta) < limit), "large")


def hedges_g(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The difference of the means in pooled standard deviations, by Hedges' (1981) exact factor for few values.

    None where no value differs from the others of its sample, and where it has no float.
    """
    freedom = len(a) + len(b) - 2
    apart = moments.exact_mean(a) - moments.exact_mean(b)
    pooled = ((len(a) - 1) * moments.exact_variance(a) + (len(b) - 1) * moments.exact_variance(b)) / freedom
    deviations = None if pooled == 0 else moments.root(apart**2 / pooled)
    if deviations is None:
        return None
    factor = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return factor * (-deviations if apart < 0 else deviations)


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
