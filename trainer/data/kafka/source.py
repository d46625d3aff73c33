"""A topic as a source of samples: read by one process as a whole, or by each rank its share."""

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.client import Topic
from trainer.data.kafka.decode import decoder
from trainer.data.kafka.export import exported
from trainer.data.kafka.fetch import Figures, Reader, batch_messages, opened
from trainer.data.kafka.framing import named
from trainer.data.kafka.layout import Layout, Segment, layout
from trainer.data.kafka.sample_buffer import SampleBuffer, thrown_away
from trainer.data.kafka.scaling import AllReduce
from trainer.experiment.kafka import offset_range
from trainer.experiment.training import Data

_NO_FRAMES = -(2**40)  # below what a rank that read something has


def resolved(data: Data, ranks: int) -> Data:
    """`data` with the topic and ranges that its export service names, asked for `ranks` ranges; as it is without one.

    DataUnavailable where the service doesn't give them.
    """
    if data.export is None:
        return data
    answer = exported(data, ranks)
    # Not validated anew: what is read has its ranges from the service and its topic as it is.
    return data.model_copy(update={"topic": answer.topic, "ranges": answer.ranges, "export": None})


def laid_out(data: Data) -> Layout:
    """Which message of `data.ranges` is which sample. DataUnavailable where none is to be trained on."""
    found = layout([offset_range(text) for text in data.ranges], data)
    if found.count(0) == 0:
        raise DataUnavailable(
            f"data.ranges: at least one message to train on is required, got {', '.join(data.ranges)} split into "
            f"{found.count(0)}, {found.count(1)} and {found.count(2)}; use longer ranges or another split"
        )
    return found


def identity_of(data: Data, topic: Topic) -> dict[str, JsonValue]:
    """What the samples depend on: a topic's id and its offsets stand for content that never changes."""
    return {
        "topic": topic.name,
        "topicId": topic.id,
        "ranges": list(data.ranges),
        "format": data.format,
        "message": data.message.document(sparse=True),
        "split": [part.document(sparse=True) for part in data.split],
    }


@dataclass(frozen=True)
class Share:
    """What one rank reads: open, warm, and not begun."""

    reader: Reader
    buffer: SampleBuffer
    setup_seconds: float
    received_before: int

    def read(self) -> Figures:
        """Reads and decodes it all into `buffer`. DataUnavailable names partition and offset where it cannot."""
        return self.reader.read(self.buffer.take)

    def wire_bytes(self) -> int:
        """What came from the brokers for it, compressed as it came. Takes half a second."""
        return self.reader.received_bytes() - self.received_before


@contextmanager
def share(data: Data, topic: Topic, segments: Sequence[Segment], *, whole: bool) -> Iterator[Share]:
    """The share of a rank that reads `segments`; `whole` as in SampleBuffer."""
    began = time.perf_counter()
    decode = decoder(data)
    buffer = SampleBuffer(segments, decode, whole=whole)
    with opened(data, topic, segments) as reader:
        setup_seconds = time.perf_counter() - began
        if data.warmup_messages:
            reader.warm_up(data.warmup_messages, thrown_away(decode, batch_messages(4 * decode.width)))
        yield Share(reader, buffer, setup_seconds, reader.received_bytes())


def require_one_framing(mine: Share, all_reduce: AllReduce) -> None:
    """Raises DataUnavailable on every rank unless the messages that all ranks read are framed alike."""
    frames = mine.buffer.frames
    if frames[0] is None:  # nothing was read here
        extremes = np.array([_NO_FRAMES, _NO_FRAMES], np.int64)
    else:
        number = zlib.crc32(repr(frames).encode())
        extremes = np.array([number, -number], np.int64)
    highest, lowest = all_reduce.largest(extremes).tolist()
    if highest != -lowest and highest != _NO_FRAMES:
        found = "they are not" if frames[0] is None else f"from here on they are {named(frames)}, and elsewhere not"
        raise DataUnavailable(
            f"{mine.reader.begin}: all messages of a topic must be framed alike, but {found}; publish them in one "
            "kind, or correct data.ranges"
        )


def require_checksum(data: Data, found: int) -> None:
    """Raises DataUnavailable unless the samples that all ranks read add up to `data.checksum`, where it is given."""
    if data.checksum is not None and found != data.checksum:
        raise DataUnavailable(
            f"topic {data.topic_name}: samples with data.checksum {data.checksum} are required, got {found}; it "
            "holds others, or data.ranges and data.message are not those it was published with"
        )
