"""What tests with real pods share: one cluster for all, and namespaces that enforce Pod Security restricted."""

import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

import pytest

from cluster import conftest as simulated
from cluster import kubeconfig
from cluster.operatorprocess import PREFERRED, Experiments
from cluster.programs import build
from cluster.testcluster import Cluster
from eventually import eventually
from node import place, sharing
from node.place import ROOT
from node.release import RESTRICTED
from trialrun_operator.backends.backend import Backend

# On a cluster of someone else's they say what is missing.
trainer, kueue, backend = simulated.trainer, simulated.kueue, simulated.backend

TURN = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: needs the node for itself, for its figures or for what it breaks")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out tests that reach for a pod's processes where the node is someone else's; those alone come last.

    Before others they would wait for one process after the other to have a moment without a turn.
    """
    if config.option.kubeconfig is not None:
        foreign = [item for item in items if "our_node" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if item not in foreign]
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A file's tests have one turn: what they share may be at work between two of them."""
    stash = item.config.stash
    if TURN not in stash:
        stash[TURN] = ExitStack()
        stash[TURN].enter_context(sharing.turn(place.default(), alone=item.get_closest_marker("alone") is not None))
    ended = yield
    if nextitem is None or nextitem.path != item.path:
        stash[TURN].close()
        del stash[TURN]
    return ended


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str
) -> Iterator[Cluster]:
    """The cluster of `--kubeconfig`, or that of `make cluster`: started, and then ended, where it doesn't run."""
    given: Path | None = request.config.getoption("--kubeconfig")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with ExitStack() as stack:
        # What is built and imported takes minutes when it is done first, and is told.
        with capture.global_and_fixture_disabled(), redirect_stdout(sys.stderr):
            if given is None:
                stack.enter_context(sharing.shared(place.default(), testrun_uid))
            else:
                build.programs(("kubectl", "helm4"))
        access = kubeconfig.read_test_cluster(given or place.default().kubeconfig)
        yield Cluster(tmp_path_factory.mktemp("cluster"), access)


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


@pytest.fixture
def volumes(experiments: Experiments) -> Experiments:
    """A namespace with the two claims of examples/volumes.yaml."""
    experiments.cluster.kubectl("apply", "-n", experiments.namespace, "-f", str(ROOT / "examples" / "volumes.yaml"))
    return experiments
