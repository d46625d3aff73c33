"""Reads ranges of offsets from a topic: each message once, in order, or an error that names partition and offset.

No consumer group takes part: the ranges say who reads what. Nothing is held but what librdkafka has fetched ahead, at
most `_AHEAD_KIB`, and one batch.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.client import (
    NoSuchTopic,
    Topic,
    asked,
    cleanup_policy,
    described,
    made,
    passing,
    settings,
    stable_and_last,
    unknown_topic,
    unreachable,
)
from trainer.data.kafka.encode import largest_message
from trainer.data.kafka.layout import Segment
from trainer.experiment.kafka import OffsetRange
from trainer.experiment.training import Data

_BATCH = 500
_AHEAD_KIB = 64 * 1024
_FETCH_BYTES = 8 * 2**20
# How long a partition of which enough is fetched ahead rests. By default a second, longer than the rest may take.
_REST_MILLISECONDS = 5
_STATISTICS_SECONDS = 0.2
# Up to so many messages between two ranges are read and passed over; beyond, the consumer jumps.
_PASSED_OVER = 1000

# Told of consecutive messages of a segment: the segment, how many of it came before, their values.
Take = Callable[[Segment, int, list[bytes | None]], None]


@dataclass
class Figures:
    """What reading took: seconds of waiting for messages and of decoding them, and what came."""

    fetch_seconds: float = 0.0
    decode_seconds: float = 0.0
    messages: int = 0
    payload_bytes: int = 0


@dataclass
class PartitionPosition:
    """Where reading a partition has come: the segments left, ascending, and the offset that comes next."""

    partition: int
    left: list[Segment]
    offset: int = field(init=False)

    def __post_init__(self) -> None:
        self.offset = self.left[0].where.start


def positions_of(segments: Sequence[Segment]) -> dict[int, PartitionPosition]:
    """The positions at the start of `segments`, given in any order, by partition."""
    by_partition: dict[int, list[Segment]] = {}
    for segment in sorted(segments, key=lambda each: (each.where.partition, each.where.start)):
        by_partition.setdefault(segment.where.partition, []).append(segment)
    return {partition: PartitionPosition(partition, left) for partition, left in by_partition.items()}


class Reader:
    """Reads the segments of one rank. Opening it connects, and checks that the log holds what is asked for."""

    def __init__(self, data: Data, topic: Topic, segments: Sequence[Segment]) -> None:
        self._data, self._topic, self._segments = data, topic, list(segments)
        self._problems: list[str] = []
        self._statistics = ("", 0)
        self._consumer: Any = None

    def open(self) -> None:
        """Connects and checks the ranges. DataUnavailable names the first that cannot be read, and why."""
        configuration = settings(
            self._data,
            **{
                "group.id": "trialrun",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # A log that no longer holds an offset is an error, not a reason to go on elsewhere.
                "auto.offset.reset": "error",
                "check.crcs": True,
                "fetch.message.max.bytes": _FETCH_BYTES,
                "receive.message.max.bytes": _most_received(largest_message(self._data)),
                "queued.max.messages.kbytes": _AHEAD_KIB,
                "fetch.queue.backoff.ms": _REST_MILLISECONDS,
                "statistics.interval.ms": int(1000 * _STATISTICS_SECONDS),
                "stats_cb": self._take_statistics,
                "error_cb": lambda error: self._problems.append(str(error)),
            },
        )
        self._consumer = made("Consumer", configuration)
        bounds: dict[int, tuple[int, int]] = {}
        for segment in self._segments:
            where = segment.where
            if where.partition not in self._topic.partitions:
                raise DataUnavailable(
                    f"{self._at(where.partition, where.start)}: the topic has partitions "
                    f"0 to {len(self._topic.partitions) - 1}; correct data.ranges"
                )
            if where.partition not in bounds:
                bounds[where.partition] = self._bounds(where.partition)
            self._check(where, *bounds[where.partition])

    def close(self) -> None:
        """Leaves the brokers."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def warm_up(self, messages: int, take: Take) -> None:
        """Reads the first `messages` of the segments, for whatever `take` does with them."""
        first: list[Segment] = []
        for segment in self._segments:
            kept = min(messages - sum(len(each) for each in first), len(segment))
            if kept > 0:
                where = segment.where
                cut = OffsetRange(where.partition, where.start, where.start + kept - 1)
                first.append(Segment(cut, segment.part, segment.first))
        self._read(first, take, Figures())

    def read(self, take: Take) -> Figures:
        """Reads all segments, each message once. DataUnavailable names the partition and offset where it cannot."""
        figures = Figures()
        self._read(self._segments, take, figures)
        return figures

    def _read(self, segments: Sequence[Segment], take: Take, figures: Figures) -> None:
        from confluent_kafka import TopicPartition

        positions = positions_of(segments)
        places = [TopicPartition(self._topic.name, each.partition, each.offset) for each in positions.values()]
        self._consumer.assign(places)
        # A partition that a warm-up was done with is still paused.
        self._consumer.resume(places)
        # A connection notices what it is to fetch when it has something else to do, or up to a second later.
        for partition in positions:
            self._bounds(partition)
        last, wanted = time.monotonic(), sum(len(segment) for segment in segments)
        while positions:
            began = time.perf_counter()
            # Asked for more than will come it would wait for them.
            messages = self._consumer.consume(min(_BATCH, wanted - figures.messages), timeout=0.2)
            fetched = time.perf_counter()
            figures.fetch_seconds += fetched - began
            taken = figures.messages
            for position, values in self._runs(messages, positions):
                figures.messages += len(values)
                figures.payload_bytes += sum([len(value) for value in values if value is not None])
                self._hand_on(position, values, take)
            figures.decode_seconds += time.perf_counter() - fetched
            now = time.monotonic()
            if figures.messages > taken:
                last = now
                for done in [each for each in positions.values() if not each.left]:
                    del positions[done.partition]
                    self._consumer.pause([TopicPartition(self._topic.name, done.partition)])
            elif now - last > self._data.timeout_seconds:
                raise self._silence(next(iter(positions.values())))
        self._consumer.unassign()

    def _runs(
        self, messages: Sequence[Any], positions: dict[int, PartitionPosition]
    ) -> Iterator[tuple[PartitionPosition, list[bytes | None]]]:
        """The values of consecutive messages that one segment still lacks."""
        position: PartitionPosition | None = None
        values: list[bytes | None] = []
        room = 0
        for message in messages:
            if message.error() is not None:
                if position is not None and values:
                    yield position, values
                position, values, room = None, [], 0
                if message.error().code() in passing():
                    self._problems.append(str(message.error()))
                    continue
                if (failure := self._failure(message, positions)) is not None:
                    raise failure
                continue
            if position is None or message.partition() != position.partition or room == 0:
                if position is not None and values:
                    yield position, values
                position, values = positions.get(message.partition()), []
                if position is None or not position.left:
                    position = None
                    continue
                room = position.left[0].where.end - position.offset + 1
            offset = message.offset()
            wanted = position.offset + len(values)
            if offset < wanted:  # between two ranges, or fetched before a jump
                continue
            if offset > wanted:
                raise DataUnavailable(
                    f"{self._at(position.partition, wanted)}: the log has no such message for readers, the next is "
                    f"{offset}: {self._gap(position.partition, wanted)}; choose ranges without gaps"
                )
            values.append(message.value())
            room -= 1
        if position is not None and values:
            yield position, values

    def _hand_on(self, position: PartitionPosition, values: list[bytes | None], take: Take) -> None:
        from trainer.data.kafka.decode import Undecodable

        segment = position.left[0]
        try:
            take(segment, position.offset - segment.where.start, values)
        except Undecodable as error:
            raise DataUnavailable(
                f"{self._at(position.partition, position.offset + error.row)}: {error}; correct data.format and "
                "data.message, or leave the message out of data.ranges"
            ) from error
        position.offset += len(values)
        if position.offset > segment.where.end:
            position.left.pop(0)
            if position.left:
                self._advance(position, position.left[0].where.start)

    def _advance(self, position: PartitionPosition, offset: int) -> None:
        from confluent_kafka import TopicPartition

        if offset - position.offset > _PASSED_OVER:
            self._consumer.seek(TopicPartition(self._topic.name, position.partition, offset))
        position.offset = offset

    def _bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that the log still has, and the one after its last."""
        from confluent_kafka import TopicPartition

        def ask() -> tuple[int, int]:
            one, seconds = TopicPartition(self._topic.name, partition), self._data.timeout_seconds
            low, high = self._consumer.get_watermark_offsets(one, timeout=seconds, cached=False)
            return low, high

        # The topic was there a moment ago: a partition without a leader is not known to whoever asks for its leader.
        bounds: tuple[int, int] = asked(
            ask,
            self._data,
            self._problems,
            f"topic {self._topic.name}, partition {partition}",
            also_waited_for=unknown_topic(),
        )
        return bounds

    def _check(self, where: OffsetRange, low: int, high: int) -> None:
        if where.start < low:
            raise DataUnavailable(
                f"{self._at(where.partition, where.start)}: the log begins at offset {low}, what was before has been "
                "removed (retention); publish again, or correct data.ranges"
            )
        if where.end >= high:
            end = f"ends with offset {high - 1}" if high > low else "is empty"
            raise DataUnavailable(
                f"{self._at(where.partition, max(where.start, high))}: the log {end}, data.ranges ask for more: up "
                f"to {where.end}, included; publish the rest, or correct data.ranges"
            )

    def _gap(self, partition: int, offset: int) -> str:
        """Why the log has no message at an offset that lies between two others."""
        low, _ = self._bounds(partition)
        if offset < low:
            return f"it has been removed (retention), the log begins at {low} now"
        if "compact" in cleanup_policy(self._data):
            return "it was compacted away, as the topic's cleanup.policy says"
        return "it belongs to a transaction, which marks its end there or was aborted"

    def _failure(self, message: Any, positions: dict[int, PartitionPosition]) -> DataUnavailable | None:
        """The error for what came in place of a message; None where it may pass by itself."""
        from confluent_kafka import KafkaError

        error = message.error()
        position = positions.get(message.partition()) or next(iter(positions.values()))
        where = self._at(position.partition, position.offset)
        if error.code() in unknown_topic():
            self._problems.append(str(error))
            return self._gone(where)
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            return DataUnavailable(
                f"{where}: the log does not have it any more ({error.str()}); publish again, or keep messages longer"
            )
        return DataUnavailable(f"{where}: it cannot be read ({error.str()}); look at the brokers' logs")

    def _silence(self, position: PartitionPosition) -> DataUnavailable:
        """The error for brokers that send nothing more: what became of the topic, if they still tell."""
        where = self._at(position.partition, position.offset)
        if (gone := self._gone(where)) is not None:
            return gone
        try:
            stable, high = stable_and_last(self._hurried(), position.partition)
        except DataUnavailable:
            return unreachable(self._data, where, "no message", self._problems)
        if stable < high and position.offset >= stable:
            return DataUnavailable(
                f"{where}: a transaction that begins at offset {stable} has not ended, so nothing from there on is "
                "given to readers; end it, or end data.ranges before it"
            )
        if high > position.offset:
            return DataUnavailable(
                f"{where}: the log goes on to offset {high - 1} and gives no message: what is left was aborted with "
                "its transaction, or marks the end of one; end data.ranges before it"
            )
        return unreachable(self._data, where, "no message", self._problems)

    def _gone(self, where: str) -> DataUnavailable | None:
        """The error for a topic that is no longer there, or is another; None where that can't be told."""
        try:
            now = described(self._hurried())
        except NoSuchTopic:
            return DataUnavailable(f"{where}: the topic was deleted while it was read; publish it again")
        except DataUnavailable:
            return None
        if now.id != self._topic.id:
            return DataUnavailable(f"{where}: the topic was deleted and made anew while it was read; run again")
        return None

    def _hurried(self) -> Data:
        """`data` for a question whose answer only words an error."""
        return self._data.model_copy(update={"timeout_seconds": min(5, self._data.timeout_seconds)})

    def _at(self, partition: int, offset: int) -> str:
        return f"topic {self._topic.name}, partition {partition}, offset {offset}"

    def _take_statistics(self, text: str) -> None:
        self._statistics = (text, self._statistics[1] + 1)

    def received_bytes(self) -> int:
        """What the consumer has received from all brokers so far, compressed as it came. Takes half a second."""
        # Two reports later: the next one may have been made before this call.
        until = self._statistics[1] + 2
        deadline = time.monotonic() + 25 * _STATISTICS_SECONDS
        while self._statistics[1] < until and time.monotonic() < deadline:
            self._consumer.poll(_STATISTICS_SECONDS / 4)
        text = self._statistics[0]
        return sum(broker["rxbytes"] for broker in json.loads(text)["brokers"].values()) if text else 0


def _most_received(message: int) -> int:
    """What a response may have: by default 100 MB, more where a single message is as large."""
    return min(2**31 - 1, max(100_000_000, 2 * message + 2**20))


@contextmanager
def opened(data: Data, topic: Topic, segments: Sequence[Segment]) -> Iterator[Reader]:
    """A reader that is open for as long as the context lasts."""
    reader = Reader(data, topic, segments)
    try:
        reader.open()
        yield reader
    finally:
        reader.close()
