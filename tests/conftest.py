"""What all tests share: the seeds of sweeps, which rotate from run to run and are printed."""

import gc
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from version_0_1 import Version01, unpacked

TESTS = Path(__file__).parent
SERVICES = {"browser", "cluster", "chart", "kafka", "spark", "install", "mlflow"}
TORTURE = os.environ.get("TRIALRUN_TORTURE") == "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kubeconfig",
        type=Path,
        help="test against the cluster of this file's current context (kind, k3d), which has the training operator,"
        " in place of a control plane of the tests' own",
    )
    parser.addoption("--sweep-seed", type=int, default=None, help="repeat the sweeps of a run that printed this seed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "slow: takes so long that `make test` leaves it to `make test-all`: whole runs"
    )
    config.addinivalue_line("markers", "service: needs a control plane, Kafka, Spark, MLflow or the package index")
    config.addinivalue_line("markers", "torture: a sweep: a sample by default, in full with TRIALRUN_TORTURE=1")
    # A shell has what it starts in the background ignore Ctrl-C, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A slow machine is no mistake.
    hypothesis.settings.register_profile("trialrun", deadline=None, max_examples=1000 if TORTURE else 30)
    hypothesis.settings.load_profile("trialrun")
    if config.option.sweep_seed is None:
        config.option.sweep_seed = secrets.randbelow(1_000_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if hypothesis.is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.torture)
        if SERVICES & set(item.path.relative_to(TESTS).parts):
            item.add_marker(pytest.mark.service)


def pytest_collection_finish() -> None:
    # Thousands of tests and what they import are there to the end: a collection need not go through them again.
    gc.collect()
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> str:
    how = "in full" if TORTURE else "a sample each"
    return f"sweeps: {how}, repeat with --sweep-seed {config.option.sweep_seed}"


@dataclass(frozen=True)
class Sweep:
    """Seeds for the rounds of a sweep."""

    first: int

    def seeds(self, *, sample: int, full: int) -> Iterator[int]:
        """`sample` seeds, or `full` of them in a torture run."""
        rounds = full if TORTURE else sample
        return iter(range(self.first, self.first + rounds))


@pytest.fixture
def sweep(request: pytest.FixtureRequest) -> Sweep:
    return Sweep(1009 * request.config.option.sweep_seed)  # a prime: any remainder of a seed rotates, too


@pytest.fixture(scope="session")
def version_0_1(tmp_path_factory: pytest.TempPathFactory) -> Version01:
    """Version 0.1's own code, to be run in processes of its own."""
    return unpacked(tmp_path_factory.mktemp("version-0.1"))


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a line at once, captured or not, from a worker, too: how far a sweep is, and its figures."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", end="", file=sys.stderr, flush=True)

    return line
