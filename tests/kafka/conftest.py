"""What tests with Kafka share: one broker for all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka.broker import Broker
from torchtests import torch_as_before as torch_as_before


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that all tests of a run share; those that end or freeze one start their own."""
    with Broker(tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker for one test, which may do with it as it likes."""
    with Broker(tmp_path / "broker") as started:
        yield started
