"""What tests share that train in their own process: ranks meet on loopback, and torch is as it was before."""

import os
import sys
from collections.abc import Iterator

import pytest
import torch

# Whatever the machine's name resolves to.
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")


@pytest.fixture(autouse=True)
def torch_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)
