"""What tests of the trainer share: one folder of data sets, and torch as it was before each test."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Ranks on one machine meet on loopback, whatever its name resolves to.
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data-sets")


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)
