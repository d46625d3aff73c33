"""Samples to publish: those of a data set, or made-up arrays such as 784 numbers of an image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

from trainer.data.dataset import Dataset, parts
from trainer.experiment.training import Data

_STEP = 1024

Rows = tuple[NDArray[np.float32], NDArray[Any]]


class Samples(Protocol):
    """Samples that can be asked for by number: x [k, width] and y [k]. `shape` is one sample's."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def between(self, start: int, stop: int) -> Iterator[Rows]:
        """The samples from `start` up to `stop`, in blocks."""
        ...


@dataclass(frozen=True)
class MadeUp:
    """Numbers from 0 to 1 that don't compress, and classes or, with `classes` 0, numbers as labels; by seed alone.

    Sample i is the same however many there are. Only the generator's raw words are used, which numpy keeps stable.
    """

    count: int
    shape: tuple[int, ...]
    classes: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def between(self, start: int, stop: int) -> Iterator[Rows]:
        """As Samples."""
        width = int(np.prod(self.shape))
        words = (
            -(-(width + 1) // 8) * 4
        )  # a whole number of the generator's blocks of four words, two numbers in each
        for first in range(start, stop, _STEP):
            count = min(_STEP, stop - first)
            generator = Philox(key=self.seed).advance(first * words // 4)
            raw = generator.random_raw(count * words).view(np.uint32).reshape(count, 2 * words)
            # 24 bits are what a 32-bit number holds exactly.
            numbers = (raw >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
            x, last = np.ascontiguousarray(numbers[:, :width]), numbers[:, width]
            yield x, (last * self.classes).astype(np.int64) if self.classes else last.copy()


class OfDataset:
    """The samples of a data set on disk: its training, validation and test part one after another."""

    def __init__(self, dataset: Dataset) -> None:
        self._parts = list(parts(dataset).values())
        self.shape: tuple[int, ...] = dataset.train.sample_shape

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def between(self, start: int, stop: int) -> Iterator[Rows]:
        """As Samples."""
        begin = 0
        for part in self._parts:
            for first in range(max(start, begin), min(stop, begin + len(part)), _STEP):
                last = min(first + _STEP, stop, begin + len(part))
                x, y = part.gather(np.arange(first - begin, last - begin))
                yield x.reshape(len(y), -1), y
            begin += len(part)


def made_up(data: Data, count: int, seed: int) -> MadeUp:
    """Made-up samples that fit `data`: images where the width is a square and there is one column."""
    side = round(data.window**0.5)
    square = len(data.columns) == 1 and side * side == data.window
    shape = (side, side) if square else (data.window, len(data.columns))
    return MadeUp(count, shape, data.classes if data.task == "Classification" else 0, seed)
