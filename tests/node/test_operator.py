"""The operator as the chart runs it: killed in mid-search, upgraded, uninstalled."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.operatorprocess import Experiments, a_search
from cluster.testcluster import Cluster
from eventually import eventually
from node import pods, release
from node.place import ROOT, VERSION

pytestmark = pytest.mark.alone

# The chart before images and nodes.
EARLIER = "e57f92f"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def earlier_chart(tmp_path: Path) -> Path:
    archive = subprocess.run(
        ["git", "archive", EARLIER, "helm", "crds"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "--extract", "--directory", str(tmp_path)], input=archive, check=True)
    return tmp_path / "helm" / "trialrun"


@pytest.fixture
def installed(cluster: Cluster) -> Iterator[Cluster]:
    """The release, which the test may change: afterwards it is as it was."""
    values = cluster.helm("get", "values", release.RELEASE, "-n", release.NAMESPACE, "-o", "json")
    kept = cluster.workdir / "values.json"
    kept.write_text(values)
    yield cluster
    release.upgrade(cluster, release.CHART, "--values", str(kept))


def _begin(experiments: Experiments, trials: int) -> None:
    """A search that has trials behind it, under way and ahead."""
    training = pods.a_small_training(epochs=300)
    experiments.create(a_search(trials=trials, training=training, parallelTrials=2))
    eventually(lambda: pods.records(experiments, "search"), within_seconds=300, every_seconds=0.2,
               what="a trial is recorded")  # fmt: skip


def _end(experiments: Experiments, trials: int) -> None:
    """Every trial was run, once."""
    assert experiments.finished("search")["status"]["done"] == f"{trials}/{trials}"
    found = pods.records(experiments, "search")
    assert Counter(record.index for record in found) == dict.fromkeys(range(trials), 1)
    assert {record.attempt for record in found} == {1}
    assert len(experiments.jobs()) == trials


def test_a_search_completes_and_does_nothing_twice_when_the_operators_pod_is_deleted(
    experiments: Experiments,
) -> None:
    _begin(experiments, 6)
    cluster = experiments.cluster
    before = cluster.api.list(f"/api/v1/namespaces/{release.NAMESPACE}/pods")
    for pod in before:
        cluster.api.delete(f"/api/v1/namespaces/{release.NAMESPACE}/pods/{pod['metadata']['name']}")
    _end(experiments, 6)
    after = cluster.api.list(f"/api/v1/namespaces/{release.NAMESPACE}/pods")
    assert {pod["metadata"]["uid"] for pod in before}.isdisjoint(pod["metadata"]["uid"] for pod in after)


def test_an_upgrade_of_the_chart_keeps_a_running_search(
    installed: Cluster, experiments: Experiments, earlier_chart: Path
) -> None:
    # Its own images are of a version that this node has never had.
    images = {"image.tag": VERSION, "trainer.image": f"trialrun/trainer:{VERSION}"}
    release.upgrade(installed, earlier_chart, "--set", ",".join(f"{name}={value}" for name, value in images.items()))
    _begin(experiments, 6)
    release.upgrade(installed, release.CHART)
    _end(experiments, 6)


def test_uninstalling_keeps_experiments_and_their_results_and_lets_them_be_deleted(
    installed: Cluster, experiments: Experiments
) -> None:
    experiments.create(a_search(trials=1, training=pods.a_small_training()))
    experiments.finished("search")
    installed.helm("uninstall", release.RELEASE, "-n", release.NAMESPACE, "--wait")
    assert {crd["metadata"]["name"] for crd in installed.api.list(CRDS)} >= {
        "hyperparamsearches.trialrun.dev", "scaletests.trialrun.dev",
    }  # fmt: skip
    assert experiments.get("search")["status"]["phase"] == "Succeeded"
    assert [record.outcome for record in pods.records(experiments, "search")] == ["Succeeded"]
    experiments.api.delete(experiments.path("search"))
    eventually(lambda: experiments.api.get_if_there(experiments.path("search")) is None, what="the search is gone")
    eventually(lambda: not experiments.ledgers() and not experiments.jobs(),
               what="what it made is collected")  # fmt: skip
