"""Sobol: points that fill a space evenly, scrambled by a seed, the same on every machine."""

import random
from collections.abc import Iterator, Sequence

from trainer.experiment.algorithms import draws
from trainer.experiment.space import Point
from trainer.experiment.spec import SearchSpec

MAX_DIMENSIONS = 32
_BITS = 32  # of a coordinate; the sequence has 2**32 points

# Dimensions 2 to 32 of new-joe-kuo-6.21201 (S. Joe and F. Y. Kuo, "Constructing Sobol sequences with better
# two-dimensional projections", SIAM J. Sci. Comput. 30, 2008): the inner coefficients of a primitive polynomial, as
# the bits of a number, and the first direction numbers, as many as the polynomial's degree.
_JOE_KUO = (
    (0, (1,)),
    (1, (1, 3)),
    (1, (1, 3, 1)),
    (2, (1, 1, 1)),
    (1, (1, 1, 3, 3)),
    (4, (1, 3, 5, 13)),
    (2, (1, 1, 5, 5, 17)),
    (4, (1, 1, 5, 5, 5)),
    (7, (1, 1, 7, 11, 19)),
    (11, (1, 1, 5, 1, 1)),
    (13, (1, 1, 1, 3, 11)),
    (14, (1, 3, 5, 5, 31)),
    (1, (1, 3, 3, 9, 7, 49)),
    (13, (1, 1, 1, 15, 21, 21)),
    (16, (1, 3, 1, 13, 27, 49)),
    (19, (1, 1, 1, 15, 7, 5)),
    (22, (1, 3, 1, 15, 13, 25)),
    (25, (1, 1, 5, 5, 19, 61)),
    (1, (1, 3, 7, 11, 23, 15, 103)),
    (4, (1, 3, 7, 13, 13, 15, 69)),
    (7, (1, 1, 3, 13, 7, 35, 63)),
    (8, (1, 3, 5, 9, 1, 25, 53)),
    (14, (1, 3, 1, 13, 9, 35, 107)),
    (19, (1, 3, 1, 5, 27, 61, 31)),
    (21, (1, 1, 5, 11, 19, 41, 61)),
    (28, (1, 3, 5, 3, 3, 13, 69)),
    (31, (1, 1, 7, 13, 1, 19, 1)),
    (32, (1, 3, 7, 5, 13, 19, 59)),
    (37, (1, 1, 3, 9, 25, 29, 41)),
    (41, (1, 3, 5, 13, 23, 1, 55)),
    (42, (1, 3, 7, 3, 13, 59, 17)),
)


def points(spec: SearchSpec) -> Iterator[Point]:
    """Distinct points of a space, each as far as may be from those before."""
    return draws.distinct(spec, shares(len(spec.parameters), spec.seed).__next__)


def shares(dimensions: int, seed: int) -> Iterator[tuple[float, ...]]:
    """The points of a scrambled Sobol sequence, coordinates from 0 to below 1, computed as they are asked for.

    Any 2**m points that begin at a multiple of 2**m have one in each of the 2**m equal parts of every dimension.
    There are 2**32 points. Fewer dimensions have the same coordinates as the first of more.

    Raises:
        ValueError: there are no dimensions, or more than 32.
    """
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise ValueError(f"a Sobol sequence must have 1 to {MAX_DIMENSIONS} dimensions, got {dimensions}")
    rng = random.Random(seed)
    columns, shifts = [], []
    for dimension in range(dimensions):
        columns.append(_scrambled(directions(dimension), rng))
        shifts.append(rng.getrandbits(_BITS))
    return in_gray_order(columns, shifts)


def directions(dimension: int) -> list[int]:
    """The direction numbers of a dimension, counted from 0, each a fraction of 1 in units of 2**-32."""
    if dimension == 0:
        return [1 << _BITS - 1 - column for column in range(_BITS)]
    polynomial, first = _JOE_KUO[dimension - 1]
    degree = len(first)
    found = [number << _BITS - 1 - column for column, number in enumerate(first)]
    for column in range(degree, _BITS):
        number = found[column - degree] ^ found[column - degree] >> degree
        for back in range(1, degree):
            if polynomial >> degree - 1 - back & 1:
                number ^= found[column - back]
        found.append(number)
    return found


def in_gray_order(columns: Sequence[Sequence[int]], start: Sequence[int]) -> Iterator[tuple[float, ...]]:
    """The points that direction numbers make, a list of them for each dimension, from `start` on; 2**32 of them."""
    # In the order of the Gray code a point differs from the one before by one direction number in each dimension
    # (I. A. Antonov and V. M. Saleev, 1979), and blocks of 2**m points hold what blocks of the plain order hold.
    changes = list(zip(*columns, strict=True))
    at = tuple(start)
    yield tuple(digits / 2**_BITS for digits in at)
    for number in range(1, 2**_BITS):
        changed = changes[(number & -number).bit_length() - 1]
        at = tuple(digits ^ change for digits, change in zip(at, changed, strict=True))
        yield tuple(digits / 2**_BITS for digits in at)


def _scrambled(columns: Sequence[int], rng: random.Random) -> list[int]:
    """Direction numbers times a random matrix: each digit has added, modulo 2, some of the digits before it.

    A digit's own place has a one, so that points which differed in their first digits still do (J. Matoušek, "On the
    L2-discrepancy for anchored boxes", J. Complexity 14, 1998).
    """
    rows = [(rng.getrandbits(digit + 1) | 1) << _BITS - 1 - digit for digit in range(_BITS)]
    return [
        sum(((row & column).bit_count() & 1) << _BITS - 1 - digit for digit, row in enumerate(rows))
        for column in columns
    ]
