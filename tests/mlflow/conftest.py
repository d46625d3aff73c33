"""What tests with MLflow share: one server for all, started when the first asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("mlflow")) as started:
        yield started


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server for one test, which may end it and start it again."""
    with Server(tmp_path / "mlflow") as started:
        yield started
