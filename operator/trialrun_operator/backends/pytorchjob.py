"""PyTorchJobs of Kubeflow's training operator v1."""

from collections.abc import Mapping
from typing import Any

from trialrun_operator.backends.backend import (
    Backend,
    Complaint,
    Document,
    JobState,
    Parts,
    Place,
    condition,
    controller,
    holds,
    metadata_of,
)
from trialrun_operator.names import QUEUE_LABEL, Resource

JOBS = Resource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")
_REPLICA = "training.kubeflow.org/replica"
_PORT = {"name": "pytorchjob-port", "containerPort": 23456}


class PyTorchJobs(Backend):
    """A Master is rank 0, the Workers are the others. What differs from trial to trial is in each job's template."""

    jobs = JOBS
    container = "pytorch"
    install = (
        "Kubeflow's training operator (PyTorchJobs): kubectl apply --server-side -k "
        '"github.com/kubeflow/training-operator.git/manifests/overlays/standalone?ref=v1.8.1"'
    )
    longest_name = 39
    complaints = (Complaint(JOBS.kind, "FailedCreatePod"),)

    def make(self, parts: Parts) -> tuple[Document, None]:
        """No backoffLimit and no deadline in runPolicy: with either the failed pod is deleted, and the evidence."""
        container = {**parts.pod["containers"][0], "ports": [_PORT]}
        template = {"metadata": metadata_of(parts), "spec": {**parts.pod, "containers": [container]}}
        replicas = {"Master": 1} if parts.workers == 1 else {"Master": 1, "Worker": parts.workers - 1}
        queued = {} if parts.queue is None else {QUEUE_LABEL: parts.queue}
        made = {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "metadata": {**parts.metadata, **metadata_of(parts, **queued)},
            "spec": {
                "runPolicy": {"cleanPodPolicy": "None", **({"suspend": True} if queued else {})},
                # Unset, the training operator tells torchrun to start as many as there are GPUs or CPUs.
                **({} if parts.processes is None else {"nprocPerNode": str(parts.processes)}),
                "pytorchReplicaSpecs": {
                    role: {"replicas": count, "restartPolicy": "Never", "template": template}
                    for role, count in replicas.items()
                },
            },
        }
        return made, None

    def state(self, document: Mapping[str, Any]) -> JobState:
        """Its condition Suspended comes after `runPolicy.suspend`, which the training operator may not have seen."""
        status, suspension = document.get("status") or {}, condition(document, "Suspended")
        end = next((each for kind in ("Succeeded", "Failed") if holds(each := condition(document, kind))), None)
        policy = (document.get("spec") or {}).get("runPolicy") or {}
        created = document["metadata"]["creationTimestamp"]
        return JobState(
            ended=None if end is None else status.get("completionTime") or end.get("lastTransitionTime") or created,
            message="" if end is None else end.get("message", ""),
            suspended=bool(policy.get("suspend")) or holds(suspension),
            released=None if suspension is None or holds(suspension) else suspension.get("lastTransitionTime"),
        )

    def link(self, metadata: Mapping[str, Any]) -> str:
        """Its UID, which its pods name as their owner's."""
        return str(metadata["uid"])

    def owns(self, owner: Mapping[str, Any]) -> bool:
        """Its pods are its own."""
        return bool(owner["kind"] == JOBS.kind)

    def place(self, metadata: Mapping[str, Any]) -> Place | None:
        """By the labels that tell a replica's role, and its number in that."""
        owner, labels = controller(metadata), metadata.get("labels") or {}
        role, index = (labels.get(f"{_REPLICA}-{part}", "") for part in ("type", "index"))
        if owner is None or not (role.lower() == "master" or index.isdigit()):
            return None
        return Place(0 if role.lower() == "master" else 1 + int(index), owner["uid"])
