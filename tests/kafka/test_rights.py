"""What a client may not see is not taken for missing, and what is not known is not deleted."""

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from eventually import eventually
from kafka.broker import PASSWORD, USER, Broker
from kafka.builders import on, published
from kafka.reading import read
from kafka.test_faults import refused
from kafka.test_reading import as_user
from trainer.data.errors import DataUnavailable
from trainer.experiment.training import Data


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)


def ruled(broker: Broker, data: Data, rules: dict[AclOperation, AclPermissionType]) -> None:
    """What the user may do with a topic, and nothing else."""
    admin = AdminClient({"bootstrap.servers": broker.address})
    bindings = [
        AclBinding(
            ResourceType.TOPIC,
            data.topic_name,
            ResourcePatternType.LITERAL,
            f"User:{USER}",
            "*",
            operation,
            permission,
        )
        for operation, permission in rules.items()
    ]
    for future in admin.create_acls(bindings).values():
        future.result()


def for_user(broker: Broker) -> tuple[Data, Data]:
    """A topic as whoever may do all reads it, and as the user does."""
    data = on(broker)
    return data, on(broker, topic=data.topic_name, **as_user(broker, "env:KAFKA_PASSWORD"))


def refusal(data: Data) -> str:
    with pytest.raises(DataUnavailable) as refused:
        read(data)
    return str(refused.value)


def test_a_topic_that_may_not_be_described_is_not_missing(broker: Broker) -> None:
    data, as_seen = for_user(broker)
    checksum = published(data).checksum
    ruled(broker, data, {AclOperation.DESCRIBE: AclPermissionType.DENY})
    denied = f"topic {data.topic_name}: the right to describe and read it is required, .* whether it is there is not"
    eventually(lambda: "the right to describe" in refusal(as_seen), what="the rule counts")
    refused(lambda: read(as_seen), denied)
    for replace in (False, True):
        refused(lambda replace=replace: published(as_seen, replace=replace), denied)
    assert read(data)[0].checksum == checksum


def test_a_topic_that_may_be_described_and_not_read_is_named_with_the_place(broker: Broker) -> None:
    data, as_seen = for_user(broker)
    published(data)
    ruled(broker, data, {AclOperation.DESCRIBE: AclPermissionType.ALLOW, AclOperation.READ: AclPermissionType.DENY})
    eventually(lambda: "partition 0, offset 0: the right to describe and read" in refusal(as_seen), what="the rule")


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_brokers_do_not_take_is_not_missing(name: str, broker: Broker) -> None:
    data = on(broker, topic=name)
    reason = r"topic .*: a name that brokers take is required"
    refused(lambda: read(data), reason)
    refused(lambda: published(data, replace=True), reason)


def test_brokers_that_are_not_there_say_nothing_of_a_topic(broker: Broker) -> None:
    data = on(broker, brokers="127.0.0.1:9", timeoutSeconds=1)
    for call in (lambda: read(data), lambda: published(data), lambda: published(data, replace=True)):
        assert "none of this name" not in refused(call, "must answer within data.timeoutSeconds = 1")


def test_a_name_that_no_resolver_knows_is_waited_for_and_told(broker: Broker) -> None:
    data = on(broker, brokers="no-such-host.invalid:9092", timeoutSeconds=2)
    refused(lambda: read(data), r"must answer within data.timeoutSeconds = 2, got .*; last noticed: .*resolve")
