"""ASHA: of the points that have reached a rung, the best of every `reduction` go on."""

from bisect import bisect_left
from collections.abc import Sequence


def goes_on(cost: float, others: Sequence[float], reduction: int) -> bool:
    """Whether a point goes on whose cost, less being better, stands beside the sorted ones of the others at its rung.

    Equals go on together, and the first to come always does. (Li et al. 2020, in the form that stops instead of
    promoting: nothing waits for others.)
    """
    kept = max(1, (len(others) + 1) // reduction)
    return bisect_left(others, cost) < kept
