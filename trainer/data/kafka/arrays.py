"""Samples to publish: those of a data set, or made-up arrays such as 784 numbers of an image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

from trainer.data.dataset import Dataset, parts
from trainer.experiment.training import Data

_MOST_STEP, _STEP_BYTES = 1024, 16 * 2**20  # samples that are made or gathered together, of so many bytes at most

Rows = tuple[NDArray[np.float32], NDArray[Any]]


class SampleSource(Protocol):
    """Samples that can be asked for by number: x [k, width] and y [k]. `shape` is one sample's."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def between(self, start: int, stop: int) -> Iterator[Rows]:
        """The samples from `start` up to `stop`, in blocks."""
        ...


@dataclass(frozen=True)
class MadeUp:
    """Numbers from 0 to 1 that don't compress, by seed alone: sample i is the same however many there are.

    A sample's class is which of `classes` equal stretches of its numbers has the largest sum, to be learnt; with
    `classes` 0 the label is the numbers' mean.
    """

    count: int
    shape: tuple[int, ...]
    classes: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def between(self, start: int, stop: int) -> Iterator[Rows]:
        """As SampleSource."""
        width = int(np.prod(self.shape))
        blocks = -(-width // 8)  # the generator gives four words at a time, two numbers in each
        step = _step(width)
        for first in range(start, stop, step):
            count = min(step, stop - first)
            # Only its raw words are used, which numpy keeps stable.
            words = Philox(key=self.seed).advance(first * blocks).random_raw(count * blocks * 4)
            # 24 bits are what a 32-bit number holds exactly; so is the sum of any of them in 64 bits.
            numbers = (words.view(np.uint32) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
            x = np.ascontiguousarray(numbers.reshape(count, -1)[:, :width])
            yield x, self._labels(x)

    def _labels(self, x: NDArray[np.float32]) -> NDArray[Any]:
        if not self.classes:
            means: NDArray[np.float32] = x.mean(axis=1, dtype=np.float64).astype(np.float32)
            return means
        stretch = x.shape[1] // self.classes
        if not stretch:
            return np.zeros(len(x), np.int64)
        sums = x[:, : stretch * self.classes].reshape(len(x), self.classes, stretch).sum(axis=2, dtype=np.float64)
        largest: NDArray[np.int64] = sums.argmax(axis=1).astype(np.int64)
        return largest


class OfDataset:
    """The samples of a data set on disk: its training, validation and test part one after another."""

    def __init__(self, dataset: Dataset) -> None:
        self._parts = list(parts(dataset).values())
        self.shape: tuple[int, ...] = dataset.train.sample_shape

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def between(self, start: int, stop: int) -> Iterator[Rows]:
        """As SampleSource."""
        begin = 0
        step = _step(int(np.prod(self.shape)))
        for part in self._parts:
            for first in range(max(start, begin), min(stop, begin + len(part)), step):
                last = min(first + step, stop, begin + len(part))
                x, y = part.gather(np.arange(first - begin, last - begin))
                yield x.reshape(len(y), -1), y
            begin += len(part)


def _step(width: int) -> int:
    return max(1, min(_MOST_STEP, _STEP_BYTES // (4 * width)))


def made_up(data: Data, count: int, seed: int) -> MadeUp:
    """Made-up samples that fit `data`: images where the width is a square and there is one column."""
    side = round(data.window**0.5)
    square = len(data.columns) == 1 and side * side == data.window
    shape = (side, side) if square else (data.window, len(data.columns))
    return MadeUp(count, shape, data.classes if data.task == "Classification" else 0, seed)
