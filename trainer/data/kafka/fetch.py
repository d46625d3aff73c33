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
    Topic,
    brokers_named,
    described,
    made,
    renew_leaders,
    settings,
    stable_and_last,
    topic_setting,
)
from trainer.data.kafka.encode import largest_message
from trainer.data.kafka.layout import Segment
from trainer.data.kafka.undecodable import Undecodable
from trainer.data.kafka.waiting import NoSuchTopic, asked, denied, no_rights, passing, unknown_topic, unreachable
from trainer.experiment.kafka import OffsetRange
from trainer.experiment.training import Data

_BATCH, _BATCH_BYTES = 500, 16 * 2**20
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
        self._sample_bytes = 4 * data.window * len(data.columns)

    @property
    def begin(self) -> str:
        """The first message that is read, for an error; the topic alone where none is."""
        if not self._segments:
            return f"topic {self._topic.name}"
        where = self._segments[0].where
        return self._at(where.partition, where.start)

    def open(self) -> None:
        """Connects and checks the ranges. DataUnavailable names the first that cannot be read, and why."""
        configuration = self._configuration() | {
            "statistics.interval.ms": int(1000 * _STATISTICS_SECONDS),
            "stats_cb": self._take_statistics,
        }
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
                bounds[where.partition] = self._bounds(where.partition, where.start)
            self._check(where, *bounds[where.partition])

    def _configuration(self) -> dict[str, Any]:
        return settings(
            self._data,
            **{
                "group.id": "trialrun",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                # A log that no longer holds an offset is an error, not a reason to go on elsewhere.
                "auto.offset.reset": "error",
                "check.crcs": True,
                "fetch.message.max.bytes": _FETCH_BYTES,
                "receive.message.max.bytes": _most_received(largest_message(self._data)),
                "queued.max.messages.kbytes": _AHEAD_KIB,
                "fetch.queue.backoff.ms": _REST_MILLISECONDS,
                "error_cb": lambda error: self._problems.append(str(error)),
            },
        )

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
        for position in positions.values():
            self._bounds(position.partition, position.offset)
        last, wanted = time.monotonic(), sum(len(segment) for segment in segments)
        batch = batch_messages(self._sample_bytes)
        while positions:
            began = time.perf_counter()
            # Asked for more than will come it would wait for them.
            messages = self._consumer.consume(min(batch, wanted - figures.messages), timeout=0.2)
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
                self._heed(message, positions)
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
                raise self._gap(position.partition, wanted, f"the next is {offset}")
            values.append(message.value())
            room -= 1
        if position is not None and values:
            yield position, values

    def _hand_on(self, position: PartitionPosition, values: list[bytes | None], take: Take) -> None:
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

        if offset - position.offset > min(_PASSED_OVER, _AHEAD_KIB * 1024 // self._sample_bytes):
            self._consumer.seek(TopicPartition(self._topic.name, position.partition, offset))
        position.offset = offset

    def _bounds(self, partition: int, offset: int) -> tuple[int, int]:
        """The first offset that the log still has, and the one up to which readers are given messages.

        The error where it cannot be had is about `offset`.
        """
        from confluent_kafka import KafkaException, TopicPartition

        one = TopicPartition(self._topic.name, partition)

        def ask(seconds: float) -> tuple[int, int]:
            try:
                low, high = self._consumer.get_watermark_offsets(one, timeout=seconds, cached=False)
            except KafkaException:
                renew_leaders(self._consumer, self._topic.name)
                raise
            return low, high

        # The topic was there a moment ago: to the client a partition that nobody leads is not known.
        waits = float(self._data.timeout_seconds)
        where = self._at(partition, offset)
        try:
            return asked(ask, self._data, self._problems, where, unknown_seconds=waits)
        except NoSuchTopic as error:
            problem = self._lost(partition, where)
            raise problem or unreachable(self._data, where, "no leader of it", self._problems) from error
        except DataUnavailable as error:
            raise self._lost(partition, where) or error from error

    def _check(self, where: OffsetRange, low: int, high: int) -> None:
        if where.start < low:
            raise DataUnavailable(
                f"{self._at(where.partition, where.start)}: the log begins at offset {low}, what was before has been "
                "removed (retention); publish again, or correct data.ranges"
            )
        if where.end >= high:
            stable, last = stable_and_last(self._data, where.partition)
            if where.end < stable:  # what kept it back has ended meanwhile
                return
            at = self._at(where.partition, max(where.start, stable))
            if stable < last:
                raise DataUnavailable(f"{at}: {self._open_transaction(where.partition, stable, last)}")
            end = f"ends with offset {last - 1}" if last > low else "is empty"
            raise DataUnavailable(
                f"{at}: the log {end}, data.ranges ask for more: up to {where.end}, included; publish the rest, or "
                "correct data.ranges"
            )

    def _open_transaction(self, partition: int, stable: int, last: int) -> str:
        return (
            f"the log goes on to offset {last - 1}, but a transaction that begins at offset {stable} is open, and "
            "until it ends nothing from there on is given to readers; commit or abort it, or end data.ranges "
            f"before it (kafka-transactions.sh describe-producers --topic {self._topic.name} --partition {partition} "
            "names who has it open)"
        )

    def _heed(self, message: Any, positions: dict[int, PartitionPosition]) -> None:
        """Raises the error for what came in place of a message, unless it may pass by itself."""
        from confluent_kafka import KafkaError

        error = message.error()
        position = positions.get(message.partition()) or next(iter(positions.values()))
        if error.code() == KafkaError._PARTITION_EOF:
            # All messages before the end have come; where some are still wanted, the log doesn't have them.
            if message.partition() == position.partition and position.left and message.offset() > position.offset:
                raise self._gap(position.partition, position.offset, f"it ends before offset {message.offset()}")
            return
        self._problems.append(str(error))
        where = self._at(position.partition, position.offset)
        if passing(error.code()):
            return
        if error.code() in unknown_topic():
            if (lost := self._lost(position.partition, where)) is not None:
                raise lost
            return
        if denied(error.code()):
            raise no_rights(self._data, where, error.str())
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise DataUnavailable(
                f"{where}: the log does not have it any more ({error.str()}); publish again, or keep messages longer"
            )
        raise DataUnavailable(f"{where}: it cannot be read ({error.str()}); look at the brokers' logs")

    def _gap(self, partition: int, offset: int, then: str) -> DataUnavailable:
        """The error for an offset at which readers are given no message though the log goes on, and why."""
        low, _ = self._bounds(partition, offset)
        where = self._at(partition, offset)
        if offset < low:
            return DataUnavailable(
                f"{where}: it has been removed (retention) since reading began, the log begins at offset {low} now; "
                "publish again, or keep messages longer"
            )
        policy = topic_setting(self._hurried(), "cleanup.policy")
        if self._is_kept_back(partition, offset):
            why = "it is part of a transaction that was aborted"
        elif "compact" in policy:
            why = f"it was compacted away (the topic's cleanup.policy is {policy}), or is where a transaction ended"
        elif policy:
            why = f"a transaction ended there, which takes an offset (the topic's cleanup.policy is {policy})"
        else:
            why = "it was compacted away, or is where a transaction ended"
        return DataUnavailable(
            f"{where}: the log has no such message for readers, {then}: {why}; leave it out of data.ranges"
        )

    def _is_kept_back(self, partition: int, offset: int) -> bool:
        """Whether there is a message at an offset that is given only to readers of what was not committed."""
        from confluent_kafka import TopicPartition

        reader = made("Consumer", self._configuration() | {"isolation.level": "read_uncommitted"})
        try:
            reader.assign([TopicPartition(self._topic.name, partition, offset)])
            for message in reader.consume(1, timeout=self._hurried().timeout_seconds):
                return message.error() is None and message.offset() == offset
            return False
        finally:
            reader.close()

    def _silence(self, position: PartitionPosition) -> DataUnavailable:
        """The error for brokers that send nothing more: what became of the topic, if they still tell."""
        where = self._at(position.partition, position.offset)
        if (lost := self._lost(position.partition, where)) is not None:
            return lost
        try:
            stable, last = stable_and_last(self._hurried(), position.partition)
        except DataUnavailable:
            return unreachable(self._data, where, "no message", self._problems)
        if stable < last and position.offset >= stable:
            return DataUnavailable(f"{where}: {self._open_transaction(position.partition, stable, last)}")
        if position.offset >= last:
            return DataUnavailable(
                f"{where}: the log ends with offset {last - 1} and was longer when reading began: a broker without "
                "the rest leads it now; publish again"
            )
        return unreachable(self._data, where, "no message", self._problems)

    def _lost(self, partition: int, where: str) -> DataUnavailable | None:
        """The error for a topic that is gone or another, or a partition that is offline; None if neither is known."""
        try:
            now = described(self._hurried())
        except NoSuchTopic:
            return DataUnavailable(f"{where}: the topic was deleted while it was read; publish it again")
        except DataUnavailable:
            return None
        if now.id != self._topic.id:
            return DataUnavailable(f"{where}: the topic was deleted and made anew while it was read; run again")
        if partition in now.offline:
            return DataUnavailable(
                f"{where}: the partition must have a leader within data.timeoutSeconds = "
                f"{self._data.timeout_seconds}, but is offline: it lies on {brokers_named(now.offline[partition])}; "
                "start what is down of these (the topic is there, so don't publish it anew)"
            )
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


def batch_messages(sample_bytes: int) -> int:
    """How many messages are decoded together at most: fewer of large ones, so that few are held at once."""
    return max(1, min(_BATCH, _BATCH_BYTES // sample_bytes))


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
