"""Median: a point stops whose best so far is worse than the median of the others at its rung."""

from collections.abc import Sequence

LEAST = 5  # others that a median is taken of: of fewer it says little


def goes_on(best: float, others: Sequence[float]) -> bool:
    """Whether a point goes on with its lowest cost so far, beside the sorted costs of the others at its rung.

    Of an even number of others the median is the mean of the middle two. (Golovin et al. 2017.)
    """
    if len(others) < LEAST:
        return True
    upper = len(others) // 2
    lower = upper if len(others) % 2 else upper - 1
    return best <= others[lower] or best <= others[lower] / 2 + others[upper] / 2
