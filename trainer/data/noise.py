"""Gaussian noise that is a pure function of (seed, sample): the same for every batch, rank, order and machine.

Word n of seed s is the n-th output of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
OOPSLA 2014; constants as in Vigna's public-domain splitmix64.c), whose state after n steps is start + n * gamma, so
that any word is reached at once. Sample i owns words i * w … i * w + w - 1: no word is used twice.

A word holds four 16-bit numbers, each of which picks one of 65,536 quantiles of the normal distribution from a table
(statistics.NormalDist, algorithm AS 241). So only integer arithmetic and one rounding of the table lie between seed
and noise, and no processor's idea of `log` or `cos`. The values are limited to ±4.33 sigma.
"""

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_QUANTILES = 65_536
_PER_WORD = 4


def words_for(values: int) -> int:
    """How many words hold `values` 16-bit numbers."""
    return -(-values // _PER_WORD)


def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64, applied in place to states (already advanced by gamma)."""
    shifted = state >> np.uint64(30)
    state ^= shifted
    state *= _FIRST
    np.right_shift(state, np.uint64(27), out=shifted)
    state ^= shifted
    state *= _SECOND
    np.right_shift(state, np.uint64(31), out=shifted)
    state ^= shifted
    return state


def picks(seed: int, samples: NDArray[np.int64], values: int) -> NDArray[np.uint16]:
    """[k, values]: for each sample the places in a table of 65,536 quantiles."""
    words = words_for(values)
    # Hashed once, so that neighbouring seeds start far apart in the sequence.
    start = splitmix64(np.full(1, seed + _GAMMA, np.uint64))
    first: NDArray[np.uint64] = samples.astype(np.uint64) * np.uint64(words)
    state: NDArray[np.uint64] = np.add.outer(first, np.arange(1, words + 1, dtype=np.uint64))
    state *= np.uint64(_GAMMA)
    state += start
    # Little-endian, so that the four numbers of a word have the same order everywhere.
    return splitmix64(state).astype("<u8", copy=False).view("<u2")[:, :values]


@cache
def quantiles(sigma: float) -> NDArray[np.float32]:
    """[65536]: the middles of equally likely slices of N(0, sigma²), scaled to exactly that variance."""
    inverse = NormalDist().inv_cdf
    lower = np.array([inverse((place + 0.5) / _QUANTILES) for place in range(_QUANTILES // 2)])
    table = np.concatenate([lower, -lower[::-1]])
    scaled: NDArray[np.float64] = table * (sigma / np.sqrt(np.mean(table * table)))
    return scaled.astype(np.float32)
