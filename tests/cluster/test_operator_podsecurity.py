"""Trial pods pass Pod Security *restricted*, whatever a user may choose for them, and get what was chosen."""

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.api import Json
from cluster.behaviours import Behaviour, Hangs, Succeeds
from cluster.kinds import over_both
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, report
from cluster.testcluster import Cluster
from eventually import eventually, throughout
from jobs import pytorch_job
from trainer.experiment.errors import InvalidExperiment
from trialrun_operator.names import Key
from trialrun_operator.orders import Code, Known
from trialrun_operator.permits import SWITCHES
from unit.objects import a_workload
from unit.test_pod_fields import EXAMPLES

ALL = ",".join(SWITCHES)
LABEL = "example.com/team"
TOKEN = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}
CHOSEN = {
    "image": "registry.example/team/trainer:2",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
                }
            ]
        }
    },
    "labels": {LABEL: "team-a"},
    "annotations": {"example.com/owner": "someone"},
    "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "TRIALRUN_TRIAL", "value": "mine"}, TOKEN],
    "envFrom": [{"prefix": "TEAM_", "configMapRef": {"name": "places"}}],
    "dataClaim": "data",
    "outputClaim": "output",
    "volumes": [
        {"mountPath": "/dev/shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},  # noqa: S108
        {"mountPath": "/models", "claim": "data", "subPath": "models", "readOnly": True},
        {"mountPath": "/keys", "secret": "keys"},
    ],
    "securityContext": {"runAsUser": 1000, "fsGroup": 2000, "readOnlyRootFilesystem": False},
    "serviceAccountName": "trainer",
}


def succeeds(pod: Json) -> Behaviour:
    return Succeeds(report(pod))


def restricted(cluster: Cluster, namespace: str) -> None:
    """Has a namespace enforce Pod Security *restricted*, and gives it the account that pods are to run as."""
    enforce = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    cluster.api.patch(f"/api/v1/namespaces/{namespace}", enforce)
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    cluster.api.create(accounts, {"metadata": {"name": "trainer"}})
    eventually(lambda: cluster.api.get_if_there(f"{accounts}/default"), what="pods may be created")


def bound_claim(cluster: Cluster, namespace: str, name: str) -> None:
    """A claim with its volume, bound by hand: the test control plane has no controller that binds them."""
    volume = f"{namespace}-{name}"
    about = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    claim = {"namespace": namespace, "name": name}
    cluster.api.create("/api/v1/persistentvolumes", {
        "metadata": {"name": volume},
        "spec": about | {
            "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Delete",
            "nfs": {"server": "nfs.example", "path": "/"}, "claimRef": claim,
        },
    })  # fmt: skip
    made = cluster.api.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", {
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": about | {"volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}},
    })  # fmt: skip
    reference = {"claimRef": claim | {"uid": made["metadata"]["uid"]}}
    cluster.api.patch(f"/api/v1/persistentvolumes/{volume}", {"spec": reference})
    bound = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"]}}
    cluster.api.patch(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}/status", bound)


@pytest.fixture
def allowing(namespace: str, account: Path, crds: None, tmp_path: Path) -> Iterator[OperatorProcess]:  # noqa: ARG001
    """The operator with every switch of the chart on, for the test's namespace."""
    with OperatorProcess(tmp_path, namespace, account, allow=ALL) as process:
        process.wait_until_ready()
        yield process


@over_both
@pytest.mark.usefixtures("allowing")
def test_every_job_passes_restricted_and_has_what_the_user_chose(
    experiments: Experiments, kubelet: KubeletPlayer, cluster: Cluster
) -> None:
    namespace = experiments.namespace
    restricted(cluster, namespace)
    for name in ("data", "output"):
        bound_claim(cluster, namespace, name)
    kubelet.play(namespace, succeeds)
    experiments.create(a_search(trials=1))
    experiments.create(a_search("chosen", trials=1, workers=2, pod=CHOSEN))
    experiments.create({
        "apiVersion": "trialrun.dev/v1alpha1", "kind": "ScaleTest", "metadata": {"name": "cells"},
        "spec": {
            "axes": {"multipliers": [1, 10], "workers": [2]}, "cell": {"memoryLimit": "256Mi"}, "parallelTrials": 2,
            "pod": CHOSEN | {"resources": {}},
        },
    })  # fmt: skip
    assert experiments.finished("search")["status"]["phase"] == "Succeeded"
    assert experiments.finished("chosen")["status"]["phase"] == "Succeeded"
    assert experiments.finished("cells", plural="scaletests")["status"]["phase"] == "Succeeded"
    for name in ("data", "output"):
        cluster.api.delete_if_there(f"/api/v1/persistentvolumes/{namespace}-{name}")

    pods = [pod for pod in experiments.pods() if pod["metadata"]["labels"].get(LABEL)]
    assert len(pods) == 2 + 4 + 2, "a pair of a search, two of cells, and one that measures their floor"
    for pod in pods:
        assert_as_chosen(pod)
    jobs = [job for job in experiments.jobs() if job["metadata"]["labels"].get(LABEL) == "team-a"]
    assert len(jobs) == 1 + 2 + 1, "a job has them too"
    limits = [
        pod["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for pod in pods
        if pod["metadata"]["labels"]["trialrun.dev/kind"] == "ScaleTest"
        and not pod["metadata"]["labels"]["trialrun.dev/trial"].startswith("floor")
    ]
    assert limits == ["256Mi"] * 4


def assert_as_chosen(pod: Json) -> None:
    metadata, spec, (container,) = pod["metadata"], pod["spec"], pod["spec"]["containers"]
    assert metadata["labels"][LABEL] == "team-a"
    assert metadata["annotations"]["example.com/owner"] == "someone"
    assert (container["image"], container["imagePullPolicy"]) == (CHOSEN["image"], "Always")
    assert spec["imagePullSecrets"] == CHOSEN["imagePullSecrets"]
    assert spec["nodeSelector"] == CHOSEN["nodeSelector"]
    assert spec["affinity"] == CHOSEN["affinity"]
    assert {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    variables = {each["name"]: each for each in container["env"]}
    assert variables["NCCL_DEBUG"]["value"] == "INFO"
    assert variables["TRIALRUN_TRIAL"]["value"] != "mine", "what the trainer is told is not the user's to set"
    assert variables["TOKEN"] == TOKEN
    assert container["envFrom"] == CHOSEN["envFrom"]
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"] == {"claimName": "data", "readOnly": True}
    assert volumes["output"]["persistentVolumeClaim"] == {"claimName": "output"}
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert mounts["/data"] == {"name": "data", "mountPath": "/data", "readOnly": True}
    assert mounts["/output"] == {"name": "output", "mountPath": "/output"}
    assert mounts["/models"] == {"name": "data", "mountPath": "/models", "subPath": "models", "readOnly": True}
    assert volumes[mounts["/dev/shm"]["name"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}  # noqa: S108
    assert volumes[mounts["/keys"]["name"]]["secret"]["secretName"] == "keys"
    assert mounts["/keys"]["readOnly"] is True
    assert spec["securityContext"].items() >= {"runAsUser": 1000, "runAsGroup": 65532, "fsGroup": 2000}.items()
    assert not container["securityContext"].get("readOnlyRootFilesystem")
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("trainer", True)


@pytest.mark.usefixtures("allowing")
def test_the_search_of_the_page_runs_in_a_restricted_namespace(
    experiments: Experiments, kubelet: KubeletPlayer, cluster: Cluster
) -> None:
    restricted(cluster, experiments.namespace)
    kubelet.play(experiments.namespace, lambda _: Succeeds('{"metrics": {"loss": 1}}'))
    experiments.create(yaml.safe_load(EXAMPLES[1]))
    assert experiments.finished("tracked")["status"]["done"] == "3/3"
    (container,) = experiments.pods()[0]["spec"]["containers"]
    assert "TRACKER_TOKEN" in {each["name"] for each in container["env"]}


@pytest.mark.usefixtures("operator")
def test_what_the_chart_does_not_allow_is_refused_and_makes_nothing(experiments: Experiments) -> None:
    experiments.create(a_search(trials=1, pod=CHOSEN))
    eventually(lambda: experiments.get("search").get("status", {}).get("phase") == "Invalid")
    message = experiments.condition("search", "Accepted")["message"]
    for field in ("env[2].valueFrom.secretKeyRef", "envFrom[0].configMapRef", "volumes[1].claim", "volumes[2].secret",
                  "serviceAccountName"):  # fmt: skip
        assert f"spec.pod.{field}: must be left out where the chart's value allow." in message
    assert not experiments.jobs()
    experiments.change("search", pod=None)
    eventually(lambda: experiments.jobs(), what="without those fields it is taken up")


def test_a_switch_that_is_turned_off_keeps_new_trials_from_starting_and_says_so(
    experiments: Experiments, kubelet: KubeletPlayer, account: Path, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, lambda pod: succeeds(pod) if trial_number(pod) == 0 else Hangs())
    with OperatorProcess(tmp_path, experiments.namespace, account, allow="secrets") as before:
        before.wait_until_ready()
        experiments.create(a_search(trials=4, parallelTrials=1, pod={"env": [TOKEN]}))
        eventually(lambda: len(experiments.jobs()) == 2, what="the second trial runs")
        before.stop()
    with OperatorProcess(tmp_path, experiments.namespace, account) as after:
        after.wait_until_ready()
        running = experiments.jobs()
        experiments.change("search", parallelTrials=2)
        eventually(lambda: experiments.condition("search", "Progressing").get("reason") == "NotPermitted")
        message = experiments.condition("search", "Progressing")["message"]
        assert "spec.pod.env[0].valueFrom.secretKeyRef: must be left out where" in message
        throughout(lambda: len(experiments.jobs()) == 2, seconds=3)
        assert {job["metadata"]["uid"] for job in experiments.jobs()} == {job["metadata"]["uid"] for job in running}
        experiments.change("search", pod=None)
        eventually(lambda: len(experiments.jobs()) == 3, what="it goes on without the field")


def trial_number(pod: Json) -> int:
    return int(pod["metadata"]["labels"]["trialrun.dev/index"])


# Of each field what a user may write there, right or wrong.
FIELDS: dict[str, list[Any]] = {
    "env": [
        [{"name": "A", "value": "$(B) $$"}], [TOKEN], [TOKEN | {"value": "both"}], [TOKEN, TOKEN],
        [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "places", "key": "a.b", "optional": True}}}],
        [{"name": "TRIALRUN_TRIAL", "valueFrom": TOKEN["valueFrom"]}],
        [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
    ],
    "envFrom": [
        [{"secretRef": {"name": "keys"}}], [{"prefix": "A_", "configMapRef": {"name": "places"}}], [{}],
        [{"secretRef": {"name": "keys"}}, {"secretRef": {"name": "keys"}}],
    ],
    "volumes": [
        [{"mountPath": "/a", "claim": "data"}], [{"mountPath": "/a", "configMap": "places", "subPath": "b"}],
        [{"mountPath": "/a", "secret": "keys", "readOnly": False}], [{"mountPath": "/a", "emptyDir": {}}],
        [{"mountPath": "/dev/shm", "emptyDir": {"medium": "Memory", "sizeLimit": 1}}],  # noqa: S108
        [{"mountPath": "/tmp", "emptyDir": {}}], [{"mountPath": "/a", "hostPath": {"path": "/"}}],  # noqa: S108
        [{"mountPath": "/a", "claim": "data"}, {"mountPath": "/a/b", "claim": "data", "readOnly": True}],
        [{"mountPath": "/a", "claim": "data"}, {"mountPath": "/a", "emptyDir": {}}],
        [{"mountPath": "/code/a", "emptyDir": {}}, {"mountPath": "/data/a", "emptyDir": {"sizeLimit": "1m"}}],
        [{"mountPath": f"/{number}", "claim": "data"} for number in range(32)],
        [{"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "secret": "keys"}],
    ],
    "securityContext": [
        {}, {"runAsUser": 0}, {"runAsUser": 1}, {"runAsUser": 2**31 - 1}, {"runAsUser": 2**31}, {"runAsUser": -1},
        {"runAsGroup": 0}, {"runAsGroup": 1}, {"fsGroup": 0}, {"fsGroup": 1}, {"readOnlyRootFilesystem": False},
        {"readOnlyRootFilesystem": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
        {"runAsNonRoot": False}, {"privileged": True}, {"capabilities": {"add": ["SYS_ADMIN"]}},
        {"allowPrivilegeEscalation": True}, {"seccompProfile": {"type": "Unconfined"}}, {"procMount": "Unmasked"},
    ],
    "serviceAccountName": ["trainer", "default", "a..b", "../admin"],
    "workingDir": ["/", "/work space/../x", "work"],
    "dataClaim": ["data", "models"],
    "outputClaim": ["data", "output"],
}  # fmt: skip
CHOICES = [(field, value) for field, values in FIELDS.items() for value in values]
PAIRS = [dict(pair) for pair in itertools.combinations(CHOICES, 2) if pair[0][0] != pair[1][0]]
PROGRAM = {
    "objective": {"metric": "loss", "direction": "Minimize"},
    "program": {"command": ["python", "train.py"], "code": "configmap/code"},
}


def pod_of(chosen: Json, spec: Json, namespace: str) -> Json | None:
    """The pod of an experiment; None where we refuse what was chosen, with a sentence for each mistake."""
    try:
        work = a_workload(pod=chosen, **spec)
        mistakes: Sequence[str] = work.doubts
    except InvalidExperiment as invalid:
        mistakes = invalid.mistakes
    if mistakes:
        assert all(re.match(r"spec\.pod\.\S+: (must |value and|no such)", mistake) for mistake in mistakes), mistakes
        return None
    known = Known(code=Code("copy", "0123456789ab", ("train.py",)) if "program" in spec else None)
    job = pytorch_job(work, Key("HyperparamSearch", namespace, "sp500-grid"), "uid", work.trials[0], 1, "trainer:1",
                      known=known)  # fmt: skip
    template = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    return {"metadata": {**template["metadata"], "generateName": "asked-"}, "spec": template["spec"]}


@pytest.mark.parametrize("spec", [{}, PROGRAM], ids=["the trainer", "a program"])
def test_every_combination_is_refused_with_a_sentence_or_admitted_by_a_restricted_namespace(
    cluster: Cluster, namespace: str, spec: Json, say: Callable[[str], None]
) -> None:
    restricted(cluster, namespace)
    right = {
        field: [value for value in values if pod_of({field: value}, spec, namespace)]
        for field, values in FIELDS.items()
    }
    rng = random.Random(20)
    full = [{field: rng.choice(values) for field, values in right.items()} for _ in range(200)]
    refused = admitted = 0
    for chosen in [*PAIRS, *full]:
        if (pod := pod_of(chosen, spec, namespace)) is None:
            refused += 1
            continue
        kept = cluster.api.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)["spec"]
        assert kept["securityContext"]["runAsUser"] > 0, chosen
        assert ("serviceAccountName" in chosen) == (kept["automountServiceAccountToken"] is True), chosen
        admitted += 1
    assert min(refused, admitted) > 300
    say(f"{refused + admitted} combinations: {refused} refused by us, {admitted} admitted by Pod Security restricted")
