"""The figures of a box plot, and of the values that it stands for."""

import math
import statistics
from collections.abc import Sequence

from pydantic import Field

from trainer.experiment.record import Reported

_FENCE = 1.5  # Tukey's, in interquartile ranges


class BoxPlot(Reported):
    """What a box plot of `n` values shows, outliers in ascending order.

    The quartiles are interpolated linearly between the sorted values, at (n - 1)/4 and 3(n - 1)/4 counted from 0:
    type 7 of Hyndman and Fan (1996), which is numpy's default.
    """

    n: int
    mean: float
    variance: float | None = Field(description="Of a sample: divided by n - 1. None of one value.")
    deviation: float | None = Field(description="The root of the variance.")
    min: float
    q1: float
    median: float
    q3: float
    max: float
    iqr: float = Field(description="q3 - q1.")
    low_fence: float = Field(description="q1 - 1.5 iqr. What lies below is an outlier.")
    high_fence: float = Field(description="q3 + 1.5 iqr. What lies above is an outlier.")
    low_whisker: float = Field(description="The least value that is no outlier.")
    high_whisker: float = Field(description="The greatest value that is no outlier.")
    outliers: tuple[float, ...]


def box_plot(values: Sequence[float]) -> BoxPlot:
    """The box plot of values in any order.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    ordered = sorted(float(value) for value in values)
    if not ordered or not all(map(math.isfinite, ordered)):
        raise ValueError(f"a box plot must have one or more finite values, got {list(values)}")
    n = len(ordered)
    q1, median, q3 = (quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    low, high = q1 - _FENCE * (q3 - q1), q3 + _FENCE * (q3 - q1)
    within = [value for value in ordered if low <= value <= high]
    return BoxPlot(
        n=n,
        mean=statistics.fmean(ordered),
        variance=statistics.variance(ordered) if n > 1 else None,
        deviation=statistics.stdev(ordered) if n > 1 else None,
        min=ordered[0],
        q1=q1,
        median=median,
        q3=q3,
        max=ordered[-1],
        iqr=q3 - q1,
        low_fence=low,
        high_fence=high,
        low_whisker=within[0],
        high_whisker=within[-1],
        outliers=tuple(value for value in ordered if not low <= value <= high),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value `share` (0 to 1) of the way through sorted values, to the bit as numpy interpolates it."""
    below, part = divmod((len(ordered) - 1) * share, 1)
    low, high = ordered[int(below)], ordered[min(int(below) + 1, len(ordered) - 1)]
    # From the nearer end, as numpy does: the other way rounds differently.
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)
