"""Welch's t: two means whose samples differ in spread and number, by their difference or their logarithms."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.benchmark.libraries import scipy_stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Welch:
    """A figure whose estimate varies as Student's t does: with this squared standard error and degrees of freedom."""

    value: float
    squared_error: float
    freedom: float

    def reach(self) -> float | None:
        """How far the interval of 95 % reaches to either side; None where nothing varies."""
        if self.squared_error == 0:
            return None
        factor = float(scipy_stats().t.ppf((1 + CONFIDENCE) / 2, self.freedom))
        return factor * math.sqrt(self.squared_error)

    def p(self) -> float | None:
        """How often chance would bring it as far from zero, were it zero in truth; None where nothing varies."""
        if self.squared_error == 0:
            return None
        return 2 * float(scipy_stats().t.sf(abs(self.value) / math.sqrt(self.squared_error), self.freedom))


def mean(values: Sequence[float]) -> Welch:
    """The mean of two values or more, which is Student's case."""
    return Welch(statistics.fmean(values), _squared_error(values), len(values) - 1)


def difference(a: Sequence[float], b: Sequence[float]) -> Welch:
    """The mean of `a` minus that of `b`, of two values or more each."""
    errors = _squared_error(a), _squared_error(b)
    return Welch(statistics.fmean(a) - statistics.fmean(b), sum(errors), _freedom(errors, a, b))


def logarithm_of_ratio(a: Sequence[float], b: Sequence[float]) -> Welch:
    """The logarithm of the mean of `a` divided by that of `b`, of two values or more each, all above zero.

    The variance of a logarithm is taken to be that of the mean divided by its square (the delta method).
    """
    above, below = statistics.fmean(a), statistics.fmean(b)
    errors = _squared_error(a) / above**2, _squared_error(b) / below**2
    return Welch(math.log(above / below), sum(errors), _freedom(errors, a, b))


def _squared_error(values: Sequence[float]) -> float:
    """The variance of the mean."""
    return statistics.variance(values) / len(values)


def _freedom(errors: tuple[float, float], a: Sequence[float], b: Sequence[float]) -> float:
    """Welch and Satterthwaite's degrees of freedom; where nothing varies it doesn't matter how many."""
    parts = math.fsum(error**2 / (len(values) - 1) for error, values in zip(errors, (a, b), strict=True))
    return sum(errors) ** 2 / parts if parts > 0 else 1.0
