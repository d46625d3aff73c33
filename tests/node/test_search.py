"""The example search as a user applies it: real jobs, and the figures that the same file gives without a cluster."""

from collections.abc import Iterator

import pytest
import yaml

from cluster.api import Json
from cluster.kinds import TRAIN_JOBS
from cluster.operatorprocess import Experiments
from cluster.testcluster import Cluster
from node import pods
from node.conftest import restricted_namespace
from node.place import ROOT
from trainer.experiment.record import Record, decode

EXAMPLE = ROOT / "examples" / "search.yaml"
NAME = "sp500-grid"
# Runs the file as on anyone's machine, and prints the ledger.
LOCALLY = "python -m trainer run /given/search.yaml --out /tmp/out >&2 && cat /tmp/out/results.jsonl"


@pytest.fixture(scope="module")
def applied(cluster: Cluster) -> Iterator[Experiments]:
    """The namespace in which the example was applied with kubectl and has finished."""
    with restricted_namespace(cluster) as experiments:
        cluster.kubectl("apply", "-n", experiments.namespace, "-f", str(EXAMPLE))
        experiments.finished(NAME)
        yield experiments


@pytest.fixture(scope="module")
def on_the_cluster(applied: Experiments) -> list[Record]:
    return pods.records(applied, NAME)


@pytest.fixture(scope="module")
def as_train_jobs(cluster: Cluster, applied: Experiments, trainer: None) -> Iterator[Experiments]:  # noqa: ARG001
    """The namespace in which it has finished as TrainJobs, after the other had."""
    with restricted_namespace(cluster, TRAIN_JOBS) as experiments:
        experiments.create(yaml.safe_load(EXAMPLE.read_text()))
        experiments.finished(NAME)
        yield experiments


@pytest.fixture(scope="module")
def on_one_machine(applied: Experiments) -> list[Record]:
    """The same file, one trial after another, in a pod of the same image with as many threads."""
    said = pods.run(applied, ["sh", "-c", LOCALLY], {"search.yaml": EXAMPLE.read_text()})
    lines = [line for line in said.splitlines() if line.startswith('{"')]
    return sorted((decode(line) for line in lines), key=lambda record: record.index)


def test_eighteen_real_jobs_finish(applied: Experiments, on_the_cluster: list[Record]) -> None:
    assert [record.outcome for record in on_the_cluster] == ["Succeeded"] * 18
    assert len(applied.jobs()) == 18
    row = applied.cluster.kubectl("get", "hps", "-n", applied.namespace, "--no-headers").split()
    assert row[:3] == [NAME, "Succeeded", "18/18"]


def test_metrics_are_those_of_a_run_without_a_cluster_bit_for_bit(
    on_the_cluster: list[Record], on_one_machine: list[Record]
) -> None:
    assert {record.id: record.metrics for record in on_the_cluster} == {
        record.id: record.metrics for record in on_one_machine
    }
    assert all(record.metrics["validMse"] > 0 for record in on_the_cluster)


def test_the_best_trial_is_the_same(applied: Experiments, on_one_machine: list[Record]) -> None:
    best = min(on_one_machine, key=lambda record: record.metrics["validMse"])
    said = applied.get(NAME)["status"]["summary"]["best"]
    assert (said["id"], said["value"]) == (best.id, best.metrics["validMse"])


def test_train_jobs_come_to_the_same_bit_for_bit(
    applied: Experiments, on_the_cluster: list[Record], as_train_jobs: Experiments
) -> None:
    found = pods.records(as_train_jobs, NAME)
    assert len(as_train_jobs.jobs()) == 18
    assert [(each.id, each.attempt, each.outcome, each.metrics) for each in found] == [
        (each.id, each.attempt, each.outcome, each.metrics) for each in on_the_cluster
    ]
    one, other = (experiments.get(NAME)["status"] for experiments in (applied, as_train_jobs))
    assert (one["backend"], other["backend"]) == ("PyTorchJob", "TrainJob")
    assert one["summary"]["best"] == other["summary"]["best"]


def test_no_pod_is_root_or_writes_to_its_root(
    applied: Experiments, as_train_jobs: Experiments, cluster: Cluster
) -> None:
    made = applied.pods() + as_train_jobs.pods() + cluster.api.list("/api/v1/namespaces/trialrun-system/pods")
    assert len(made) >= 37
    for pod in made:
        spec = pod["spec"]
        containers = [*spec["containers"], *spec.get("initContainers", [])]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in spec["containers"])
        assert all(not each["securityContext"]["allowPrivilegeEscalation"] for each in containers)
    for namespace in (applied.namespace, as_train_jobs.namespace):
        labels = cluster.api.get(f"/api/v1/namespaces/{namespace}")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.usefixtures("trainer")
def test_two_workers_train_what_one_trains(experiments: Experiments) -> None:
    """Each trial of two is two pods that meet by name; the same batches give the same figures."""
    as_train_jobs = _search("train-jobs", 2)
    as_train_jobs["spec"]["backend"] = "TrainJob"
    # One after the other: two searches of several workers on a small node may wait for each other's room.
    alone, together, train_jobs = (
        _records(experiments, search) for search in (_search("alone", 1), _search("together", 2), as_train_jobs)
    )
    for found in (together, train_jobs):
        assert [record.outcome for record in found] == ["Succeeded"] * 2
        assert [len(record.memory) for record in found] == [2, 2]
    assert [record.metrics for record in train_jobs] == [record.metrics for record in together]
    for one, two in zip(alone, together, strict=True):
        assert two.metrics == pytest.approx(one.metrics, rel=1e-9)
        assert two.samples == one.samples


def _records(experiments: Experiments, search: Json) -> list[Record]:
    experiments.create(search)
    experiments.finished(search["metadata"]["name"])
    return pods.records(experiments, search["metadata"]["name"])


def _search(name: str, workers: int) -> Json:
    search: Json = yaml.safe_load(EXAMPLE.read_text())
    search["metadata"]["name"] = name
    search["spec"] |= {
        "parameters": [{"name": "train.learningRate", "choices": [0.001, 0.01]}],
        "training": {"train": {"epochs": 2, "precision": "Float64"}},
        "workers": workers,
    }
    return search
