"""Brokers that are away for a while cost time and nothing else; what stays away is named for what it is."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TypeVar

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from eventually import eventually
from kafka.broker import Broker
from kafka.builders import on, published
from kafka.reading import read
from kafka.test_faults import little_ahead as little_ahead
from kafka.test_faults import refused
from trainer.data.kafka import publish as publishing
from trainer.data.kafka.arrays import made_up
from trainer.data.kafka.client import described
from trainer.data.kafka.publish import Published, Sending, publish
from trainer.data.kafka.service import Service
from trainer.data.kafka.waiting import noticed
from trainer.experiment.training import Data

SPLIT = [{"rate": 1}]
PATIENT = 300


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Broker]]:
    """A cluster of two brokers: the first stays, the second may go and come back."""
    folder = tmp_path_factory.mktemp("brokers")
    with Broker(folder / "first") as first, Broker(folder / "second", first=first, node=2) as second:
        yield first, second


@pytest.fixture
def second(brokers: tuple[Broker, Broker]) -> Iterator[Broker]:
    """The second broker, which is running again when the test is over."""
    first, second = brokers
    eventually(lambda: serving(first) == {1, 2}, what="both brokers serve")
    yield second
    if not second.is_running:
        second.start()


def serving(broker: Broker) -> set[int]:
    admin = AdminClient({"bootstrap.servers": broker.address})
    return {node.id for node in admin.describe_cluster().result().nodes}


def laid_out(broker: Broker, *replicas: list[int], samples: int = 100, **fields: object) -> Data:
    """A topic whose partitions lie on these brokers, with so many samples in each."""
    data = on(broker, ranges=[f"{i}:0:{samples - 1}" for i in range(len(replicas))], split=SPLIT, **fields)
    new = NewTopic(data.topic_name, num_partitions=len(replicas), replica_assignment=list(replicas))
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([new])[data.topic_name].result()
    described(data, unknown_seconds=PATIENT)
    sender = publishing._Sender(data, Sending())
    encode = publishing.encoder(data)
    for partition in range(len(replicas)):
        for x, y in made_up(data, samples, partition).between(0, samples):
            for row, label in zip(x, y.tolist(), strict=True):
                sender.send(partition, encode(row, label, (12,)))
    sender.finish()
    return data


def leads(broker: Broker, data: Data, partition: int) -> int:
    """Who leads a partition by what a broker tells, -1 for nobody."""
    topics = AdminClient({"bootstrap.servers": broker.address}).list_topics(data.topic_name).topics
    leader: int = topics[data.topic_name].partitions[partition].leader
    return leader


Result = TypeVar("Result")


def while_it_starts(broker: Broker, call: Callable[[], Result]) -> Result:
    """What `call` returns, begun before a broker is there."""
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(call)
        broker.start()  # not in the thread: a process that dies with its parent does so with the thread that made it
        return begun.result()


def test_a_broker_that_starts_only_after_reading_began(own_broker: Broker) -> None:
    data = on(own_broker, timeoutSeconds=PATIENT)
    checksum = published(data).checksum
    own_broker.kill()
    assert while_it_starts(own_broker, lambda: read(data))[0].checksum == checksum


def test_a_broker_that_starts_only_after_publishing_began(own_broker: Broker) -> None:
    data = on(own_broker, timeoutSeconds=PATIENT)
    own_broker.kill()
    checksum = while_it_starts(own_broker, lambda: published(data)).checksum
    assert read(data)[0].checksum == checksum


@pytest.mark.usefixtures("little_ahead")
def test_a_broker_that_restarts_between_what_is_sent(own_broker: Broker) -> None:
    data = on(own_broker, timeoutSeconds=PATIENT, ranges=["0:0:59999"], split=SPLIT)
    restarted = False

    def restart(done: int, _total: int) -> None:
        nonlocal restarted
        if not restarted and done > 30_000:
            restarted = True
            own_broker.kill()
            own_broker.start()

    samples = made_up(data, 60_000, 0)
    done = publish(data, samples, [60_000], replace=False, sending=Sending(), progress=restart)
    assert restarted
    assert read(data)[0].checksum == done.checksum


def test_brokers_that_stay_away_leave_publishing_unfinished_in_time(own_broker: Broker) -> None:
    data = on(own_broker, timeoutSeconds=10)

    def stop(_done: int, _total: int) -> None:
        own_broker.kill()

    refused(
        lambda: publish(
            data, made_up(data, 60_000, 0), [60_000], replace=False, sending=Sending(linger_ms=5000), progress=stop
        ),
        "every message must be stored .*none acknowledged for data.timeoutSeconds = 10.*publish again with --replace",
    )


def test_a_partition_without_a_leader_is_offline_and_its_topic_not_missing(
    brokers: tuple[Broker, Broker], second: Broker
) -> None:
    patient = laid_out(brokers[0], [1], [2], timeoutSeconds=PATIENT)
    before = read(patient)[0].checksum
    data = patient.model_copy(update={"timeout_seconds": 4})
    second.kill()
    for _ in ("at once, and when the others have noticed", "later"):
        said = refused(
            lambda: read(data),
            r"topic .*: the (brokers at .* must answer|partition must have a leader) within data.timeoutSeconds = 4",
        )
        assert "none of this name" not in said
        eventually(lambda: leads(brokers[0], data, 1) == -1, what="the partition is offline")
    assert "is offline: it lies on broker 2; start what is down of these" in refused(
        lambda: read(data), "partition 1"
    )
    only_first = patient.model_copy(update={"ranges": ("0:0:99",)})
    assert read(only_first)[1].messages == 100
    refused(lambda: published(patient), "it is there already")
    refused(
        lambda: published(patient, replace=True),
        "a topic that is replaced must be online, but nobody leads partition 1, which lies on broker 2.*nothing was "
        "deleted",
    )
    assert while_it_starts(second, lambda: read(patient))[0].checksum == before
    published(patient, replace=True)


@pytest.mark.usefixtures("little_ahead")
def test_a_leader_that_is_lost_in_mid_read_is_replaced_by_an_election(
    brokers: tuple[Broker, Broker], second: Broker
) -> None:
    data = laid_out(brokers[0], [2, 1], samples=60_000, timeoutSeconds=PATIENT)
    eventually(lambda: leads(brokers[0], data, 0) == 2, what="the second broker leads")
    assert read(data, second.kill, after=2000)[1].messages == 60_000
    assert leads(brokers[0], data, 0) == 1


def test_an_export_service_whose_brokers_were_away_publishes_when_it_is_asked_again(own_broker: Broker) -> None:
    topic = f"samples-{uuid.uuid4().hex[:12]}"
    patience = iter([2, PATIENT])

    def publishes(_brokers: str, _topic: str, replace: bool) -> Published:
        return published(on(own_broker, topic=topic, timeoutSeconds=next(patience)), replace=replace)

    service = Service("digits", None, publishes)
    query = {"kafka_brokers": own_broker.address, "send_topic": topic}
    own_broker.kill()
    status, answer = service.answer(query)
    assert status is HTTPStatus.INTERNAL_SERVER_ERROR
    assert "must answer within data.timeoutSeconds = 2" in answer["error"]
    own_broker.start()
    assert service.answer(query) == (HTTPStatus.OK, {"sendTopicStr": topic, "offsetsData": ["0:0:99"]})


DOWN = 'KafkaError{code=_ALL_BROKERS_DOWN,val=-187,str="1/1 brokers are down"}'
WRONG = 'KafkaError{code=_AUTHENTICATION,val=-169,str="Authentication failed"}'


@pytest.mark.parametrize(
    ("problems", "said"),
    [
        ([], ""),
        ([DOWN], f"; last noticed: {DOWN}"),
        ([WRONG, DOWN], f"; last noticed: {WRONG}"),
        ([DOWN, WRONG, DOWN, DOWN], f"; last noticed: {WRONG}"),
        (["resolving", WRONG], f"; last noticed: {WRONG}"),
    ],
)
def test_why_brokers_are_down_is_told_rather_than_that_they_are(problems: list[str], said: str) -> None:
    assert noticed(problems) == said
