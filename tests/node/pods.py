"""Pods of a test's own, and what happens to an experiment's: run, watch, read, signal, evict."""

import os
import signal
from pathlib import Path

from cluster.api import Json
from cluster.operatorprocess import Experiments
from cluster.testcluster import Cluster
from eventually import eventually
from node.inside import hierarchies
from node.place import NODE
from node.release import NAMESPACE, RELEASE
from trainer.experiment.record import Record, decode

USER = 65532
NAME = "ours"  # of the pod that runs a test's own command


def records(experiments: Experiments, name: str) -> list[Record]:
    """All records of an experiment, by trial and attempt."""
    ledgers = experiments.ledgers(**{"trialrun.dev/experiment": name})
    found = [decode(line) for ledger in ledgers for line in ledger.get("data", {}).values()]
    return sorted(found, key=lambda record: (record.index, record.attempt))


def trainer_image(cluster: Cluster) -> str:
    """The image of trials that name none, as the operator was told."""
    deployment = cluster.api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{RELEASE}")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (image,) = (each["value"] for each in container["env"] if each["name"] == "TRIALRUN_TRAINER_IMAGE")
    return str(image)


def a_small_training(**train: object) -> Json:
    """A training that takes next to nothing."""
    return {
        "data": {"source": "synthetic"},
        "model": {"kind": "MLP", "hiddenSize": 8, "layers": 1},
        "train": {"epochs": 2, "batchSize": 64, **train},
    }


def running(experiments: Experiments, count: int = 1) -> list[Json]:
    """The pods of the namespace once so many of them train at the same time."""

    def training() -> list[Json]:
        ready = [pod for pod in experiments.pods() if _is_ready(pod)]
        return ready if len(ready) >= count else []

    return eventually(training, within_seconds=300, every_seconds=0.2, what=f"{count} pods run")


def _is_ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def start(experiments: Experiments, command: list[str], files: dict[str, str]) -> None:
    """Runs a command in a pod of the trials' image and under a trial's restrictions, with files in /given."""
    cluster, where = experiments.cluster, f"/api/v1/namespaces/{experiments.namespace}"
    cluster.api.create(f"{where}/configmaps", {"metadata": {"name": "given"}, "data": files})
    cluster.api.create(f"{where}/pods", a_pod(trainer_image(cluster), command))


def run(experiments: Experiments, command: list[str], files: dict[str, str] | None = None) -> str:
    """What a command prints that was started so, once it has ended."""
    cluster, namespace = experiments.cluster, experiments.namespace
    start(experiments, command, files or {})

    def phase() -> str | None:
        now: str = cluster.api.get(f"/api/v1/namespaces/{namespace}/pods/{NAME}")["status"].get("phase", "")
        return now if now in ("Succeeded", "Failed") else None

    ended = eventually(phase, within_seconds=900, every_seconds=0.3, what="the pod has ended")
    said = cluster.kubectl("logs", "-n", namespace, NAME)
    assert ended == "Succeeded", said
    return said


def a_pod(image: str, command: list[str], **fields: object) -> Json:
    """One that runs a command so; `fields` are more of its container's."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    container = {
        "name": NAME,
        "image": image,
        "command": command,
        "env": [{"name": name, "value": "1"} for name in threads],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "given", "mountPath": "/given"}],  # noqa: S108
        **fields,
    }
    return {
        "metadata": {"name": NAME, "labels": {"app": NAME}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "tmp", "emptyDir": {}}, {"name": "given", "configMap": {"name": "given", "optional": True}},
            ],
        },
    }  # fmt: skip


def evict(cluster: Cluster, pod: Json) -> None:
    """Asks the API server to evict a pod, as draining a node does."""
    metadata = {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction"
    cluster.api.create(path, {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata})


def send(pod: Json, number: signal.Signals) -> None:
    """Signals the training process of a pod on our node: the one in the pod's cgroups that runs the trainer."""
    uid = pod["metadata"]["uid"]
    processes = {
        pid
        for hierarchy in hierarchies()
        for group in (hierarchy / NODE).rglob(f"pod{uid}")
        for file in group.rglob("cgroup.procs")
        for pid in file.read_text().split()
    }
    (trainer,) = (pid for pid in processes if b"trainer" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(int(trainer), number)
