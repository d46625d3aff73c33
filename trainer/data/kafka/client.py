"""Clients of a broker: their settings, what a topic is, and what it says when it fails."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.secrets import revealed
from trainer.experiment.training import Data

# librdkafka prints what it notices on standard error otherwise; what matters comes back as errors.
_log = logging.getLogger("trainer.kafka")
_log.addHandler(logging.NullHandler())
_log.propagate = False


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


def asked(ask: Callable[[], Any], data: Data, problems: list[str], what: str) -> Any:
    """The answer of `ask`; its failure becomes DataUnavailable about `what`. `problems`: what the client noticed."""
    from confluent_kafka import KafkaError, KafkaException

    try:
        return ask()
    except KafkaException as error:
        code = error.args[0].code() if error.args and isinstance(error.args[0], KafkaError) else None
        if code in unknown_topic():
            raise DataUnavailable(
                f"{what}: the brokers at {data.brokers} have none of this name; publish it, or correct data.topic"
            ) from error
        raise unreachable(data, what, said(error), problems) from error
    except TimeoutError as error:
        raise unreachable(data, what, "no answer", problems) from error


def unknown_topic() -> tuple[int, ...]:
    """The codes of errors that say that a topic or partition is not there."""
    from confluent_kafka import KafkaError

    return KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION


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
