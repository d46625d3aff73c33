"""Median: a point stops whose best so far is worse than the median of the others at its rung."""

from collections.abc import Sequence
from fractions import Fraction

LEAST = 5  # others that a median is taken of: of fewer it says little


def goes_on(best: float, others: Sequence[float]) -> bool:
    """Whether a point goes on with its lowest cost so far, beside the sorted costs of the others at its rung.

    Of an even number of others the median is the mean of the middle two, exactly. (Golovin et al. 2017.)
    """
    if len(others) < LEAST:
        return True
    lower, upper = others[(len(others) - 1) // 2], others[len(others) // 2]
    return 2 * Fraction(best) <= Fraction(lower) + Fraction(upper)
