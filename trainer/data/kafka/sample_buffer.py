"""The samples that a rank has read: decoded into arrays as they come, in blocks that can be given away one by one."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.kafka.checksum import MODULUS, checksum
from trainer.data.kafka.decode import Decoder
from trainer.data.kafka.layout import Segment
from trainer.data.kafka.undecodable import Undecodable
from trainer.data.split import PARTS

_BLOCK_BYTES = 4 * 2**20

Block = tuple[NDArray[np.float32], NDArray[Any]]


class SampleBuffer:
    """The samples of some segments, by part, in the order of the segments.

    `whole` keeps each part in one array, else it is in blocks of a few MiB: x [k, width] float32 and y [k].
    """

    def __init__(self, segments: Sequence[Segment], decoder: Decoder, *, whole: bool) -> None:
        self._decoder = decoder
        self.checksum = 0
        self._begins: dict[Segment, int] = {}
        counts = [0] * len(PARTS)
        for segment in segments:
            self._begins[segment] = counts[segment.part]
            counts[segment.part] += len(segment)
        self.counts = tuple(counts)
        self.block = max(1, max(counts) if whole else _BLOCK_BYTES // (4 * decoder.width))
        self._blocks = [self._empty(count) for count in counts]

    def take(self, segment: Segment, done: int, values: list[bytes | None]) -> None:
        """Decodes consecutive messages of a segment, of which `done` came before. Raises Undecodable."""
        row, first = self._begins[segment] + done, 0
        while first < len(values):
            number, at = divmod(row + first, self.block)
            some = values[first : first + self.block - at]
            x, y = self._blocks[segment.part][number]
            here = slice(at, at + len(some))
            try:
                self._decoder.decode(some, x[here], y[here])
            except Undecodable as error:
                raise Undecodable(str(error), first + error.row) from error
            self.checksum = (self.checksum + checksum(x[here], y[here])) % MODULUS
            first += len(some)

    @property
    def frames(self) -> tuple[bytes | None, ...]:
        """As Decoder: how the messages were framed."""
        return self._decoder.frames

    def blocks(self, part: int) -> list[Block]:
        """The blocks of a part."""
        return self._blocks[part]

    def none(self) -> Block:
        """A block without samples."""
        return np.empty((0, self._decoder.width), np.float32), np.empty(0, self._decoder.target_dtype)

    def given_away(self, part: int) -> Iterator[Block]:
        """The blocks of a part one by one, each let go when the next one is asked for."""
        left = self._blocks[part]
        while left:
            yield left.pop(0)

    def _empty(self, count: int) -> list[Block]:
        sizes = [min(self.block, count - first) for first in range(0, count, self.block)]
        width, dtype = self._decoder.width, self._decoder.target_dtype
        return [(np.empty((size, width), np.float32), np.empty(size, dtype)) for size in sizes]


def thrown_away(decoder: Decoder, longest: int) -> Any:
    """Decodes messages into the same few rows, for a warm-up; what is wrong with one is told when it counts."""
    x, y = np.empty((longest, decoder.width), np.float32), np.empty(longest, decoder.target_dtype)

    def take(_segment: Segment, _done: int, values: list[bytes | None]) -> None:
        try:
            decoder.decode(values, x[: len(values)], y[: len(values)])
        except Undecodable:
            return

    return take
