"""Clients of a broker: their settings, what a topic is, and what it says when it fails."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.secrets import revealed
from trainer.experiment.training import Data

# librdkafka prints what it notices on standard error otherwise; what matters comes back as errors.
_log = logging.getLogger("trainer.kafka")
_log.addHandler(logging.NullHandler())
_log.propagate = False


_PAUSE_SECONDS = 0.1
# Those that Kafka's protocol calls retriable, and librdkafka's own for a broker that can't be reached at the moment.
_PASSING = (
    "LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "REPLICA_NOT_AVAILABLE", "BROKER_NOT_AVAILABLE",
    "PREFERRED_LEADER_NOT_AVAILABLE", "REQUEST_TIMED_OUT", "NETWORK_EXCEPTION", "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "NOT_CONTROLLER", "NOT_ENOUGH_REPLICAS", "OFFSET_NOT_AVAILABLE",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "KAFKA_STORAGE_ERROR", "FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH",
    "ELECTION_NOT_NEEDED", "THROTTLING_QUOTA_EXCEEDED", "CONCURRENT_TRANSACTIONS", "UNSTABLE_OFFSET_COMMIT",
    "_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_RESOLVE", "_WAIT_COORD", "_WAIT_CACHE",
    "_LEADER_NOT_AVAILABLE", "_RETRY",
)  # fmt: skip


@dataclass(frozen=True)
class Topic:
    """A topic as the brokers know it. Its id is its own: one that is deleted and made again has another."""

    name: str
    id: str
    partitions: tuple[int, ...]


def settings(data: Data, **more: Any) -> dict[str, Any]:
    """What every client needs: the brokers, the user's settings and secrets. DataUnavailable without a secret."""
    return {
        "bootstrap.servers": data.brokers,
        "allow.auto.create.topics": False,
        "socket.connection.setup.timeout.ms": 1000 * max(1, min(30, data.timeout_seconds)),
        **data.client,
        **revealed(data.client_secrets),
        **more,
    }


def made(kind: str, configuration: dict[str, Any]) -> Any:
    """A `Consumer`, `Producer` or `AdminClient` of confluent-kafka. DataUnavailable where a setting is wrong."""
    try:
        import confluent_kafka
        from confluent_kafka.admin import AdminClient
    except ImportError as error:
        raise DataUnavailable(
            "data.source kafka: the package confluent-kafka is required, found none; install it with "
            "`pip install 'trialrun[kafka]'`"
        ) from error
    classes = {"Consumer": confluent_kafka.Consumer, "Producer": confluent_kafka.Producer, "AdminClient": AdminClient}
    try:
        return classes[kind](configuration, logger=_log)
    except (confluent_kafka.KafkaException, ValueError, TypeError) as error:
        raise DataUnavailable(
            f"data.client: settings that librdkafka takes are required ({said(error)}); correct them"
        ) from error


def described(data: Data) -> Topic:
    """The topic of `data`. DataUnavailable where it is not there or the brokers don't answer in time."""
    problems: list[str] = []
    admin = made("AdminClient", settings(data, error_cb=lambda error: problems.append(str(error))))
    found = asked(
        lambda: _description(admin, data),
        data,
        problems,
        f"topic {data.topic_name}",
    )
    return Topic(data.topic_name, str(found.topic_id), tuple(each.id for each in found.partitions))


def _description(admin: Any, data: Data) -> Any:
    from confluent_kafka import TopicCollection

    name = data.topic_name
    futures = admin.describe_topics(TopicCollection([name]), request_timeout=data.timeout_seconds)
    try:
        return futures[name].result(data.timeout_seconds + 5)
    finally:
        admin.poll(0)  # what it noticed meanwhile is told only now


class NoSuchTopic(DataUnavailable):
    """The brokers say that they have no topic of this name."""


def asked(
    ask: Callable[[], Any],
    data: Data,
    problems: list[str],
    what: str,
    *,
    also_waited_for: frozenset[int] = frozenset(),
) -> Any:
    """The answer of `ask`, asked again for `data.timeoutSeconds` while its failure may pass by itself.

    `also_waited_for` are codes of errors that may pass besides. A failure that stays becomes DataUnavailable about
    `what`, NoSuchTopic where that is what the brokers say. `problems` is what the client noticed meanwhile.
    """
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + data.timeout_seconds
    while True:
        try:
            return ask()
        except KafkaException as error:
            code = code_of(error)
            if code in passing() | also_waited_for and time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
                continue
            if code in unknown_topic() - also_waited_for:
                raise NoSuchTopic(
                    f"{what}: the brokers at {data.brokers} have none of this name; publish it, or correct data.topic"
                ) from error
            raise unreachable(data, what, said(error), problems) from error
        except TimeoutError as error:
            if time.monotonic() < deadline:
                continue
            raise unreachable(data, what, "no answer", problems) from error


def code_of(error: BaseException) -> int | None:
    """The code of a client's error, None where it has none."""
    code = getattr(error.args[0] if error.args else None, "code", None)
    return None if code is None else int(code())


@cache
def passing() -> frozenset[int]:
    """The codes of errors that may pass by themselves, as in an election or while a broker starts."""
    from confluent_kafka import KafkaError

    return frozenset(getattr(KafkaError, name) for name in _PASSING if hasattr(KafkaError, name))


@cache
def unknown_topic() -> frozenset[int]:
    """The codes of errors that say that a topic or partition is not there."""
    from confluent_kafka import KafkaError

    return frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})


def stable_and_last(data: Data, partition: int) -> tuple[int, int]:
    """The offset up to which readers are given messages, and the one after the last of the log.

    Between the two lie messages of transactions that have not ended, and what came after those.
    """
    from confluent_kafka import IsolationLevel, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    problems: list[str] = []
    admin = made("AdminClient", settings(data, error_cb=lambda error: problems.append(str(error))))
    place = TopicPartition(data.topic_name, partition)

    def offset(level: Any) -> int:
        futures = admin.list_offsets(
            {place: OffsetSpec.latest()}, isolation_level=level, request_timeout=data.timeout_seconds
        )
        (future,) = futures.values()
        return int(future.result(data.timeout_seconds + 5).offset)

    what = f"topic {data.topic_name}, partition {partition}"
    stable: int = asked(lambda: offset(IsolationLevel.READ_COMMITTED), data, problems, what)
    last: int = asked(lambda: offset(IsolationLevel.READ_UNCOMMITTED), data, problems, what)
    return stable, last


def cleanup_policy(data: Data) -> str:
    """What the brokers do with old messages of the topic; empty where they don't tell."""
    from confluent_kafka.admin import ConfigResource

    problems: list[str] = []
    admin = made("AdminClient", settings(data, error_cb=lambda error: problems.append(str(error))))
    topic = ConfigResource(ConfigResource.Type.TOPIC, data.topic_name)

    def ask() -> str:
        (future,) = admin.describe_configs([topic], request_timeout=data.timeout_seconds).values()
        return str(future.result(data.timeout_seconds + 5)["cleanup.policy"].value)

    try:
        policy: str = asked(ask, data, problems, f"topic {data.topic_name}")
    except DataUnavailable:  # who may read a topic need not be allowed to see its settings
        return ""
    return policy


def unreachable(data: Data, what: str, reason: str, problems: list[str]) -> DataUnavailable:
    """The error for brokers that don't answer."""
    noticed = f"; last noticed: {problems[-1]}" if problems else ""
    return DataUnavailable(
        f"{what}: the brokers at {data.brokers} must answer within data.timeoutSeconds = {data.timeout_seconds}, "
        f"got {reason}{noticed}; start them, or correct data.brokers and data.client"
    )


def said(error: BaseException) -> str:
    """What a client's error says, without its code."""
    inner = error.args[0] if error.args else error
    text = inner.str() if hasattr(inner, "str") else str(error)
    return " ".join(str(text).split())
