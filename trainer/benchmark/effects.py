"""Effect sizes: how far two samples lie apart, whatever their number."""

import math
import statistics
from collections.abc import Sequence
from typing import Literal

Magnitude = Literal["negligible", "small", "medium", "large"]

# Romano et al. (2006), "Appropriate statistics for ordinal level data", by the absolute value.
_MAGNITUDES: tuple[tuple[float, Magnitude], ...] = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"))


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

    None where no value differs from the others of its sample.
    """
    freedom = len(a) + len(b) - 2
    pooled = math.sqrt(((len(a) - 1) * statistics.variance(a) + (len(b) - 1) * statistics.variance(b)) / freedom)
    if pooled == 0:
        return None
    factor = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return factor * (statistics.fmean(a) - statistics.fmean(b)) / pooled
