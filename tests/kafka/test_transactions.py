"""Offsets without a message for readers: a transaction is blamed where there is one, and named while it is open."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from eventually import eventually
from kafka.broker import Broker
from kafka.builders import on, published
from kafka.reading import read
from kafka.test_faults import refused, remove_before
from trainer.data.errors import DataUnavailable
from trainer.data.kafka.client import described, stable_and_last
from trainer.data.kafka.encode import encoder
from trainer.experiment.training import Data

SPLIT = [{"rate": 1}]


def a_sample(data: Data) -> bytes:
    return encoder(data)(np.zeros(12, np.float32), 1, (12,))


@contextmanager
def a_transaction(broker: Broker, data: Data, messages: int = 1) -> Iterator[Producer]:
    """A transaction with so many messages in the log, which the test ends or leaves open."""
    producer = Producer({"bootstrap.servers": broker.address, "transactional.id": data.topic_name})
    producer.init_transactions()
    producer.begin_transaction()
    for _ in range(messages):
        producer.produce(data.topic_name, a_sample(data), partition=0)
    assert producer.flush(10) == 0
    yield producer


def more(broker: Broker, data: Data, **fields: object) -> None:
    """One more message at the end of partition 0."""
    producer = Producer({"bootstrap.servers": broker.address})
    producer.produce(data.topic_name, a_sample(data), partition=0, **fields)
    assert producer.flush(10) == 0


def committed(broker: Broker, data: Data) -> None:
    with a_transaction(broker, data) as producer:
        producer.commit_transaction()


def test_an_open_transaction_is_named_with_where_it_begins(broker: Broker) -> None:
    data = on(broker, ranges=["0:0:104"], split=SPLIT)
    published(data)
    with a_transaction(broker, data, 2) as producer:
        more(broker, data)
        assert stable_and_last(data, 0) == (100, 103)
        said = refused(
            lambda: read(data.model_copy(update={"ranges": ("0:0:102",)})),
            "partition 0, offset 100: the log goes on to offset 102, but a transaction that begins at offset 100 is "
            "open, .*commit or abort it, or end data.ranges before it",
        )
        assert f"describe-producers --topic {data.topic_name} --partition 0 names who has it open" in said
        refused(lambda: read(data.model_copy(update={"ranges": ("0:102:102",)})), "partition 0, offset 102: the log")
        assert read(data.model_copy(update={"ranges": ("0:0:99",)}))[1].messages == 100
        producer.commit_transaction()
    eventually(lambda: stable_and_last(data, 0) == (104, 104), what="the transaction has ended")
    assert read(data.model_copy(update={"ranges": ("0:0:102",)}))[1].messages == 103


def test_what_lies_beyond_the_end_is_no_transactions_fault(broker: Broker) -> None:
    data = on(broker, ranges=["0:0:150"], split=SPLIT)
    published(data)
    committed(broker, data)
    said = refused(
        lambda: read(data), "partition 0, offset 102: the log ends with offset 101, data.ranges ask for more"
    )
    assert "transaction" not in said


def test_messages_of_an_aborted_transaction_are_said_to_be_so(broker: Broker) -> None:
    data = on(broker, ranges=["0:0:102"], split=SPLIT)
    published(data)
    with a_transaction(broker, data) as producer:
        producer.abort_transaction()
    refused(
        lambda: read(data.model_copy(update={"ranges": ("0:0:101",)})),
        "partition 0, offset 100: the log has no such message for readers, it ends before offset 102: it is part of "
        "a transaction that was aborted; leave it out of data.ranges",
    )
    more(broker, data)
    refused(
        lambda: read(data), "partition 0, offset 100: .* the next is 102: it is part of a transaction that was abort"
    )


def test_the_end_of_a_transaction_takes_an_offset(broker: Broker) -> None:
    data = on(broker, ranges=["0:0:101"], split=SPLIT)
    published(data)
    committed(broker, data)
    end = r"a transaction ended there, which takes an offset \(the topic's cleanup.policy is delete\)"
    refused(lambda: read(data), f"partition 0, offset 101: .*it ends before offset 102: {end}")
    more(broker, data)
    refused(
        lambda: read(data.model_copy(update={"ranges": ("0:0:102",)})),
        f"partition 0, offset 101: .*the next is 102: {end}",
    )
    around = data.model_copy(update={"ranges": ("0:0:100", "0:102:102")})
    assert read(around)[1].messages == 102


def test_what_lies_after_a_gap_at_the_end_is_not_waited_for(broker: Broker) -> None:
    # The timeout is longer than tests may take: the end of the log tells at once.
    data = on(broker, ranges=["0:0:101"], split=SPLIT, timeoutSeconds=3600)
    published(data)
    committed(broker, data)
    refused(lambda: read(data), "partition 0, offset 101: the log has no such message for readers")


def test_messages_that_were_compacted_away_are_no_transactions_fault_alone(broker: Broker) -> None:
    data = on(broker, ranges=["0:0:9"], split=SPLIT)
    admin = AdminClient({"bootstrap.servers": broker.address})
    config = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001"}
    admin.create_topics([NewTopic(data.topic_name, 1, config=config)])[data.topic_name].result()
    described(data)
    for i in range(10):
        more(broker, data, key=b"same" if i < 5 else str(i).encode())

    def compacted() -> bool:
        # A segment is closed when a message comes that is so much younger than its first.
        more(broker, data, key=b"last")
        try:
            read(data)
        except DataUnavailable as error:
            return "the log has no such message" in str(error)
        return False

    eventually(compacted, every_seconds=0.2, what="the cleaner has run")
    refused(
        lambda: read(data),
        r"partition 0, offset 0: .* the next is \d+: it was compacted away \(the topic's cleanup.policy is compact\)",
    )


def test_messages_that_retention_removed_are_no_transactions_fault(broker: Broker) -> None:
    data = on(broker, ranges=["0:0:99"], split=SPLIT)
    published(data)
    committed(broker, data)
    remove_before(broker, data, 50)
    said = refused(lambda: read(data), "partition 0, offset 0: the log begins at offset 50")
    assert "transaction" not in said
