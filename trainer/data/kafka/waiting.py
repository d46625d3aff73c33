"""Which failures of brokers may pass by themselves, how long they are waited for, and what is said of others."""

import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from trainer.data.errors import DataUnavailable
from trainer.experiment.training import Data

# A question gets this long at first and twice as long each time it is asked again: whoever was asked may be gone, and
# a client finds out whom to ask instead only between two questions.
_FIRST_TRY_SECONDS = 2.0
_LONGEST_TRY_SECONDS = 60.0
_SHORTEST_TRY_SECONDS = 0.1
_PAUSE_SECONDS = 0.1
# Those that Kafka's protocol calls retriable, and librdkafka's own for a broker that can't be reached at the moment.
_PASSING = (
    "LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "REPLICA_NOT_AVAILABLE", "BROKER_NOT_AVAILABLE",
    "PREFERRED_LEADER_NOT_AVAILABLE", "REQUEST_TIMED_OUT", "NETWORK_EXCEPTION", "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "NOT_CONTROLLER", "NOT_ENOUGH_REPLICAS", "OFFSET_NOT_AVAILABLE",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "KAFKA_STORAGE_ERROR", "FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH",
    "ELECTION_NOT_NEEDED", "THROTTLING_QUOTA_EXCEEDED", "CONCURRENT_TRANSACTIONS", "UNSTABLE_OFFSET_COMMIT",
    "FETCH_SESSION_ID_NOT_FOUND", "INVALID_FETCH_SESSION_EPOCH", "STALE_BROKER_EPOCH", "REBOOTSTRAP_REQUIRED",
    "_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_MSG_TIMED_OUT", "_RESOLVE", "_WAIT_COORD",
    "_WAIT_CACHE", "_RETRY", "_NODE_UPDATE", "_IN_PROGRESS", "_PREV_IN_PROGRESS", "_DESTROY_BROKER",
)  # fmt: skip
# Of these, the ones that say only that no answer came.
_SILENT = ("_TIMED_OUT", "_TIMED_OUT_QUEUE", "_MSG_TIMED_OUT")
_DENIED = ("TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED")


Answer = TypeVar("Answer")


class NoSuchTopic(DataUnavailable):
    """The brokers say that they have no topic of this name."""


def asked(
    ask: Callable[[float], Answer], data: Data, problems: list[str], what: str, *, unknown_seconds: float = 0.0
) -> Answer:
    """The answer of `ask`, which is told how many seconds it may take.

    It is asked again for `data.timeoutSeconds` while its failure may pass by itself, and for up to `unknown_seconds`
    of them where it finds no such topic or partition. A failure that stays becomes DataUnavailable about `what`,
    NoSuchTopic where that is what the brokers say. `problems` is what the client noticed meanwhile.
    """
    from confluent_kafka import KafkaException

    began = time.monotonic()
    patience, reason = _FIRST_TRY_SECONDS, "no answer"
    while True:
        left = began + data.timeout_seconds - time.monotonic()
        try:
            return ask(max(_SHORTEST_TRY_SECONDS, min(left, patience)))
        except KafkaException as error:
            code = code_of(error)
            limit = data.timeout_seconds if code in codes(_PASSING) else 0.0
            if code in unknown_topic():
                limit = min(unknown_seconds, data.timeout_seconds)
            if code not in codes(_SILENT) or reason == "no answer":
                reason = said(error)
            if time.monotonic() - began >= limit:
                raise _refusal(data, what, code, reason, problems) from error
        except TimeoutError as error:
            if time.monotonic() - began >= data.timeout_seconds:
                raise unreachable(data, what, reason, problems) from error
        time.sleep(_PAUSE_SECONDS)
        patience = min(2 * patience, _LONGEST_TRY_SECONDS)


def passing(code: int | None) -> bool:
    """Whether an error may pass by itself, as in an election or while a broker starts."""
    return code in codes(_PASSING)


def denied(code: int | None) -> bool:
    """Whether an error says that the client has no right to what it asked for."""
    return code in codes(_DENIED)


def unknown_topic() -> frozenset[int]:
    """The codes of errors that say that a topic or partition is not there."""
    return codes(("UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_ID", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"))


@cache
def codes(names: tuple[str, ...]) -> frozenset[int]:
    """The codes of errors by name. Those that the installed client doesn't know are left out."""
    from confluent_kafka import KafkaError

    return frozenset(getattr(KafkaError, name) for name in names if hasattr(KafkaError, name))


def code_of(error: BaseException) -> int | None:
    """The code of a client's error, None where it has none."""
    code = getattr(error.args[0] if error.args else None, "code", None)
    return None if code is None else int(code())


def said(error: BaseException) -> str:
    """What a client's error says, without its code."""
    inner = error.args[0] if error.args else error
    text = inner.str() if hasattr(inner, "str") else str(error)
    return " ".join(str(text).split())


def no_rights(data: Data, what: str, reason: str) -> DataUnavailable:
    """The error for a client that may not see or read a topic."""
    return DataUnavailable(
        f"{what}: the right to describe and read it is required, but the brokers at {data.brokers} refuse "
        f"({reason}), so whether it is there is not known; grant the right, or correct data.client"
    )


def unreachable(data: Data, what: str, reason: str, problems: list[str]) -> DataUnavailable:
    """The error for brokers that don't answer."""
    return DataUnavailable(
        f"{what}: the brokers at {data.brokers} must answer within data.timeoutSeconds = {data.timeout_seconds}, "
        f"got {reason}{noticed(problems)}; start them, or correct data.brokers and data.client"
    )


def noticed(problems: list[str]) -> str:
    """What a client noticed last, as the end of a sentence. That all brokers are down only follows from the rest."""
    telling = [problem for problem in problems if "_ALL_BROKERS_DOWN" not in problem] or problems
    return f"; last noticed: {telling[-1]}" if telling else ""


def _refusal(data: Data, what: str, code: int | None, reason: str, problems: list[str]) -> DataUnavailable:
    """The error for a failure that doesn't pass."""
    if code in unknown_topic():
        return NoSuchTopic(
            f"{what}: the brokers at {data.brokers} have none of this name; publish it, or correct data.topic"
        )
    if passing(code):
        return unreachable(data, what, reason, problems)
    if denied(code):
        return no_rights(data, what, reason)
    if code in codes(("TOPIC_EXCEPTION",)):
        return DataUnavailable(f"{what}: a name that brokers take is required ({reason}); correct data.topic")
    return DataUnavailable(
        f"{what}: the brokers at {data.brokers} refuse what was asked ({reason}); look at their logs and data.client"
    )
