"""Mean, median, variance and deviation of figures as large or as small as a float can be. Pure.

Sums and squares of floats leave a float's range where the figures themselves don't, so what may do so is computed
exactly, in fractions, and rounded once.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from decimal import Context, Decimal, localcontext
from fractions import Fraction

_DIGITS = 40  # of a root before it is rounded to a float, which has 17


def mean(values: Sequence[float]) -> float:
    """The mean of one value or more, between the least and the greatest of them; off by a unit in the last place."""
    try:
        found = math.fsum(values) / len(values)
        # The sum was rounded, and then the quotient: together that may be more than a unit.
        missing = math.fsum([*values, *([-found] * len(values))]) / len(values)
        found += missing if abs(missing) >= math.ulp(found) else 0.0
    except OverflowError:
        found = float(exact_mean(values))
    return min(max(found, min(values)), max(values))


def median(values: Iterable[float]) -> float:
    """The one in the middle of one value or more, or the mean of the two there."""
    return float(statistics.median(map(Fraction, values)))


def variance(values: Sequence[float]) -> float | None:
    """The variance of a sample, divided by n - 1; None of one value, and where it has no float.

    That is beyond the largest, and where the values differ and the nearest is 0 all the same.
    """
    if len(values) < 2:
        return None
    exact = exact_variance(values)
    found = rounded(exact)
    return None if exact and not found else found


def deviation(values: Sequence[float]) -> float | None:
    """The root of the variance, also where that itself has no float; None as `variance` is."""
    return None if len(values) < 2 else root(exact_variance(values))


def exact_mean(values: Iterable[float]) -> Fraction:
    """The mean of one value or more."""
    parts, unit = _parts(values)
    return Fraction(sum(parts), len(parts) * unit)


def exact_variance(values: Iterable[float]) -> Fraction:
    """The variance of a sample of two values or more, divided by n - 1."""
    parts, unit = _parts(values)
    n = len(parts)
    squares = n * sum(part * part for part in parts) - sum(parts) ** 2
    return Fraction(squares, n * (n - 1) * unit * unit)


def _parts(values: Iterable[float]) -> tuple[list[int], int]:
    """The values as whole numbers of the same part of 1: each is its number divided by the second."""
    ratios = [value.as_integer_ratio() for value in values]
    unit = max(below for _, below in ratios)  # all are powers of two
    return [above * (unit // below) for above, below in ratios], unit


def rounded(exact: Fraction) -> float | None:
    """The nearest float; None beyond the largest."""
    try:
        return float(exact)
    except OverflowError:
        return None


def root(square: Fraction) -> float | None:
    """The square root of what is not below 0; None beyond the largest float, and where it would be rounded to 0."""
    with localcontext(Context(prec=_DIGITS)):
        found = float((Decimal(square.numerator) / square.denominator).sqrt())
    return None if math.isinf(found) or (square and not found) else found
