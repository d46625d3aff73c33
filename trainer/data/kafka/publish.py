"""Writes samples to a topic of their own: each once and in order, whatever is sent again underneath."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.arrays import SampleSource
from trainer.data.kafka.checksum import MODULUS, checksum
from trainer.data.kafka.client import (
    Topic,
    administrator,
    broker_setting,
    brokers_named,
    described,
    made,
    settings,
    stable_and_last,
    topic_setting,
)
from trainer.data.kafka.decode import decoder
from trainer.data.kafka.encode import Encoder, encoder, largest_message
from trainer.data.kafka.undecodable import Undecodable
from trainer.data.kafka.waiting import NoSuchTopic, asked, code_of, codes, noticed, said
from trainer.experiment.kafka import OffsetRange
from trainer.experiment.training import Data

_MOST_BYTES = 1_000_000_000  # of a message that librdkafka sends
_REQUEST_BYTES = 1024  # around a message in the request that brings it
_USUAL_BYTES = 1_048_588  # of a batch that a topic takes unless told otherwise
LARGEST_BATCH = 1_000_000  # of librdkafka, and about what brokers take unless told otherwise
_COMPRESSIONS = {"None": "none", "Gzip": "gzip", "Snappy": "snappy", "LZ4": "lz4", "Zstd": "zstd"}


class TopicTaken(DataUnavailable):
    """The topic is there already, and not ours to delete."""


class Unfinished(DataUnavailable):
    """The topic was made, and holds some of the samples at most."""


@dataclass(frozen=True)
class Sending:
    """How messages are gathered before they are sent: up to `batch_bytes`, for up to `linger_ms`."""

    batch_bytes: int = LARGEST_BATCH
    linger_ms: int = 50


@dataclass(frozen=True)
class Published:
    """What was written, and how."""

    topic: str
    ranges: tuple[str, ...]
    messages: int
    payload_bytes: int
    checksum: int
    format: str
    compression: str
    sending: Sending
    seconds: float

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "topic": self.topic,
            "ranges": list(self.ranges),
            "messages": self.messages,
            "payloadBytes": self.payload_bytes,
            "checksum": self.checksum,
            "format": self.format,
            "compression": self.compression,
            "batchBytes": self.sending.batch_bytes,
            "lingerMs": self.sending.linger_ms,
            "seconds": round(self.seconds, 3),
        }


def publish(
    data: Data,
    samples: SampleSource,
    counts: Sequence[int],
    *,
    replace: bool,
    sending: Sending,
    progress: Callable[[int, int], None],
) -> Published:
    """Makes the topic of `data` and writes samples to it in `data.format`, partition after partition.

    `counts` says how many each partition gets, so that the ranges in their order are the samples in theirs. A topic
    that is there already is refused, or deleted first with `replace`. `progress` is told how many are queued, of how
    many. Raises DataUnavailable.
    """
    began = time.monotonic()
    total = sum(counts)
    # What is wrong with the settings or the schema is told before a topic is deleted.
    sender = _Sender(data, sending)
    encode = encoder(data)
    _require_readable(data, samples, encode)
    _require_room(data, samples, encode)
    _make_topic(data, len(counts), replace=replace)
    found, done, payload = 0, 0, 0
    for partition, count in enumerate(counts):
        for x, y in samples.between(done, done + count):
            for row, label in zip(x, y.tolist(), strict=True):
                value = encode(row, label, samples.shape)
                payload += len(value)
                sender.send(partition, value)
            found = (found + checksum(x, y)) % MODULUS
            done += len(y)
            progress(done, total)
    ranges = sender.finish()
    return Published(
        data.topic_name, tuple(map(str, ranges)), done, payload, found, data.format, data.compression, sending,
        time.monotonic() - began,
    )  # fmt: skip


@dataclass
class _Sender:
    """An idempotent producer whose messages must be stored one after another from offset 0."""

    data: Data
    sending: Sending
    _problems: list[str] = field(default_factory=list)
    _sent: dict[int, int] = field(default_factory=dict)
    _stored: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        more = {
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": _COMPRESSIONS[self.data.compression],
            "linger.ms": self.sending.linger_ms,
            "batch.size": self.sending.batch_bytes,
            "batch.num.messages": 1_000_000,  # bytes say how large a batch is
            "queue.buffering.max.kbytes": max(64 * 1024, 2 * largest_message(self.data) // 1024),
            "message.max.bytes": min(_MOST_BYTES, max(LARGEST_BATCH, largest_message(self.data))),
            "delivery.timeout.ms": 0,  # no end: what counts is how long nothing was acknowledged, see `_settle`
            "topic.metadata.propagation.max.ms": min(1000 * self.data.timeout_seconds, 3_600_000),
            "error_cb": lambda error: self._problems.append(str(error)),
        }
        self._producer = made("Producer", settings(self.data, **more))

    def send(self, partition: int, value: bytes) -> None:
        """Queues one message; waits while the queue is full."""
        from confluent_kafka import KafkaException

        if self._stored == self._sent:
            self._heard = time.monotonic()
        while True:
            try:
                self._producer.produce(self.data.topic_name, value, partition=partition, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
                self._settle()
            except KafkaException as error:
                raise Unfinished(self._lost(self._refused(len(value), said(error), code_of(error)))) from error
        self._sent[partition] = self._sent.get(partition, 0) + 1
        self._producer.poll(0)
        self._settle()

    def finish(self) -> list[OffsetRange]:
        """The ranges that were written, once the brokers have all of it."""
        while self._producer.flush(0.5):
            self._settle()
        self._settle()
        if self._stored != self._sent:
            raise Unfinished(self._lost("fewer acknowledged than were sent"))
        return [OffsetRange(partition, 0, count - 1) for partition, count in sorted(self._stored.items())]

    def _delivered(self, error: Any, message: Any) -> None:
        partition = message.partition()
        if self._failed:
            pass  # the first failure is told
        elif error is not None:
            size = len(message.value() or b"")
            self._failed = f"partition {partition}: {self._refused(size, error.str(), error.code())}"
        elif message.offset() != self._stored.get(partition, 0):
            self._failed = (
                f"partition {partition}: offset {self._stored.get(partition, 0)} was expected for a message, got "
                f"{message.offset()}; somebody else writes to it"
            )
        self._stored[partition] = self._stored.get(partition, 0) + 1
        self._heard = time.monotonic()

    _failed: str = ""
    _heard: float = 0.0

    def _settle(self) -> None:
        """Raises Unfinished where a message was refused, or none was acknowledged for `data.timeoutSeconds`."""
        silent = time.monotonic() - self._heard > self.data.timeout_seconds
        if not self._failed and silent and self._stored != self._sent:
            self._failed = f"none acknowledged for data.timeoutSeconds = {self.data.timeout_seconds}"
        if self._failed:
            failed = self._failed  # what is thrown away now is refused too
            self._producer.purge()
            with suppress(Exception):
                self._producer.flush(1.0)
            raise Unfinished(self._lost(failed))

    def _refused(self, size: int, reason: str, code: int | None) -> str:
        """What became of a message of `size` bytes."""
        what = f"a message of {size:,} bytes refused ({reason})"
        if code not in codes(("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE")):
            return what
        known = topic_setting(self.data, "max.message.bytes")
        limit = f", which is {int(known):,} there" if known.isdecimal() else ""
        return (
            f"{what}: it, or its batch of up to {self.sending.batch_bytes:,} bytes, is over the topic's "
            f"max.message.bytes{limit} (by default the brokers' message.max.bytes); raise it, or lower --batch-bytes"
        )

    def _lost(self, what: str) -> str:
        return (
            f"topic {self.data.topic_name}: every message must be stored by the brokers at {self.data.brokers}, got "
            f"{what}{noticed(self._problems)}; publish again with --replace"
        )


def _require_readable(data: Data, samples: SampleSource, encode: Encoder) -> None:
    """Raises DataUnavailable unless a message can be read back."""
    for x, y in samples.between(0, 1):
        value = encode(x[0], y[0].item(), samples.shape)
        try:
            decoder(data).decode([value], np.empty_like(x), np.empty_like(y))
        except Undecodable as error:
            raise DataUnavailable(f"data.message: messages that can be read back are required: {error}") from error


def _make_topic(data: Data, partitions: int, *, replace: bool) -> None:
    """Makes the topic anew. One that is there is deleted first with `replace`, if all of it is known to be there."""
    try:
        before: Topic | None = described(data, unknown_seconds=0)
    except NoSuchTopic:
        before = None
    if before is not None:
        _delete(data, before, replace=replace)
    _create(data, partitions, before)
    try:
        described(data, unknown_seconds=data.timeout_seconds)
    except DataUnavailable as error:
        raise Unfinished(str(error)) from error


def _delete(data: Data, topic: Topic, *, replace: bool) -> None:
    what = f"topic {data.topic_name}"
    if not replace:
        raise _taken(data)
    if topic.offline:
        (partition, ids), *_ = topic.offline.items()
        raise DataUnavailable(
            f"{what}: a topic that is replaced must be online, but nobody leads partition {partition}, which lies on "
            f"{brokers_named(ids)}, so what it holds is unknown; nothing was deleted: start what is down of these, "
            "or delete the topic yourself"
        )
    admin, problems = administrator(data)
    with suppress(NoSuchTopic):  # an earlier try was carried out, though its answer got lost
        asked(
            lambda seconds: admin.delete_topics(
                [data.topic_name], operation_timeout=seconds, request_timeout=seconds
            )[data.topic_name].result(seconds + 5),
            data,
            problems,
            what,
        )


def _create(data: Data, partitions: int, before: Topic | None) -> None:
    """Makes the topic; `before` is one of its name that was deleted, which may take a moment."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic

    name = data.topic_name
    largest = min(_MOST_BYTES, largest_message(data))
    config = {"max.message.bytes": str(largest)} if largest > _USUAL_BYTES else {}
    admin, problems = administrator(data)
    tries = 0

    def create(seconds: float) -> None:
        nonlocal tries
        tries += 1
        new = NewTopic(name, num_partitions=partitions, config=config)
        try:
            admin.create_topics([new], operation_timeout=seconds, request_timeout=seconds)[name].result(seconds + 5)
        except KafkaException as error:
            if code_of(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            try:
                there = described(data, unknown_seconds=0)
            except NoSuchTopic:  # it has just been deleted, or made and this broker hasn't heard of it
                raise KafkaException(KafkaError(KafkaError._IN_PROGRESS, "it comes or goes")) from error
            if before is not None and there.id == before.id:
                raise KafkaException(KafkaError(KafkaError._IN_PROGRESS, "it is being deleted")) from error
            # The answer to an earlier try may have got lost; then it is ours, and empty.
            empty = tries > 1 and all(stable_and_last(data, each) == (0, 0) for each in there.partitions)
            if not empty or len(there.partitions) != partitions:
                raise _taken(data) from error

    asked(create, data, problems, f"topic {name}, which is to be made")


def _taken(data: Data) -> TopicTaken:
    return TopicTaken(
        f"topic {data.topic_name}: it is there already, and a data set has a topic of its own; delete it with "
        "--replace, or choose another name"
    )


def _require_room(data: Data, samples: SampleSource, encode: Encoder) -> None:
    """Raises DataUnavailable where a message is larger than what is sent, or brokers receive, in one piece."""
    for x, y in samples.between(0, 1):
        size = len(encode(x[0], y[0].item(), samples.shape))
        if size <= LARGEST_BATCH:
            return
        known = broker_setting(data, "socket.request.max.bytes")
        most = min(_MOST_BYTES, int(known) if known.isdecimal() else _MOST_BYTES)
        if size + _REQUEST_BYTES > most:
            limit = "what a client sends" if most == _MOST_BYTES else "the brokers' socket.request.max.bytes"
            raise DataUnavailable(
                f"topic {data.topic_name}: a message must have at most {most - _REQUEST_BYTES:,} bytes, by {limit} = "
                f"{most:,}, got {size:,} for a sample of {samples.shape} numbers in {data.format}; raise that, "
                "publish in Avro, or make samples smaller"
            )
