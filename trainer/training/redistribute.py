"""Sends the samples that each rank has read to the ranks that train on them: those whose lanes they lie in.

A rank then holds what `order` gives it, as if it had picked it from a data set on disk. Ownership follows from the
layout of the ranges; only samples are sent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.kafka.layout import Layout, Segment, numbers
from trainer.data.kafka.sample_buffer import SampleBuffer
from trainer.training import order
from trainer.training.distributed import Ranks


@dataclass(frozen=True)
class RankSamples:
    """The samples of a part that one rank trains on or evaluates: those of its lanes, ascending.

    x [k, window, features] float32 and y [k]; `count` samples on all ranks, in `batch` lanes.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    count: int
    batch: int
    ranks: Ranks

    def __len__(self) -> int:
        return self.count

    @property
    def sample_shape(self) -> tuple[int, int]:
        """The window and the features of a sample."""
        window, features = self.x.shape[1:]
        return window, features

    @property
    def sample_bytes(self) -> int:
        """What one sample takes."""
        window, features = self.sample_shape
        return 4 * window * features + self.y.dtype.itemsize

    def targets(self, rank: int, ranks: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The numbers of the samples in this rank's lanes and their targets: [k] and [k]."""
        numbers = np.arange(self.count)
        return numbers[order.owner(numbers, self.batch, ranks=ranks) == rank], self.y

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Copies of the samples at `indices`, which must lie in this rank's lanes; x and y as above."""
        if len(indices) and (indices.min() < 0 or indices.max() >= self.count):
            raise IndexError(f"samples 0 to {self.count - 1} exist, got {indices.min()} to {indices.max()}")
        if (order.owner(indices, self.batch, ranks=self.ranks.count) != self.ranks.rank).any():
            raise IndexError(f"rank {self.ranks.rank} holds the samples of its own lanes only")
        slots = order.slot(indices, self.batch, rank=self.ranks.rank, ranks=self.ranks.count)
        return self.x.take(slots, axis=0), self.y.take(slots)


def redistribute(
    buffer: SampleBuffer,
    layout: Layout,
    part: int,
    *,
    batch: int,
    shape: tuple[int, int],
    ranks: Ranks,
    device: torch.device,
) -> RankSamples:
    """This rank's samples of a part in `batch` lanes. Every rank must call it.

    What was read goes block by block, so that hardly more than one share is in memory at once. It goes by way of
    `device`.
    """
    count = layout.count(part)
    if ranks.count == 1:
        whole = buffer.blocks(part)
        x, y = whole[0] if whole else buffer.none()
        return RankSamples(x.reshape(-1, *shape), y, count, batch, ranks)
    mine = _lanes_hold(count, batch, ranks)
    empty_x, empty_y = buffer.none()
    x, y = np.empty((mine, empty_x.shape[1]), empty_x.dtype), np.empty(mine, empty_y.dtype)
    segments = [layout.segments(layout.share(rank, ranks.count)) for rank in range(ranks.count)]
    ours = buffer.given_away(part)
    for blocks in _rounds(segments, part, buffer.block):
        owners = [order.owner(block, batch, ranks=ranks.count) for block in blocks]
        slots = [
            order.slot(block[owner == ranks.rank], batch, rank=ranks.rank, ranks=ranks.count)
            for block, owner in zip(blocks, owners, strict=True)
        ]
        received = [len(each) for each in slots]
        rows, labels = next(ours, (empty_x, empty_y))
        # Sorted by owner, and within that as they were.
        turn = np.argsort(owners[ranks.rank], kind="stable")
        sent = np.bincount(owners[ranks.rank], minlength=ranks.count).tolist()
        where = np.concatenate(slots)
        x[where] = ranks.exchange(torch.from_numpy(rows[turn]).to(device), sent, received).cpu().numpy()
        y[where] = ranks.exchange(torch.from_numpy(labels[turn]).to(device), sent, received).cpu().numpy()
    return RankSamples(x.reshape(-1, *shape), y, count, batch, ranks)


def _lanes_hold(count: int, batch: int, ranks: Ranks) -> int:
    """How many of `count` samples lie in this rank's lanes."""
    steps, rest = divmod(count, batch)
    whole = order.lanes_of_rank(batch, rank=ranks.rank, ranks=ranks.count)
    return steps * whole + order.lanes_of_rank(rest, rank=ranks.rank, ranks=ranks.count)


def _rounds(segments: Sequence[Sequence[Segment]], part: int, block: int) -> Iterator[list[NDArray[np.int64]]]:
    """The numbers of the samples that each rank gives away, round by round."""
    all_numbers = [numbers(each, part) for each in segments]
    for first in range(0, max(map(len, all_numbers)), block):
        yield [each[first : first + block] for each in all_numbers]
