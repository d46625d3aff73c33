"""The operator needs what the chart's roles allow and nothing else, and keeps namespaces and writers apart."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml

from cluster import audit
from cluster.api import Json
from cluster.behaviours import Behaviour, Fails, Hangs, IsEvicted, Succeeds, WaitsInInit
from cluster.controlplane import ControlPlane
from cluster.faultyapi import NO_FAULT, Fault, FaultyApi, Request
from cluster.kinds import TRAIN_JOBS, rank_of
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import (
    ROOT,
    Experiments,
    OperatorProcess,
    a_search,
    report,
    service_account,
    trial_of,
)
from cluster.testcluster import Cluster
from cluster.trainjobs import TrainJobs
from eventually import eventually
from trainer.experiment.expand import expand
from trainer.experiment.load import load
from trainer.experiment.record import decode
from trialrun_operator.permits import SWITCHES

RBAC = "/apis/rbac.authorization.k8s.io/v1"


pytestmark = pytest.mark.usefixtures("crds")


@dataclass(frozen=True)
class Mode:
    """How the chart was installed: what the operator watches, as whom, and what its roles allow."""

    watches: str
    kubeconfig: Path
    user: str
    rules: list[Json]


@pytest.fixture(params=["one", "all"])
def mode(request: pytest.FixtureRequest, cluster: Cluster, namespace: str) -> Iterator[Mode]:
    """One namespace with a Role, and all with a ClusterRole."""
    everywhere = request.param == "all"
    release = f"trialrun-{namespace}"
    kubeconfig = service_account(cluster, namespace, release=release, watched=() if everywhere else None)
    role = f"clusterroles/{release}" if everywhere else f"namespaces/{namespace}/roles/{release}"
    user = f"system:serviceaccount:{namespace}:{release}"
    yield Mode("" if everywhere else namespace, kubeconfig, user, cluster.api.get(f"{RBAC}/{role}")["rules"])
    take_away(cluster, release)


def take_away(cluster: Cluster, release: str) -> None:
    """Deletes what would outlive the namespace."""
    for collection in ("clusterroles", "clusterrolebindings"):
        cluster.api.delete_if_there(f"{RBAC}/{collection}/{release}")


def granted(rules: list[Json]) -> set[audit.Right]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


# What the chart's switches allow, by which the operator needs no right more.
ASKING = {
    "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}],
    "envFrom": [{"configMapRef": {"name": "places"}}],
    "volumes": [{"mountPath": "/keys", "secret": "keys"}, {"mountPath": "/places", "configMap": "places"}],
    "serviceAccountName": "default",
}


# --- rights ---------------------------------------------------------------------------------------------------------


def what_happens(pod: Json) -> Behaviour:
    """Of four trials one goes well, and each of the others but once: evicted, failed, never started."""
    name = pod["metadata"]["labels"].get("trialrun.dev/experiment")
    if name is None:
        return Hangs()
    told = trial_of(pod)
    if name == "modern":
        return Succeeds(report(pod)) if told["attempt"] > 1 or told["index"] else WaitsInInit()
    if name == "pair":
        return Fails(1, "boom") if rank_of(pod) == 0 else WaitsInInit()
    trouble = {1: IsEvicted(), 2: Fails(1, "boom"), 3: WaitsInInit()}
    if name == "search" and told["attempt"] == 1 and told["index"] in trouble:
        return trouble[told["index"]]
    return Succeeds(report(pod))


def change_before_its_first_status(experiments: Experiments) -> Callable[[Request], Fault]:
    """Changes one experiment of each kind just before the operator writes its status: a conflict."""
    waiting = {experiments.path("search"), experiments.path("sp500-scale", "scaletests")}

    def on_request(request: Request) -> Fault:
        path = request.path.removesuffix("/status")
        if request.method == "PATCH" and path != request.path and path in waiting:
            waiting.remove(path)
            experiments.api.patch(path, {"metadata": {"annotations": {"team": "a"}}})
        return NO_FAULT

    return on_request


def _is(experiments: Experiments, name: str, reason: str) -> bool:
    return bool(experiments.condition(name, "Progressing").get("reason") == reason)


def do_everything(experiments: Experiments, process: OperatorProcess) -> None:
    """A course of events in which the operator has to do everything that it ever does."""
    taken = a_search("taken", trials=1)
    template = {"spec": {"containers": [{"name": "pytorch", "image": "x"}]}}
    experiments.api.create(f"/apis/kubeflow.org/v1/namespaces/{experiments.namespace}/pytorchjobs", {
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
        "metadata": {"name": f"taken-{expand(load(taken))[0].id}-1"},
        "spec": {"pytorchReplicaSpecs": {"Master": {"replicas": 1, "restartPolicy": "Never", "template": template}}},
    })  # fmt: skip
    modern = Experiments(experiments.cluster, experiments.namespace, TRAIN_JOBS)
    taken_too = a_search("taken-too", trials=1)
    TrainJobs(experiments.cluster, experiments.namespace).start(f"taken-too-{expand(load(taken_too))[0].id}-1")
    scale = yaml.safe_load((ROOT / "examples" / "scaletest.yaml").read_text())
    scale["spec"]["axes"] = {"multipliers": [1, 10], "workers": [1]}
    scale["spec"]["cell"] = {"memoryLimit": "1Gi"}
    experiments.create(a_search(trials=4, pendingDeadlineSeconds=5, ttlSecondsAfterFinished=0))
    experiments.create(a_search("pair", trials=1, workers=2, pendingDeadlineSeconds=5))
    experiments.create(a_search("asking", trials=1, pod=ASKING))
    experiments.create(a_search("refused", trials=1, pod={"priorityClassName": "missing"}))
    experiments.create(a_search("invalid", objective={"metric": "validMsee"}))
    experiments.create(taken)
    experiments.create(scale)
    modern.create(a_search("modern", trials=2, pendingDeadlineSeconds=5))
    modern.create(a_search("queued", trials=1, queue="nowhere"))
    modern.create(taken_too)
    assert experiments.finished("modern")["status"]["failed"] == 1
    assert experiments.finished("search")["status"]["failed"] == 2
    process.kill()
    for name in ("search", "modern"):
        experiments.change(name, rerun=1)
    eventually(lambda: experiments.get("modern")["status"]["failed"] == 0)
    eventually(lambda: experiments.get("search")["status"]["failed"] == 0)
    assert experiments.finished("search")["status"]["done"] == "4/4"
    assert experiments.finished("invalid")["status"]["phase"] == "Invalid"
    assert experiments.finished("sp500-scale", plural="scaletests")["status"]["phase"] == "Succeeded"
    experiments.finished("pair")
    assert experiments.finished("asking")["status"]["phase"] == "Succeeded"
    (row,) = experiments.finished("refused")["status"]["trials"]
    assert row["state"] == "InvalidConfig"
    assert "no PriorityClass with name missing was found" in row["error"]
    for name in ("taken", "taken-too"):
        eventually(partial(_is, experiments, name, "NameConflict"), what=f"the name of {name}'s job is taken")
    eventually(partial(_is, experiments, "queued", "Queued"), what="its job waits in a queue")
    eventually(
        lambda: not [job for job in experiments.jobs() if job["metadata"]["name"].startswith("search-")],
        what="the search's jobs are gone by their TTL",
    )


@pytest.mark.usefixtures("trainer")
def test_the_operator_uses_all_that_its_roles_allow_and_asks_for_nothing_else(
    control_plane: ControlPlane, namespace: str, mode: Mode, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    kubelet.play(namespace, what_happens)
    experiments = Experiments(control_plane, namespace)
    with (
        FaultyApi(control_plane.access, change_before_its_first_status(experiments)) as proxy,
        OperatorProcess(
            tmp_path, mode.watches, proxy.kubeconfig_of(mode.kubeconfig), allow=",".join(SWITCHES)
        ) as process,
    ):
        process.wait_until_ready()
        do_everything(experiments, process)

        def asked() -> list[audit.Asked]:
            return [each for each in audit.read(control_plane.audit_log) if each.user == mode.user]

        def used() -> set[audit.Right]:
            return {each.right for each in asked() if each.right}

        def compare() -> bool:
            assert used() == granted(mode.rules)
            return True

        eventually(compare, what="what was asked for is what the roles allow")
        assert [each for each in asked() if not each.allowed] == []
    print(f"{len(used())} rights, {len(asked())} requests, {process.starts} starts")


# --- namespaces -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "all"])
def test_one_operator_keeps_what_belongs_to_two_namespaces_apart(
    cluster: Cluster, namespace: str, other_namespace: str, kubelet: KubeletPlayer, tmp_path: Path, listed: bool
) -> None:
    kubelet.play(namespace, lambda pod: Succeeds(report(pod)))
    kubelet.play(
        other_namespace, lambda pod: Succeeds(report(pod, metrics={"validMse": 101.0 + trial_of(pod)["index"]}))
    )
    release, watched = f"trialrun-{namespace}", (namespace, other_namespace) if listed else ()
    account = service_account(cluster, namespace, release=release, watched=watched)
    one, other = Experiments(cluster, namespace), Experiments(cluster, other_namespace)
    with OperatorProcess(tmp_path, ",".join(watched), account) as process:
        process.wait_until_ready()
        for each in (one, other):
            each.create(a_search(trials=4, parallelTrials=2))
        assert one.finished("search")["status"]["best"] == "1"
        assert other.finished("search")["status"]["best"] == "101"
        for each, least in ((one, 1), (other, 101)):
            assert_all_is_its_own(each, least)
        before = what_there_is(other)
        one.api.delete(one.path("search"))
        eventually(lambda: not (one.jobs() or one.pods() or one.ledgers()))
        assert what_there_is(other) == before
    kubelet.forget(other_namespace)
    take_away(cluster, release)


def what_there_is(experiments: Experiments) -> tuple[Json, set[str], dict[str, str]]:
    made = (*experiments.jobs(), *experiments.pods(), *experiments.ledgers())
    return experiments.get("search")["status"], {each["metadata"]["uid"] for each in made}, experiments.entries()


def assert_all_is_its_own(experiments: Experiments, least: int) -> None:
    """Whatever a search of four trials has made refers to this search, and holds its own results."""
    uid = experiments.get("search")["metadata"]["uid"]
    jobs, pods, ledgers = experiments.jobs(), experiments.pods(), experiments.ledgers()
    assert (len(jobs), len(pods), len(ledgers)) == (4, 4, 1)
    for each in (*jobs, *pods, *ledgers):
        assert each["metadata"]["labels"]["trialrun.dev/uid"] == uid
    for each in (*jobs, *ledgers):
        assert [owner["uid"] for owner in each["metadata"]["ownerReferences"]] == [uid]
    owners = {job["metadata"]["uid"] for job in jobs}
    assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods} == owners
    found = sorted(decode(line).metrics["validMse"] for line in experiments.entries().values())
    assert found == [least, least + 1, least + 2, least + 3]
    events = experiments.api.list(f"/api/v1/namespaces/{experiments.namespace}/events")
    about = {each["involvedObject"]["uid"] for each in events if each["involvedObject"]["kind"] == "HyperparamSearch"}
    assert about == {uid}


# --- writers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shares", [((0, 100), (0, 100)), ((0, 70), (30, 100))], ids=["the same", "overlapping"])
def test_of_two_writers_of_one_ledger_none_loses_a_record_or_writes_over_one(
    cluster: Cluster, namespace: str, shares: tuple[tuple[int, int], ...]
) -> None:
    account = service_account(cluster, namespace)
    experiments = Experiments(cluster, namespace)
    uid = experiments.create(a_search(suspend=True))["metadata"]["uid"]
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(account),
        "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in ("operator", ".", "tests")),
    }
    command = [sys.executable, "-m", "cluster.ledgerwriter", namespace, "search", uid]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [
        subprocess.Popen([*command, f"writer {number}", str(first), str(end)], env=environment, **pipes)
        for number, (first, end) in enumerate(shares)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    told = [json.loads(writer.communicate(timeout=600)[0]) for writer in writers]
    claims = {(index, f"writer {number}") for number, each in enumerate(told) for index in each["written"]}
    assert sorted(index for index, _ in claims) == list(range(100)), "each record has one writer that wrote it"
    records = [decode(line) for line in experiments.entries().values()]
    assert {(record.index, record.error) for record in records} == claims, "and stands there as that one wrote it"
    assert len(records) == 100
    assert sum(each["conflicts"] for each in told) > 0, "they were in each other's way"
    print([(len(each["written"]), each["conflicts"]) for each in told])
