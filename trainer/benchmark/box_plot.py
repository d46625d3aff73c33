"""The figures of a box plot, and of the values that it stands for."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from pydantic import Field

from trainer.experiment import moments
from trainer.experiment.error_messages import show
from trainer.experiment.record import Reported

_FENCE = Fraction(3, 2)  # Tukey's, in interquartile ranges


class BoxPlot(Reported):
    """What a box plot of `n` values shows, outliers in ascending order.

    The quartiles are interpolated linearly between the sorted values, at (n - 1)/4 and 3(n - 1)/4 counted from 0:
    type 7 of Hyndman and Fan (1996), which is numpy's default. A figure beyond the largest float is None.
    """

    n: int
    mean: float
    variance: float | None = Field(
        description="Of a sample: divided by n - 1. None of one value, and where only 0 is near."
    )
    deviation: float | None = Field(description="The root of the variance, of which it needs no float.")
    min: float
    q1: float
    median: float
    q3: float
    max: float
    iqr: float | None = Field(description="q3 - q1.")
    low_fence: float | None = Field(description="q1 - 1.5 iqr. What lies below is an outlier.")
    high_fence: float | None = Field(description="q3 + 1.5 iqr. What lies above is an outlier.")
    low_whisker: float = Field(description="The least value that is no outlier.")
    high_whisker: float = Field(description="The greatest value that is no outlier.")
    outliers: tuple[float, ...]


def box_plot(values: Iterable[float]) -> BoxPlot:
    """The box plot of values in any order.

    Raises:
        ValueError: there is no value, or one is not a finite number.
    """
    ordered = sorted(finite(value, "a box plot must have one or more finite values") for value in values)
    if not ordered:
        raise ValueError("a box plot must have one or more finite values, got none")
    q1, median, q3 = (quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    iqr = Fraction(q3) - Fraction(q1)
    low, high = moments.rounded(Fraction(q1) - _FENCE * iqr), moments.rounded(Fraction(q3) + _FENCE * iqr)
    within = [value for value in ordered if (low is None or low <= value) and (high is None or value <= high)]
    below = ordered.index(within[0])
    return BoxPlot(
        n=len(ordered),
        mean=moments.mean(ordered),
        variance=moments.variance(ordered),
        deviation=moments.deviation(ordered),
        min=ordered[0],
        q1=q1,
        median=median,
        q3=q3,
        max=ordered[-1],
        iqr=moments.rounded(iqr),
        low_fence=low,
        high_fence=high,
        low_whisker=within[0],
        high_whisker=within[-1],
        outliers=(*ordered[:below], *ordered[below + len(within) :]),
    )


def finite(value: object, rule: str) -> float:
    """A number of whatever kind as a float, minus zero as zero.

    Raises:
        ValueError: it is no number, or not a finite one; the text begins with `rule`.
    """
    try:
        found = math.nan if isinstance(value, str | bytes | bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{rule}, got {show(value)}")
    return found + 0.0


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value `share` (0 to 1) of the way through sorted values, to the bit as numpy interpolates it."""
    below, part = divmod((len(ordered) - 1) * share, 1)
    low, high = ordered[int(below)], ordered[min(int(below) + 1, len(ordered) - 1)]
    if math.isinf(high - low):  # half of each is as good as the whole, and their difference is in range
        return 2 * _between(low / 2, high / 2, part)
    return _between(low, high, part)


def _between(low: float, high: float, part: float) -> float:
    # From the nearer end, as numpy does: the other way rounds differently.
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)
