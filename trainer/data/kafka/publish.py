"""Writes samples to a topic of their own: each once and in order, whatever is sent again underneath."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.arrays import Samples
from trainer.data.kafka.checksum import MODULUS, checksum
from trainer.data.kafka.client import asked, code_of, described, made, passing, said, settings
from trainer.data.kafka.decode import Undecodable, decoder
from trainer.data.kafka.encode import Encoder, encoder, largest_message
from trainer.experiment.kafka import OffsetRange
from trainer.experiment.training import Data

_MOST_BYTES = 1_000_000_000  # of a message that librdkafka sends
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
    samples: Samples,
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
            "delivery.timeout.ms": 1000 * self.data.timeout_seconds,
            "error_cb": lambda error: self._problems.append(str(error)),
        }
        self._producer = made("Producer", settings(self.data, **more))

    def send(self, partition: int, value: bytes) -> None:
        """Queues one message; waits while the queue is full."""
        from confluent_kafka import KafkaException

        while True:
            try:
                self._producer.produce(self.data.topic_name, value, partition=partition, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
                self._settle()
            except KafkaException as error:
                raise Unfinished(self._lost(f"a message of {len(value):,} bytes refused ({said(error)})")) from error
        self._sent[partition] = self._sent.get(partition, 0) + 1
        self._producer.poll(0)
        self._settle()

    def finish(self) -> list[OffsetRange]:
        """The ranges that were written, once the brokers have all of it."""
        deadline = time.monotonic() + self.data.timeout_seconds + 5
        while (left := self._producer.flush(1.0)) and time.monotonic() < deadline:
            self._settle()
        self._settle()
        if left or self._stored != self._sent:
            raise Unfinished(self._lost(f"{left} messages are not acknowledged"))
        return [OffsetRange(partition, 0, count - 1) for partition, count in sorted(self._stored.items())]

    def _delivered(self, error: Any, message: Any) -> None:
        partition = message.partition()
        if error is not None:
            self._failed = self._lost(f"partition {partition}: {error.str()}")
        elif message.offset() != self._stored.get(partition, 0):
            self._failed = self._lost(
                f"partition {partition}: offset {self._stored.get(partition, 0)} was expected for a message, got "
                f"{message.offset()}; somebody else writes to it"
            )
        self._stored[partition] = self._stored.get(partition, 0) + 1

    _failed: str = ""

    def _settle(self) -> None:
        if self._failed:
            self._producer.purge()
            with suppress(Exception):
                self._producer.flush(1.0)
            raise Unfinished(self._failed)

    def _lost(self, what: str) -> str:
        noticed = f"; last noticed: {self._problems[-1]}" if self._problems else ""
        return (
            f"topic {self.data.topic_name}: every message must be stored by the brokers at {self.data.brokers}, got "
            f"{what}{noticed}; publish again with --replace"
        )


def _require_readable(data: Data, samples: Samples, encode: Encoder) -> None:
    """Raises DataUnavailable unless a message can be read back."""
    for x, y in samples.between(0, 1):
        value = encode(x[0], y[0].item(), samples.shape)
        try:
            decoder(data).decode([value], np.empty_like(x), np.empty_like(y))
        except Undecodable as error:
            raise DataUnavailable(f"data.message: messages that can be read back are required: {error}") from error


def _make_topic(data: Data, partitions: int, *, replace: bool) -> None:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic

    name = data.topic_name
    problems: list[str] = []
    admin = made("AdminClient", settings(data, error_cb=lambda error: problems.append(str(error))))
    what = f"topic {name}"
    seconds = data.timeout_seconds
    known = asked(lambda: admin.list_topics(timeout=seconds), data, problems, what).topics
    if name in known:
        if not replace:
            raise TopicTaken(
                f"{what}: it is there already, and a data set has a topic of its own; delete it with --replace, or "
                "choose another name"
            )
        asked(lambda: admin.delete_topics([name], operation_timeout=seconds)[name].result(), data, problems, what)
    config = (
        {"max.message.bytes": str(min(_MOST_BYTES, largest))}
        if (largest := largest_message(data)) > _USUAL_BYTES
        else {}
    )
    new = NewTopic(name, num_partitions=partitions, config=config)
    deadline = time.monotonic() + seconds
    while True:
        try:
            admin.create_topics([new], operation_timeout=seconds)[name].result(seconds + 5)
            break
        except KafkaException as error:
            # A topic that was deleted is not gone at once.
            again = (replace and code_of(error) == KafkaError.TOPIC_ALREADY_EXISTS) or code_of(error) in passing()
            if not again or time.monotonic() > deadline:
                raise DataUnavailable(f"{what}: it cannot be made at {data.brokers} ({said(error)})") from error
            time.sleep(0.1)
    # Brokers tell of a new topic a moment later.
    while True:
        try:
            described(data)
            return
        except DataUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
