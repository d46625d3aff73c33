"""Normalisation of samples that lie on several ranks: the same to the bit for any number of them.

Sums are of whole numbers, whose order does not matter: each value in units of the largest one / 2^30, and what that
leaves over in units of 2^-30 of those.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.sample_buffer import Block
from trainer.data.manifest import Scaler
from trainer.data.windows import is_constant
from trainer.experiment.training import Data

_BITS = 30

Combine = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class AllReduce:
    """Combines arrays of all ranks, element by element: `added` up, or the `largest`. A no-op with one rank."""

    added: Combine = lambda array: array
    largest: Combine = lambda array: array


def fitted(blocks: Sequence[Block], count: int, data: Data, all_reduce: AllReduce) -> tuple[Scaler, ...]:
    """The scaler of the training part, `count` samples over all ranks, of which `blocks` are this rank's."""
    if data.normalize == "None":
        return ()
    features = len(data.columns)
    rows = [x.reshape(-1, features) for x, _ in blocks]
    values = count * data.window
    highest, lowest = _largest(rows, features, all_reduce), -_largest([-each for each in rows], features, all_reduce)
    mean = _total(lambda: rows, features, all_reduce) / values
    squares = _total(lambda: ((each - mean) ** 2 for each in rows), features, all_reduce)
    deviation = np.sqrt(squares / values)
    deviation = np.where(is_constant(lowest, highest, np.float32), 1.0, deviation)
    return (Scaler(ticker="", mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist())),)


def normalised(blocks: Iterable[Block], scalers: Sequence[Scaler], data: Data) -> None:
    """Normalises blocks in place."""
    if not scalers:
        return
    mean, deviation = np.array(scalers[0].mean), np.array(scalers[0].deviation)
    for x, _ in blocks:
        rows = x.reshape(-1, len(data.columns))
        with np.errstate(over="ignore", invalid="ignore"):
            rows[...] = (rows - mean) / deviation
        if not np.isfinite(rows).all():
            raise DataUnavailable(
                "data.normalize: normalised values must fit 32-bit numbers, some are too large; use normalize: None"
            )


def target_mean(blocks: Sequence[Block], count: int, all_reduce: AllReduce) -> float:
    """The mean of the training part's y over all ranks."""
    return float(_total(lambda: (y.reshape(-1, 1) for _, y in blocks), 1, all_reduce)[0] / count)


def _largest(rows: Iterable[NDArray[Any]], features: int, all_reduce: AllReduce) -> NDArray[np.float64]:
    """[features]: the largest value of each column over all ranks."""
    largest = np.full(features, -np.inf)
    for each in rows:
        largest = np.maximum(largest, each.max(axis=0))
    return all_reduce.largest(largest)


def _total(rows: Callable[[], Iterable[NDArray[Any]]], features: int, all_reduce: AllReduce) -> NDArray[np.float64]:
    """[features]: the sum of each column over all ranks, in whatever order and division they lie there."""
    largest = _largest((np.abs(each) for each in rows()), features, all_reduce)
    exponents = np.frexp(np.maximum(largest, 0.0))[1]
    high, low = np.zeros(features, np.int64), np.zeros(features, np.int64)
    for each in rows():
        scaled = np.ldexp(each.astype(np.float64), _BITS - exponents)
        whole = np.rint(scaled)
        high += whole.astype(np.int64).sum(axis=0)
        low += np.rint(np.ldexp(scaled - whole, _BITS)).astype(np.int64).sum(axis=0)
    high, low = all_reduce.added(high), all_reduce.added(low)
    # Python's whole numbers have no bounds, and their quotient is rounded once.
    exact = [(int(coarse) << _BITS) + int(fine) for coarse, fine in zip(high, low, strict=True)]
    return np.array(
        [_scaled(number, int(exponent) - 2 * _BITS) for number, exponent in zip(exact, exponents, strict=True)]
    )


def _scaled(number: int, exponent: int) -> float:
    return float(number * 2**exponent) if exponent >= 0 else number / 2**-exponent
