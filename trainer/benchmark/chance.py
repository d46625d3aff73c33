"""Whether chance alone would set two treatments as far apart: by their means, and by their ranks."""

import math
from collections.abc import Sequence

from trainer.benchmark import welch
from trainer.benchmark.libraries import multitest, scipy_stats

SIGNIFICANCE = 0.05
_MOST_DEALS = 1000  # ways to deal values to two treatments, up to which equal values are tested by all of them


def by_means(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The p that goes with the pair's interval: of the ratio of means, or of their difference where there is none.

    None where nothing varies.
    """
    return (welch.logarithm_of_ratio(a, b) if min(*a, *b) > 0 else welch.difference(a, b)).p()


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
    return [float(value) for value in multitest().multipletests(p, method="holm")[1]]


def least_by_ranks(n: int, m: int) -> float:
    """The smallest p that ranks can have of n and m values: that of samples which don't overlap."""
    return 2 / math.comb(n + m, n)
