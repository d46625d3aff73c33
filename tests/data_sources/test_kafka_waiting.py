"""Which errors of brokers are waited for, and what is said of each that stays. tests/kafka has brokers that fail."""

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from kafka.builders import a_data
from trainer.data.errors import DataUnavailable
from trainer.data.kafka.waiting import NoSuchTopic, asked

PASSING = [
    "LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR", "NOT_CONTROLLER", "NETWORK_EXCEPTION", "REQUEST_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN",
    "_TIMED_OUT", "_RESOLVE",
]  # fmt: skip
STAYING = {
    "TOPIC_AUTHORIZATION_FAILED": "t: the right to describe and read it is required, .*whether it is there is not",
    "CLUSTER_AUTHORIZATION_FAILED": "t: the right to describe and read it is required",
    "TOPIC_EXCEPTION": "t: a name that brokers take is required",
    "INVALID_CONFIG": "t: the brokers at .* refuse what was asked .*; look at their logs and data.client",
}


def failure(name: str) -> KafkaException:
    return KafkaException(KafkaError(getattr(KafkaError, name)))


def failing(*names: str, then: str = "") -> tuple[Callable[[float], str], list[float]]:
    """What fails so, one after the other, then answers or goes on with the last; and the seconds that it is told."""
    told: list[float] = []
    left: Iterator[str] = iter(names)

    def ask(seconds: float) -> str:
        told.append(seconds)
        name = next(left, "")
        if not name and then:
            return then
        raise failure(name or names[-1])

    return ask, told


@pytest.mark.parametrize("name", PASSING)
def test_an_error_that_may_pass_is_waited_for(name: str) -> None:
    ask, told = failing(name, name, then="answer")
    assert asked(ask, a_data(timeoutSeconds=3600), [], "t") == "answer"
    assert told == sorted(told)
    assert len(told) == 3


@pytest.mark.parametrize("name", PASSING)
def test_an_error_that_may_pass_and_stays_says_nothing_of_a_topic(name: str) -> None:
    ask, told = failing(name)
    with pytest.raises(
        DataUnavailable, match=r"must answer within data.timeoutSeconds = 1, got .*noticed"
    ) as refused:
        asked(ask, a_data(timeoutSeconds=1), ["noticed"], "t")
    assert not isinstance(refused.value, NoSuchTopic)
    assert max(told) <= 1


@pytest.mark.parametrize("name", STAYING)
def test_an_error_that_does_not_pass_is_told_at_once_for_what_it_is(name: str) -> None:
    ask, told = failing(name)
    with pytest.raises(DataUnavailable, match=STAYING[name]) as refused:
        asked(ask, a_data(timeoutSeconds=3600), [], "t", unknown_seconds=3600)
    assert not isinstance(refused.value, NoSuchTopic)
    assert len(told) == 1


@pytest.mark.parametrize("name", ["UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"])
def test_a_topic_that_is_not_known_is_missing_unless_it_was_just_made(name: str) -> None:
    ask, told = failing(name)
    with pytest.raises(NoSuchTopic, match=r"t: the brokers at .* have none of this name"):
        asked(ask, a_data(timeoutSeconds=3600), [], "t")
    assert len(told) == 1
    ask, _ = failing(name, name, then="answer")
    assert asked(ask, a_data(timeoutSeconds=3600), [], "t", unknown_seconds=3600) == "answer"


def test_what_was_said_before_brokers_fell_silent_is_told() -> None:
    ask, _ = failing("LEADER_NOT_AVAILABLE", "_TIMED_OUT")
    with pytest.raises(DataUnavailable, match="got Broker: Leader not available"):
        asked(ask, a_data(timeoutSeconds=1), [], "t")
