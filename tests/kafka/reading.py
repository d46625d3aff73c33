"""Reads a topic as one rank does, and does something to it meanwhile."""

from collections.abc import Callable

import numpy as np

from trainer.data.kafka.client import described
from trainer.data.kafka.fetch import Figures
from trainer.data.kafka.layout import Segment
from trainer.data.kafka.sample_buffer import SampleBuffer
from trainer.data.kafka.source import laid_out, share
from trainer.experiment.training import Data


def read(
    data: Data, meanwhile: Callable[[], None] = lambda: None, *, after: int = 0, whole: bool = True
) -> tuple[SampleBuffer, Figures]:
    """What a rank alone holds of a topic; `meanwhile` is called once, when `after` messages have come or more.

    Each part is kept in one array, or in blocks, as one of several ranks does.
    """
    layout = laid_out(data)
    seen = 0
    with share(data, described(data), layout.segments(layout.share(0, 1)), whole=whole) as mine:

        def take(segment: Segment, done: int, values: list[bytes | None]) -> None:
            nonlocal seen
            if seen < after <= seen + len(values):
                meanwhile()
            seen += len(values)
            mine.buffer.take(segment, done, values)

        return mine.buffer, mine.reader.read(take)


def samples(buffer: SampleBuffer) -> tuple[np.ndarray, np.ndarray]:
    """All that was read, the parts one after another."""
    blocks = [block for part in range(3) for block in buffer.blocks(part)]
    return np.concatenate([x for x, _ in blocks]), np.concatenate([y for _, y in blocks])
