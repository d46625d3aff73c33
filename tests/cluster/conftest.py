"""What cluster tests share: one control plane for all, a namespace and a scripted kubelet for each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import audit, kubeconfig, sweptsearch
from cluster.behaviours import Hangs
from cluster.controlplane import ControlPlane
from cluster.faultyapi import FaultyApi
from cluster.kinds import PYTORCH_JOBS, TRAIN_JOBS
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, install_crds, service_account
from cluster.programs import build
from cluster.testcluster import Cluster
from trialrun_operator.backends import BACKENDS
from trialrun_operator.backends.backend import Backend


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out tests that stop components of the control plane where it is someone else's."""
    if config.option.kubeconfig is not None:
        foreign = [item for item in items if "control_plane" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if item not in foreign]


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that all tests share: the one of `--kubeconfig`, or else a control plane of our own."""
    given: Path | None = request.config.getoption("--kubeconfig", None)
    access = kubeconfig.read_test_cluster(given) if given else None
    # A cold build takes minutes and reports its progress, which must not be captured.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        build.programs(("kubectl", "helm3", "helm4") if access else build.PROGRAMS)
    workdir = tmp_path_factory.mktemp("control-plane")
    if access:
        given_cluster = Cluster(workdir, access)
        _require(given_cluster, "/apis/kubeflow.org/v1", "the training operator")
        yield given_cluster
    else:
        with ControlPlane.start(workdir) as plane:
            yield plane
        refused = {asked.right or asked.path for asked in audit.read(plane.audit_log) if asked.misses_a_right}
        assert not refused, f"in some test the chart's service account was not allowed to {refused}"


@pytest.fixture(scope="session")
def control_plane(cluster: Cluster) -> ControlPlane:
    """The shared control plane, for tests that stop components of it; they start them again."""
    assert isinstance(cluster, ControlPlane), "such tests are not collected with --kubeconfig"
    return cluster


@pytest.fixture(scope="session")
def trainer(cluster: Cluster) -> None:
    """JobSet and Kubeflow Trainer run: whoever asks for this may create TrainJobs."""
    if isinstance(cluster, ControlPlane):
        cluster.start_trainer()
    else:
        _require(cluster, "/apis/trainer.kubeflow.org/v1alpha1", "Kubeflow Trainer")


@pytest.fixture(scope="session")
def kueue(cluster: Cluster) -> None:
    """Kueue runs: whoever asks for this may create queues, and jobs that wait in them."""
    if isinstance(cluster, ControlPlane):
        cluster.start_kueue()
    else:
        _require(cluster, "/apis/kueue.x-k8s.io/v1beta2", "Kueue")


@pytest.fixture(scope="session")
def kubelet_player(cluster: Cluster) -> Iterator[KubeletPlayer]:
    """The nodes of the cluster. Where no test says otherwise, as for Deployments, pods run for ever."""
    with KubeletPlayer(cluster.access, lambda pod: Hangs()) as player:  # noqa: ARG005
        yield player


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """The test's own namespace; its deletion is not waited for."""
    with cluster.new_namespace() as name:
        yield name


@pytest.fixture
def other_namespace(cluster: Cluster) -> Iterator[str]:
    """A second namespace of the test."""
    with cluster.new_namespace() as name:
        yield name


@pytest.fixture
def kubelet(kubelet_player: KubeletPlayer, namespace: str) -> Iterator[KubeletPlayer]:
    """The kubelet player, to be given the script of this test: `kubelet.play(namespace, lambda pod: ...)`."""
    yield kubelet_player
    kubelet_player.forget(namespace)
    errors, kubelet_player.errors[:] = list(kubelet_player.errors), []
    assert not errors


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> None:
    """The API of experiments, served."""
    install_crds(cluster)


@pytest.fixture
def account(cluster: Cluster, namespace: str) -> Path:
    """A kubeconfig of the chart's service account, which may work in the test's namespace."""
    return service_account(cluster, namespace)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    """The kind of job that trials run as: PyTorchJobs, but in tests that run over both (`kinds.over_both`)."""
    found = BACKENDS[getattr(request, "param", PYTORCH_JOBS.jobs.kind)]
    if found is TRAIN_JOBS:
        request.getfixturevalue("trainer")
    return found


@pytest.fixture
def experiments(cluster: Cluster, namespace: str, crds: None, backend: Backend) -> Experiments:  # noqa: ARG001
    """The experiments of the test's namespace."""
    return Experiments(cluster, namespace, backend)


@pytest.fixture
def operator(namespace: str, account: Path, crds: None, tmp_path: Path) -> Iterator[OperatorProcess]:  # noqa: ARG001
    """The operator, ready, for the test's namespace."""
    with OperatorProcess(tmp_path, namespace, account) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture
def undisturbed(undisturbed_run: dict[str, Any], backend: Backend) -> dict[str, Any]:
    """What comes of the sweeps' search when nothing disturbs it: the same with either kind of job."""
    return undisturbed_run | {"status": undisturbed_run["status"] | {"backend": backend.jobs.kind}}


@pytest.fixture(scope="session")
def undisturbed_run(
    cluster: Cluster,
    kubelet_player: KubeletPlayer,
    crds: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What comes of the sweeps' search with PyTorchJobs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with (
        sweptsearch.place(cluster, kubelet_player, folder) as here,
        FaultyApi(cluster.access) as proxy,
        here.operator(proxy),
    ):
        here.experiments.create(sweptsearch.SEARCH)
        sweptsearch.finished(here.experiments)
        found = sweptsearch.outcome(here.experiments)
        sweptsearch.assert_expected(found)
        sweptsearch.assert_nothing_twice(here.experiments, [proxy])
    return found


def _require(cluster: Cluster, served: str, what: str) -> None:
    """Refuses a cluster of someone else's in which something is not installed."""
    if cluster.api.get_if_there(served) is None:
        raise pytest.UsageError(
            f"context {cluster.access.context}: the cluster needs {what}, which is not installed;"
            " tests/cluster/README.md has the command"
        )
