"""Clients of a broker: their settings, and what they are told of a topic."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.secrets import revealed
from trainer.data.kafka.waiting import asked, said
from trainer.experiment.training import Data

# librdkafka prints what it notices on standard error otherwise; what matters comes back as errors.
_log = logging.getLogger("trainer.kafka")
_log.addHandler(logging.NullHandler())
_log.propagate = False

# A topic that somebody has just made is not known to every broker at once.
_TOLD_SECONDS = 2.0
_LEADERS_SECONDS = 1.0


@dataclass(frozen=True)
class Topic:
    """A topic as the brokers know it. Its id is its own: one that is deleted and made again has another."""

    name: str
    id: str
    partitions: tuple[int, ...]
    offline: Mapping[int, tuple[int, ...]]  # the partitions that nobody leads, with the brokers that have them


def settings(data: Data, **more: Any) -> dict[str, Any]:
    """What every client needs: the brokers, the user's settings and secrets. DataUnavailable without a secret."""
    return {
        "bootstrap.servers": data.brokers,
        "allow.auto.create.topics": False,
        "socket.connection.setup.timeout.ms": 1000 * max(1, min(30, data.timeout_seconds)),
        "reconnect.backoff.max.ms": 1000,  # a broker that is back is to be found within the timeout, if it is short
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


def described(data: Data, *, unknown_seconds: float = _TOLD_SECONDS) -> Topic:
    """The topic of `data`, which may have partitions that are offline.

    Raises:
        NoSuchTopic: the brokers have none of this name, not even after `unknown_seconds`.
        DataUnavailable: whether it is there is not known: no answer in time, or no right to know.
    """
    from confluent_kafka import KafkaException, TopicCollection

    name = data.topic_name
    admin, problems = administrator(data)

    def ask(seconds: float) -> Topic:
        try:
            found = admin.list_topics(name, timeout=seconds).topics[name]
            if found.error is not None:
                raise KafkaException(found.error)
            futures = admin.describe_topics(TopicCollection([name]), request_timeout=seconds)
            topic = str(futures[name].result(seconds + 5).topic_id)
        finally:
            admin.poll(0)  # what it noticed meanwhile is told only now
        partitions = sorted(found.partitions.values(), key=lambda each: int(each.id))
        offline = {each.id: tuple(each.replicas) for each in partitions if each.leader < 0}
        return Topic(name, topic, tuple(each.id for each in partitions), offline)

    return asked(ask, data, problems, f"topic {name}", unknown_seconds=unknown_seconds)


def stable_and_last(data: Data, partition: int) -> tuple[int, int]:
    """The offset up to which readers are given messages, and the one after the last of the log.

    Between the two lie messages of transactions that have not ended, and what came after those.
    """
    from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    admin, problems = administrator(data)
    place = TopicPartition(data.topic_name, partition)

    def offset(level: Any, seconds: float) -> int:
        futures = admin.list_offsets({place: OffsetSpec.latest()}, isolation_level=level, request_timeout=seconds)
        (future,) = futures.values()
        try:
            found = int(future.result(seconds + 5).offset)
            if found < 0:  # so it says that nobody leads the partition
                raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        except KafkaException:
            renew_leaders(admin, data.topic_name)
            raise
        return found

    what = f"topic {data.topic_name}, partition {partition}"
    stable = asked(lambda seconds: offset(IsolationLevel.READ_COMMITTED, seconds), data, problems, what)
    return stable, asked(lambda seconds: offset(IsolationLevel.READ_UNCOMMITTED, seconds), data, problems, what)


def renew_leaders(client: Any, topic: str) -> None:
    """Has a client ask who leads the partitions of a topic.

    Otherwise it goes for minutes by what it was told before, also where that was nobody.
    """
    from confluent_kafka import KafkaException

    with suppress(KafkaException):  # it will be asked again
        client.list_topics(topic, timeout=_LEADERS_SECONDS)


def topic_setting(data: Data, name: str) -> str:
    """A setting of the topic as it counts there, the brokers' default included; empty where they don't tell."""
    return _setting(data, "TOPIC", data.topic_name, name)


def broker_setting(data: Data, name: str) -> str:
    """A setting of one of the brokers; empty where they don't tell."""
    admin, problems = administrator(data)
    known = asked(lambda seconds: admin.list_topics(data.topic_name, timeout=seconds), data, problems, "the brokers")
    return _setting(data, "BROKER", str(min(known.brokers)), name) if known.brokers else ""


def _setting(data: Data, kind: str, of: str, name: str) -> str:
    from confluent_kafka.admin import ConfigResource

    admin, problems = administrator(data)
    resource = ConfigResource(ConfigResource.Type[kind], of)

    def ask(seconds: float) -> str:
        (future,) = admin.describe_configs([resource], request_timeout=seconds).values()
        return str(future.result(seconds + 5)[name].value)

    try:
        return asked(ask, data, problems, f"the settings of {kind.lower()} {of}")
    except DataUnavailable:  # who may read and write a topic need not be allowed to see settings
        return ""


def administrator(data: Data) -> tuple[Any, list[str]]:
    """A client that asks and administers, and what it notices."""
    problems: list[str] = []
    return made("AdminClient", settings(data, error_cb=lambda error: problems.append(str(error)))), problems


def brokers_named(ids: Sequence[int]) -> str:
    """Brokers by their numbers."""
    return f"broker{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"
