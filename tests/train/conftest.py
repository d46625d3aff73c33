"""What tests of the trainer share: one folder of data sets."""

from pathlib import Path

import pytest

from torchtests import torch_as_before as torch_as_before


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data-sets")
