"""A rank's training samples as tensors, epoch by epoch, in steps of the global batch."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.manifest import Manifest
from trainer.experiment.training import Train
from trainer.training import order
from trainer.training.distributed import Ranks

# Samples are gathered for many steps at once: indexing per step costs more than a small step itself.
_BLOCK_SAMPLES = 1024


class Source(Protocol):
    """A set of samples that can be picked from: `trainer.data.dataset.Part`, or a multiple of one."""

    def __len__(self) -> int: ...

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.generic]]: ...


class Part(Source, Protocol):
    """A part of a data set: `trainer.data.dataset.Part`, or what a rank was sent of one."""

    @property
    def sample_shape(self) -> tuple[int, int]: ...

    @property
    def sample_bytes(self) -> int: ...

    def targets(self, rank: int, ranks: int) -> tuple[NDArray[np.int64], NDArray[np.generic]]: ...


class SampleSet(Protocol):
    """A data set with its parts: `trainer.data.dataset.Dataset`, or one that was read from Kafka."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def train(self) -> Part: ...

    @property
    def valid(self) -> Part: ...

    @property
    def test(self) -> Part: ...


def batch_of(train: Train, ranks: Ranks) -> int:
    """The samples of a step over all ranks. ValueError where a rank would have none."""
    batch = train.batch_size * (ranks.count if train.batch_per == "Worker" else 1)
    if batch < ranks.count:
        raise ValueError(f"train.batchSize must be at least workers ({ranks.count}), got {batch}")
    return batch


class TrainingSamples:
    """What one rank trains on. `InMemory` holds the rank's part as tensors; `Streaming` gathers as it goes."""

    def __init__(
        self, source: Source, train: Train, ranks: Ranks, device: torch.device, dtype: torch.dtype, *, resident: bool
    ) -> None:
        self.count = len(source)
        self.batch = batch_of(train, ranks)
        self._source, self._ranks, self._device, self._dtype = source, ranks, device, dtype
        self._seed, self._shuffle = train.seed, train.shuffle
        self._held: tuple[Tensor, Tensor] | None = None
        if resident:
            whole = np.arange(self.count, dtype=np.int32)
            mine = order.of_rank(whole, self.batch, rank=ranks.rank, ranks=ranks.count)
            self._held = held(source, mine, device, dtype)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """x [k, window, features], y [k] and the samples in the whole global batch, for each step.

        Every rank makes the same number of steps. Where the last one has no sample for this rank, x and y are empty.
        """
        rank, ranks = self._ranks.rank, self._ranks.count
        whole = order.epoch_order(self.count, self.batch, seed=self._seed, epoch=epoch, shuffle=self._shuffle)
        mine = order.of_rank(whole, self.batch, rank=rank, ranks=ranks)
        per_step = order.lanes_of_rank(self.batch, rank=rank, ranks=ranks)
        steps = -(-self.count // self.batch)
        step = 0
        for x, y in self._blocks(mine, max(1, _BLOCK_SAMPLES // per_step) * per_step):
            for part in zip(x.split(per_step), y.split(per_step), strict=True):
                yield *part, min(self.batch, self.count - step * self.batch)
                step += 1
        if step < steps:
            yield *self._tensors(mine[:0]), self.count - step * self.batch

    def _blocks(self, indices: order.Order, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(indices), size):
            block = indices[start : start + size]
            if self._held is None:
                yield self._tensors(block)
            else:
                place = order.slot(block.astype(np.int64), self.batch, rank=self._ranks.rank, ranks=self._ranks.count)
                where = torch.from_numpy(place).to(self._device)
                yield self._held[0][where], self._held[1][where]

    def _tensors(self, indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        return tensors(self._source.gather(indices.astype(np.int64)), self._device, self._dtype)


def held(
    source: Source, indices: NDArray[np.integer], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """x [k, window, features] and y [k] of `indices` [k], block by block: nothing but the samples takes memory."""

    def block(start: int) -> tuple[Tensor, Tensor]:
        return tensors(source.gather(indices[start : start + _BLOCK_SAMPLES].astype(np.int64)), device, dtype)

    first = block(0)
    if len(indices) <= _BLOCK_SAMPLES:
        return first
    x, y = (part.new_empty(len(indices), *part.shape[1:]) for part in first)
    for start in range(0, len(indices), _BLOCK_SAMPLES):
        x[start : start + _BLOCK_SAMPLES], y[start : start + _BLOCK_SAMPLES] = block(start)
    return x, y


def tensors(
    gathered: tuple[NDArray[np.float32], NDArray[np.generic]], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """x and y on the device: x, and y where it is a return, in the training's precision; a class stays a number."""
    x, y = (torch.from_numpy(array) for array in gathered)
    return x.to(device, dtype), y.to(device, dtype if y.is_floating_point() else torch.int64)
