"""What tests with Kafka share: one broker for all, and torch as it was before each test."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kafka.broker import Broker

# Ranks on one machine meet on loopback, whatever its name resolves to.
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that all tests of a run share; those that end or freeze one start their own."""
    started = Broker(tmp_path_factory.mktemp("broker"))
    started.start()
    yield started
    started.kill()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker for one test, which may do with it as it likes."""
    started = Broker(tmp_path / "broker")
    started.start()
    yield started
    started.kill()


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)
