"""Which message is which sample: ranges of offsets, cut into parts and shared among the ranks. Pure.

Messages count through the ranges in their order: message g of N. Each range is split into training, validation and
test in order of offset; sample i of a part counts through the parts of the ranges. None of this depends on the ranks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from trainer.data.split import PARTS, split
from trainer.experiment.kafka import OffsetRange, SplitPart, rates
from trainer.experiment.training import Data


@dataclass(frozen=True)
class Layout:
    """`sizes` are how many messages of each range belong to train, valid and test."""

    ranges: tuple[OffsetRange, ...]
    sizes: tuple[tuple[int, int, int], ...]

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def count(self, part: int) -> int:
        """How many samples a part has, by its place in PARTS."""
        return sum(size[part] for size in self.sizes)

    def share(self, rank: int, ranks: int) -> range:
        """The messages that `rank` reads: as many as the others', or one fewer."""
        return range(len(self) * rank // ranks, len(self) * (rank + 1) // ranks)

    def segments(self, messages: range) -> list["Segment"]:
        """Where consecutive messages lie and which samples they are, in order."""
        found = []
        first, before = 0, [0] * len(PARTS)
        for each, size in zip(self.ranges, self.sizes, strict=True):
            offset = each.start
            for part, count in enumerate(size):
                start, stop = max(messages.start, first), min(messages.stop, first + count)
                if start < stop:
                    at = offset + start - first
                    where = OffsetRange(each.partition, at, at + stop - start - 1)
                    found.append(Segment(where, part, before[part] + start - first))
                first += count
                offset += count
                before[part] += count
        return found


@dataclass(frozen=True)
class Segment:
    """Consecutive messages of a part: `part` by its place in PARTS, `first` the number of the first sample in it."""

    where: OffsetRange
    part: int
    first: int

    def __len__(self) -> int:
        return len(self.where)


def numbers(segments: Sequence[Segment], part: int) -> NDArray[np.int64]:
    """The numbers of the samples of a part that these segments hold, in order."""
    mine = [np.arange(each.first, each.first + len(each)) for each in segments if each.part == part]
    return np.concatenate(mine) if mine else np.empty(0, np.int64)


def layout(ranges: Sequence[OffsetRange], data: Data) -> Layout:
    """The layout of these ranges by `data.split`, or by the fractions as with rows where it is not given."""
    return Layout(tuple(ranges), tuple(part_sizes(len(each), data) for each in ranges))


def part_sizes(messages: int, data: Data) -> tuple[int, int, int]:
    """How many messages of a range belong to train, valid and test."""
    if data.split:
        train, valid, test = (*split_sizes(messages, data.split), 0, 0)[:3]
        return train, valid, test
    cut = split(messages, data)
    return cut.train, cut.valid - cut.train, cut.rows - cut.valid


def split_sizes(messages: int, parts: Sequence[SplitPart]) -> tuple[int, ...]:
    """How many messages of a range each part has.

    A part has its rate of them, rounded to the nearest number, a half up, but never more than there are left; the
    part with `fillup`, the first where none has it, then has what the others leave. So none is lost and none counts
    twice. 20,000 messages at 0.85715, 0.071425 and 0.071425 are 17,142, 1,429 and 1,429.
    """
    filling = next((i for i, part in enumerate(parts) if part.fillup), 0)
    left = messages
    sizes = []
    for i, rate in enumerate(rates(parts)):
        size = 0 if i == filling else min(left, math.floor(rate * messages + Decimal("0.5")))
        sizes.append(size)
        left -= size
    sizes[filling] = left
    return tuple(sizes)


def divided(total: int, into: int) -> list[int]:
    """The sizes of `into` parts of `total`, as equal as they can be."""
    ends = [total * (i + 1) // into for i in range(into)]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
