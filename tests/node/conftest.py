"""What tests with real pods share: one cluster for all, and namespaces that enforce Pod Security restricted."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import conftest as simulated
from cluster import kubeconfig
from cluster.operatorprocess import PREFERRED, Experiments
from cluster.programs import build
from cluster.testcluster import Cluster
from eventually import eventually
from node import host, machine, place
from node.__main__ import down, up
from node.release import RESTRICTED
from trialrun_operator.backends.backend import Backend

# On a cluster of someone else's they say what is missing.
trainer, kueue, backend = simulated.trainer, simulated.kueue, simulated.backend


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out tests that reach for a pod's processes where the node is someone else's."""
    if config.option.kubeconfig is not None:
        foreign = [item for item in items if "our_node" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if item not in foreign]


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of `--kubeconfig`, or that of `make cluster`: started, and then ended, where it doesn't run."""
    given: Path | None = request.config.getoption("--kubeconfig")
    where = place.default()
    # What is built and imported takes minutes when it is done first, and is told.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        if given is not None:
            build.programs(("kubectl", "helm4"))
            yield Cluster(tmp_path_factory.mktemp("cluster"), kubeconfig.read_test_cluster(given))
            return
        if host.running(where) is not None:
            yield up(where)
            return
        host.require(where)  # on a new machine the programs that tell of its state are missing too
        before = machine.traces()
        started = up(where)
    yield started
    down(where)
    assert machine.traces() == before


@pytest.fixture(scope="session")
def our_node(cluster: Cluster) -> Cluster:
    """The cluster, for tests that signal processes of pods: they run on this machine."""
    return cluster


@contextmanager
def restricted_namespace(cluster: Cluster, backend: Backend = PREFERRED) -> Iterator[Experiments]:
    """A new namespace that takes only pods that Pod Security restricted lets pass; its end is not waited for."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": RESTRICTED}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    eventually(lambda: cluster.api.get_if_there(account), what="the namespace has its service account")
    try:
        yield Experiments(cluster, name, backend)
    finally:
        cluster.api.delete_if_there(f"/api/v1/namespaces/{name}")


@pytest.fixture
def experiments(cluster: Cluster, backend: Backend) -> Iterator[Experiments]:
    """A namespace for this test, and the experiments in it."""
    with restricted_namespace(cluster, backend) as made:
        yield made
