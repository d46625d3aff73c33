"""Reading a real topic: every message once, in its place, whatever the ranges, formats and compressions."""

from typing import get_args

import numpy as np
import pytest
from confluent_kafka import Producer

from kafka.broker import PASSWORD, USER, Broker
from kafka.builders import on, published
from kafka.reading import read, samples
from trainer.data.build import prepare
from trainer.data.errors import DataUnavailable
from trainer.data.kafka.arrays import made_up
from trainer.data.kafka.client import described
from trainer.data.kafka.fetch import opened
from trainer.data.kafka.layout import Segment
from trainer.data.kafka.source import laid_out
from trainer.experiment.kafka import Compression, Format
from trainer.memory import resident_bytes

SPLIT = [{"rate": 1}]


@pytest.mark.parametrize("form", get_args(Format))
@pytest.mark.parametrize("compression", get_args(Compression))
def test_what_was_published_is_read_whatever_its_format_and_compression(
    form: str, compression: str, broker: Broker
) -> None:
    data = on(broker, format=form, compression=compression, ranges=["0:0:49", "1:0:49"], split=SPLIT)
    done = published(data, samples=100, partitions=2)
    assert done.ranges == data.ranges
    buffer, figures = read(data)
    assert (figures.messages, figures.payload_bytes) == (100, done.payload_bytes)
    assert buffer.checksum == done.checksum
    x, y = samples(buffer)
    ((wanted_x, wanted_y),) = made_up(data, 100, 0).between(0, 100)
    assert np.array_equal(x, wanted_x)
    assert np.array_equal(y, wanted_y)


def test_ranges_may_lie_anywhere_and_stand_in_any_order(broker: Broker) -> None:
    # Between the second and the third of partition 0 lie more messages than are read and passed over.
    ranges = ["0:2000:2999", "1:10:19", "0:5:9", "0:15:20"]
    data = on(broker, ranges=ranges, split=SPLIT)
    published(data, samples=6000, partitions=2)
    buffer, figures = read(data)
    x, y = (np.concatenate(each) for each in zip(*made_up(data, 6000, 0).between(0, 6000), strict=True))
    wanted = np.concatenate([np.arange(2000, 3000), np.arange(3010, 3020), np.arange(5, 10), np.arange(15, 21)])
    assert figures.messages == len(wanted)
    assert np.array_equal(samples(buffer)[0], x[wanted])
    assert np.array_equal(samples(buffer)[1], y[wanted])


def test_a_warm_up_reads_messages_that_are_read_again_when_it_counts(broker: Broker) -> None:
    data = on(broker, ranges=["0:0:49", "1:0:49"], split=SPLIT)
    done = published(data, samples=100, partitions=2)
    for messages in (1, 70, 1000):
        buffer, figures = read(data.model_copy(update={"warmup_messages": messages}))
        assert (figures.messages, buffer.checksum) == (100, done.checksum)


def test_a_set_on_disk_is_built_once_for_a_topic_and_anew_for_one_made_again(broker: Broker, tmp_path) -> None:
    data = on(broker)
    published(data)
    first = prepare(data, tmp_path)
    assert prepare(data, tmp_path) == first
    again = data.model_copy(update={"topic": data.topic_name + "-again"})
    published(again)
    assert prepare(again, tmp_path) != first


def test_samples_with_another_checksum_are_refused(broker: Broker, tmp_path) -> None:
    data = on(broker)
    done = published(data)
    prepare(data.model_copy(update={"checksum": done.checksum}), tmp_path)
    with pytest.raises(DataUnavailable, match=f"data.checksum {done.checksum + 1} are required, got {done.checksum}"):
        prepare(data.model_copy(update={"checksum": done.checksum + 1}), tmp_path / "other")


def test_a_topic_is_not_held_while_it_is_read(broker: Broker) -> None:
    data = on(broker, ranges=["0:0:29999"], split=SPLIT)
    published(data, samples=1)
    producer = Producer({"bootstrap.servers": broker.address, "queue.buffering.max.kbytes": 500_000})
    for _ in range(29_999):
        producer.produce(data.topic_name, bytes(10_000), partition=0)
    assert producer.flush(60) == 0
    layout, highest = laid_out(data), 0

    def look(_segment: Segment, _done: int, _values: list[bytes | None]) -> None:
        nonlocal highest
        highest = max(highest, resident_bytes()[0])

    with opened(data, described(data), layout.segments(layout.share(0, 1))) as reader:
        before = resident_bytes()[0]
        figures = reader.read(look)
    assert figures.payload_bytes > 290_000_000
    assert highest - before < 160 * 2**20


def as_user(broker: Broker, secret: str, **fields: object) -> dict[str, object]:
    client = {"security.protocol": "SASL_SSL", "ssl.ca.location": str(broker.authority)}
    client |= {"sasl.mechanism": "PLAIN", "sasl.username": USER}
    return {"brokers": broker.sasl_address, "client": client, "clientSecrets": {"sasl.password": secret}} | fields


def test_who_logs_in_does_so_with_a_secret_from_the_environment_or_a_file(
    broker: Broker, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    data = on(broker, **as_user(broker, "env:KAFKA_PASSWORD"))
    published(data)
    from_file = data.model_copy(update={"client_secrets": {"sasl.password": f"file:{tmp_path / 'password'}"}})
    assert read(from_file)[1].messages == 100


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("env:NOT_SET", "sasl.password is read from the environment variable NOT_SET, which is not set"),
        ("file:/nowhere", "sasl.password is read from /nowhere, which cannot be read"),
        ("env:WRONG", "must answer within data.timeoutSeconds = 2.*[Aa]uthentication"),
    ],
)
def test_who_cannot_log_in_is_told_so_without_the_secret(
    secret: str, reason: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG", "open sesame")
    data = on(broker, timeoutSeconds=2, **as_user(broker, secret))
    with pytest.raises(DataUnavailable, match=reason) as refusal:
        read(data)
    assert "sesame" not in str(refusal.value)


def test_a_broker_whose_certificate_nobody_vouches_for_is_not_read(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    data = on(broker, timeoutSeconds=2, **as_user(broker, "env:KAFKA_PASSWORD"))
    client = {name: value for name, value in data.client.items() if name != "ssl.ca.location"}
    with pytest.raises(DataUnavailable, match="certificate verify failed"):
        read(data.model_copy(update={"client": client}))
