"""Samples of many megabytes: published, read within bounds, and refused with the limit that is in the way."""

import resource
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from kafka.broker import Broker
from kafka.builders import a_data, on, published
from kafka.reading import read
from kafka.test_faults import refused
from trainer.data.kafka.arrays import made_up
from trainer.data.kafka.client import topic_setting
from trainer.data.kafka.encode import encoder, largest_message
from trainer.data.kafka.fetch import batch_messages
from trainer.data.kafka.publish import Sending, publish
from trainer.experiment.training import Data

SPLIT = [{"rate": 1}]
MB = 1_000_000


@pytest.mark.parametrize(
    ("megabytes", "form", "count"),
    [(3, "Avro", 4), (3, "JSON", 2), (3, "AvroInJSON", 2), (20, "Avro", 4), (20, "AvroInJSON", 2)],
)
def test_samples_of_many_megabytes_are_published_and_read(
    megabytes: int, form: str, count: int, broker: Broker
) -> None:
    data = on(broker, window=megabytes * MB // 4 // 5, columns=list("abcde"), format=form, split=SPLIT,
              ranges=[f"0:0:{count - 1}"], warmupMessages=1, timeoutSeconds=60)  # fmt: skip
    before = published(data, samples=count)
    assert before.payload_bytes > count * megabytes * MB
    assert int(topic_setting(data, "max.message.bytes")) >= before.payload_bytes // count
    for whole in (True, False):
        buffer, figures = read(data, whole=whole)
        assert (buffer.checksum, figures.messages) == (before.checksum, count)


def test_a_set_of_large_samples_is_published_a_few_at_a_time(broker: Broker) -> None:
    data = on(broker, window=MB, ranges=["0:0:39"], split=SPLIT, compression="LZ4", timeoutSeconds=60)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = published(data, samples=40)
    assert done.payload_bytes > 160 * MB
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 400 * MB


@pytest.mark.parametrize("form", ["Avro", "JSON", "AvroInJSON"])
@pytest.mark.parametrize("task", ["Classification", "Regression"])
def test_no_message_is_larger_than_what_its_topic_is_made_for(form: str, task: str) -> None:
    data = a_data(format=form, task=task, window=1000)
    encode = encoder(data)
    for x, y in made_up(data, 50, 0).between(0, 50):
        for scale in (1.0, -1e-38, 3e38):
            numbers = (x * scale).astype("float32")
            assert max(len(encode(row, y[0].item(), (1000,))) for row in numbers) <= largest_message(data)


@pytest.mark.parametrize(("sample", "batch"), [(4, 500), (3 * MB, 5), (20 * MB, 1), (200 * MB, 1)])
def test_fewer_large_messages_are_decoded_together(sample: int, batch: int) -> None:
    assert batch_messages(sample) == batch


def test_the_limit_of_a_topic_is_named_with_its_figure(broker: Broker) -> None:
    data = on(broker, window=500_000)
    admin = AdminClient({"bootstrap.servers": broker.address})

    def lower(_done: int, _total: int) -> None:
        entry = ConfigEntry("max.message.bytes", "100000", incremental_operation=AlterConfigOpType.SET)
        topic = ConfigResource(ResourceType.TOPIC, data.topic_name, incremental_configs=[entry])
        admin.incremental_alter_configs([topic])[topic].result()

    refused(
        lambda: publish(data, made_up(data, 20, 0), [20], replace=False, sending=Sending(), progress=lower),
        r"a message of 2,0\d\d,\d\d\d bytes refused .* max.message.bytes, which is 100,000 there .*message.max.bytes",
    )


def test_the_limit_of_a_broker_is_named_with_its_figure(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", more="message.max.bytes=50000\nsocket.request.max.bytes=2000000") as broker:
        small = on(broker)
        refused(
            lambda: published(small, samples=5000),
            r"over the topic's max.message.bytes, which is 50,000 there \(by default the brokers' "
            r"message.max.bytes\); raise it, or lower --batch-bytes",
        )
        large = small.model_copy(update={"window": 1_000_000})
        refused(
            lambda: published(large, samples=1, replace=True),
            r"a message must have at most 1,998,976 bytes, by the brokers' socket.request.max.bytes = 2,000,000, got "
            r"4,000,0\d\d for a sample",
        )
        assert topic_setting(small, "max.message.bytes") == "50000"  # it was not deleted for nothing


def test_a_message_that_no_client_sends_is_refused_before_a_topic_is_made(broker: Broker) -> None:
    data: Data = on(broker, window=30_000_000 // 32, columns=[f"c{i}" for i in range(32)], format="Avro")
    refused(
        lambda: published(data, samples=1),
        "a message must have at most 104,856,576 bytes, by the brokers' socket.request.max.bytes = 104,857,600, got ",
    )
    assert topic_setting(data, "max.message.bytes") == ""
