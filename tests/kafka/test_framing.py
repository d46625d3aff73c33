"""Topics that a schema registry's serializers wrote: read as others are, by any number of ranks, never a mixture."""

import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka import payloads
from kafka.broker import Broker
from kafka.builders import document, on
from kafka.reading import read, samples
from kafka.test_faults import refused
from train.builders import a_training
from train.ranks import on_ranks, run_all
from trainer.data.errors import DataUnavailable
from trainer.data.kafka.arrays import made_up
from trainer.data.kafka.client import described
from trainer.data.kafka.encode import encoder
from trainer.experiment.outcome import Outcome
from trainer.experiment.training import Data

SPLIT = [{"rate": 1}]


def framed(value: bytes, schema: int) -> bytes:
    return b"\0" + struct.pack(">I", schema) + value


def written(broker: Broker, data: Data, values: list[bytes]) -> None:
    """A topic with these messages, in partition 0."""
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([NewTopic(data.topic_name, num_partitions=1)])[data.topic_name].result()
    described(data, unknown_seconds=data.timeout_seconds)
    producer = Producer({"bootstrap.servers": broker.address})
    for value in values:
        producer.produce(data.topic_name, value, partition=0)
    assert producer.flush(60) == 0


def messages(data: Data, count: int) -> list[bytes]:
    encode = encoder(data)
    ((x, y),) = made_up(data, count, 0).between(0, count)
    return [encode(row, label, (12,)) for row, label in zip(x, y.tolist(), strict=True)]


@pytest.mark.parametrize("form", ["Avro", "JSON", "AvroInJSON"])
def test_a_framed_topic_has_the_samples_of_the_same_one_without(form: str, broker: Broker) -> None:
    data = on(broker, format=form, ranges=["0:0:99"], split=SPLIT)
    written(broker, data, [framed(each, 42) for each in messages(data, 100)])
    x, y = samples(read(data)[0])
    ((wanted_x, wanted_y),) = made_up(data, 100, 0).between(0, 100)
    assert np.array_equal(x, wanted_x)
    assert np.array_equal(y, wanted_y)


def test_the_first_message_that_is_framed_otherwise_is_named(broker: Broker) -> None:
    data = on(broker, ranges=["0:0:99"], split=SPLIT)
    values = messages(data, 100)
    written(broker, data, values[:70] + [framed(each, 7) for each in values[70:]])
    refused(lambda: read(data), r"partition 0, offset 70: .*not framed .*, this one is \(schema id 7\)")


KINDS = {"framed and not": (42, None), "two schemas": (42, 43), "alike": (42, 42)}


@pytest.mark.parametrize("case", KINDS)
def test_ranks_find_out_when_each_reads_another_kind(case: str, broker: Broker, tmp_path: Path) -> None:
    data = on(broker, ranges=["0:0:119"])
    first, second = KINDS[case]
    values = messages(data, 120)
    halves = [framed(each, 42) for each in values[:60]], [framed(each, second or 0) for each in values[60:]]
    written(broker, data, halves[0] + (halves[1] if second else values[60:]))
    reports = [each[0] for each in on_ranks(2, run_all, [tmp_path], tmp_path, [a_training(data=document(data))])]
    if first == second:
        assert [report.error for report in reports] == ["", ""]
        return
    assert {report.outcome for report in reports} == {Outcome.DATA_UNAVAILABLE}
    alike = "all messages of a topic must be framed alike, but from here on they are "
    theirs = f"framed by a schema registry (schema id {second})" if second else "not framed"
    assert f"partition 0, offset 0: {alike}framed by a schema registry (schema id 42), and elsewhere not" in (
        reports[0].error
    )
    assert f"partition 0, offset 60: {alike}{theirs}, and elsewhere not" in reports[1].error


def mutated(chance: random.Random) -> bytes:
    """A message of any format, with bytes changed, cut, framed, or another's before it."""
    value = bytearray(chance.choice([*payloads.ALL.values(), json.dumps({"data": "s3cret " * 30_000}).encode()]))
    for _ in range(chance.randrange(6)):
        value[chance.randrange(len(value))] = chance.randrange(256)
    value = value[chance.choice([0, 0, 1, 5]) : chance.choice([len(value), len(value) // 2, 50])]
    return chance.choice([bytes(value), framed(bytes(value), 42), b"s3cret " * 90_000 + bytes(value)])


@pytest.mark.parametrize("form", payloads.ALL)
def test_whatever_a_topic_holds_is_samples_or_a_sentence_with_partition_and_offset(form: str, broker: Broker) -> None:
    data = on(broker, format=form, window=784, classes=10, split=SPLIT, ranges=["0:0:11"])
    chance = random.Random(form)
    written(broker, data, [mutated(chance) for _ in range(12)])
    for offset in range(12):
        one = data.model_copy(update={"ranges": (f"0:{offset}:{offset}",)})
        try:
            x, _ = samples(read(one)[0])
        except DataUnavailable as error:
            said = str(error)
            assert f"partition 0, offset {offset}: " in said
            assert len(said) < 1000
            assert said.isprintable()
            assert said.count("s3cret") * len("s3cret ") <= 80
        else:
            assert np.isfinite(x).all()
