"""What goes wrong with a topic is an error that names partition and offset, in time, and never a shorter set."""

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from kafka.broker import Broker
from kafka.builders import document, on, published
from kafka.reading import read
from train.builders import a_training
from train.ranks import on_ranks, run_all
from trainer.data.errors import DataUnavailable
from trainer.data.kafka import fetch
from trainer.experiment.judge import RankExit, judge
from trainer.experiment.outcome import EXIT_CODES, Outcome
from trainer.experiment.training import Data

TIMEOUT_SECONDS = 3
SPLIT = [{"rate": 1}]


@pytest.fixture
def little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the consumer fetch only a little ahead, so that a small topic is not all here before it is read."""
    monkeypatch.setattr(fetch, "_AHEAD_KIB", 64)
    monkeypatch.setattr(fetch, "_FETCH_BYTES", 16 * 1024)


def long_topic(broker: Broker) -> Data:
    """Far more than is fetched ahead: 4 MB in small batches, of which 2,000 messages make 130 kB."""
    data = on(broker, ranges=["0:0:59999"], split=SPLIT)
    published(data, samples=60_000)
    return data.model_copy(update={"timeout_seconds": TIMEOUT_SECONDS})


def refused(call: Callable[[], object], reason: str) -> str:
    with pytest.raises(DataUnavailable, match=reason) as refusal:
        call()
    return str(refusal.value)


@pytest.mark.usefixtures("little_ahead")
def test_a_broker_that_is_stopped_in_mid_read(own_broker: Broker) -> None:
    data = long_topic(own_broker)
    said = refused(
        lambda: read(data, own_broker.kill, after=2000),
        rf"partition 0, offset \d+: the brokers at {own_broker.address} must answer within data.timeoutSeconds = 3",
    )
    assert "got no message; last noticed: " in said


@pytest.mark.usefixtures("little_ahead")
def test_a_broker_that_freezes_in_mid_read(own_broker: Broker) -> None:
    data = long_topic(own_broker)
    try:
        refused(
            lambda: read(data, own_broker.pause, after=2000), r"partition 0, offset \d+: the brokers at .* no message"
        )
    finally:
        own_broker.resume()


@pytest.mark.usefixtures("little_ahead")
def test_a_broker_that_is_away_for_less_than_the_timeout_costs_nothing(own_broker: Broker) -> None:
    data = long_topic(own_broker).model_copy(update={"timeout_seconds": 300})

    def restart() -> None:
        own_broker.kill()
        own_broker.start()

    assert read(data, restart, after=2000)[1].messages == 60_000


@pytest.mark.usefixtures("little_ahead")
def test_a_topic_that_is_deleted_in_mid_read(broker: Broker) -> None:
    data = long_topic(broker)
    admin = AdminClient({"bootstrap.servers": broker.address})

    def delete() -> None:
        admin.delete_topics([data.topic_name])[data.topic_name].result()

    refused(
        lambda: read(data, delete, after=2000), r"partition 0, offset \d+: the topic was deleted while it was read"
    )


@pytest.mark.usefixtures("little_ahead")
def test_messages_that_are_removed_in_mid_read(broker: Broker) -> None:
    data = long_topic(broker)
    refused(
        lambda: read(data, lambda: remove_before(broker, data, 50_000), after=2000),
        r"partition 0, offset \d+: the log does not have it any more",
    )


def remove_before(broker: Broker, data: Data, offset: int) -> None:
    place = TopicPartition(data.topic_name, 0, offset)
    admin = AdminClient({"bootstrap.servers": broker.address})
    for future in admin.delete_records([place]).values():
        future.result()


def test_messages_that_retention_has_removed(broker: Broker) -> None:
    data = on(broker)
    published(data)
    remove_before(broker, data, 50)
    refused(
        lambda: read(data), "partition 0, offset 0: the log begins at offset 50, what was before has been removed"
    )
    assert read(data.model_copy(update={"ranges": ("0:50:99",)}))[1].messages == 50


@pytest.mark.parametrize(
    ("ranges", "reason"),
    [
        (
            ["0:0:100"],
            "partition 0, offset 100: the log ends with offset 99, data.ranges ask for more: up to 100",
        ),
        (["0:200:300"], "partition 0, offset 200: the log ends with offset 99"),
        (["1:0:0"], "partition 1, offset 0: the topic has partitions 0 to 0"),
    ],
)
def test_a_range_beyond_the_end_of_the_log(ranges: list[str], reason: str, broker: Broker) -> None:
    data = on(broker, ranges=ranges)
    published(data)
    refused(lambda: read(data), reason)


def test_a_topic_that_is_not_there(broker: Broker) -> None:
    refused(lambda: read(on(broker)), "have none of this name; publish it, or correct data.topic")


def test_brokers_that_are_not_there(broker: Broker) -> None:
    data = on(broker, brokers="127.0.0.1:9", timeoutSeconds=TIMEOUT_SECONDS)
    refused(lambda: read(data), "the brokers at 127.0.0.1:9 must answer within data.timeoutSeconds = 3")


def sent(broker: Broker, data: Data, value: bytes | None) -> None:
    """One more message at the end of a topic's partition 0."""
    producer = Producer({"bootstrap.servers": broker.address})
    producer.produce(data.topic_name, value, partition=0)
    assert producer.flush(10) == 0


@pytest.mark.parametrize("value", [b"\x00\x01", None], ids=["corrupt", "empty"])
def test_one_message_that_is_no_sample(value: bytes | None, broker: Broker) -> None:
    data = on(broker, ranges=["0:0:100"])
    published(data)
    sent(broker, data, value)
    refused(lambda: read(data), "partition 0, offset 100: .* required|partition 0, offset 100: it has no value")


def test_messages_of_another_schema(broker: Broker) -> None:
    data = on(broker)
    published(data.model_copy(update={"message": data.message.model_copy(update={"preset": "Plain"})}))
    refused(lambda: read(data), "partition 0, offset 0: an Avro record of data.message's schema is required")


def test_messages_of_another_format(broker: Broker) -> None:
    data = on(broker, format="JSON")
    published(data)
    refused(lambda: read(data.model_copy(update={"format": "Avro"})), "partition 0, offset 0: .*correct data.format")


def test_the_offset_of_a_bad_message_is_its_own_in_a_batch_that_is_kept_in_blocks(broker: Broker) -> None:
    data = on(broker, window=784, classes=10, ranges=["0:0:1499"])
    published(data, samples=1499)
    sent(broker, data, b"nonsense")
    refused(lambda: read(data, whole=False), "partition 0, offset 1499: ")


def test_a_fault_of_one_rank_is_the_outcome_of_the_trial(broker: Broker, tmp_path: Path) -> None:
    data = on(broker, ranges=["0:0:199"])
    published(data, samples=199)
    sent(broker, data, b"nonsense")
    reports = [each[0] for each in on_ranks(2, run_all, [tmp_path], tmp_path, [a_training(data=document(data))])]
    verdict = judge([RankExit(report.rank, EXIT_CODES[report.outcome], report) for report in reports], "validLogLoss")
    assert verdict.outcome is Outcome.DATA_UNAVAILABLE
    assert verdict.rank == 1
    assert "partition 0, offset 199" in verdict.error
    assert not reports[0].metrics
