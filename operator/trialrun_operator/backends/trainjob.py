"""TrainJobs of Kubeflow Trainer v2, each run by a JobSet with one indexed Job."""

import hashlib
import json
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
    holds,
    metadata_of,
)
from trialrun_operator.names import (
    EXPERIMENT_LABEL,
    GROUP,
    KIND_LABEL,
    LINK_LABEL,
    PART_OF,
    QUEUE_LABEL,
    Resource,
)

JOBS = Resource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")
RUNTIMES = Resource("trainer.kubeflow.org", "v1alpha1", "trainingruntimes", "TrainingRuntime")
# Trainer looks for a job and a container of this name, and for this label.
_NODE = "node"
_ROLE = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
_INDEX = "batch.kubernetes.io/job-completion-index"
_PORT = 29500  # that of the Service which Trainer makes
_MANAGER = f"{GROUP}/operator"
# How Trainer's webhook words it, and Kueue's.
_EARLY = ("must be created before the TrainJob", 'webhook "vtrainjob.kb.io" denied the request: runtime ')


class TrainJobs(Backend):
    """The pod is in a TrainingRuntime, one for each that differs; a TrainJob tells what is a trial's own."""

    jobs = JOBS
    container = _NODE
    install = (
        "Kubeflow Trainer (TrainJobs): kubectl apply --server-side -k "
        '"github.com/kubeflow/trainer.git/manifests/overlays/manager?ref=v2.3.0"'
    )
    longest_name = 33  # a pod is called EXPERIMENT-TRIAL-ATTEMPT-node-0-RANK-XXXXX, of 63 characters at most
    complaints = (
        Complaint(JOBS.kind, "TrainJobResourcesCreationFailed"),
        Complaint("JobSet", "JobCreationFailed"),
        Complaint("Job", "FailedCreate", f"-{_NODE}-0"),
    )

    def make(self, parts: Parts) -> tuple[Document, tuple[Resource, Document]]:
        """The TrainJob, and its TrainingRuntime, named by what is in it: the experiment's, never changed."""
        spec, owner = self._runtime(parts), parts.metadata["ownerReferences"][0]
        digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:10]
        name = f"{owner['name']}-{owner['uid'][:8]}-{digest}"
        labels = {label: parts.labels[label] for label in (PART_OF, EXPERIMENT_LABEL, KIND_LABEL)}
        runtime = {
            "apiVersion": RUNTIMES.api_version,
            "kind": RUNTIMES.kind,
            "metadata": {**parts.metadata, "name": name, "labels": labels},
            "spec": spec,
        }
        return self._job(parts, name), (RUNTIMES, runtime)

    def _job(self, parts: Parts, runtime: str) -> Document:
        """No deadline in it: it would take the pods away, and the evidence with them."""
        container = parts.pod["containers"][0]
        trainer = {
            "numNodes": parts.workers,
            "numProcPerNode": parts.processes or 1,
            "env": [*self._rendezvous(parts), *(each for each in container["env"] if each["name"] in parts.told)],
            **{part: container[part] for part in ("command", "args") if part in container},
        }
        labels = {"labels": {**parts.labels, LINK_LABEL: parts.link}}
        on_pods = {"name": _NODE, "template": {"spec": {"template": {"metadata": labels}}}}
        queued = {} if parts.queue is None else {QUEUE_LABEL: parts.queue}
        return {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "metadata": {**parts.metadata, **metadata_of(parts, **{LINK_LABEL: parts.link}, **queued)},
            "spec": {
                "runtimeRef": {"apiGroup": JOBS.group, "kind": RUNTIMES.kind, "name": runtime},
                "trainer": trainer,
                "runtimePatches": [
                    {
                        "manager": _MANAGER,
                        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [on_pods]}}},
                    }
                ],
                **({"suspend": True} if queued else {}),
            },
        }

    def _runtime(self, parts: Parts) -> Document:
        container = {
            **{name: value for name, value in parts.pod["containers"][0].items() if name not in ("command", "args")},
            "env": [each for each in parts.pod["containers"][0]["env"] if each["name"] not in parts.told],
        }
        chosen = {name: dict(value) for name, value in parts.chosen.items() if value}
        # Of several ranks, one that has failed must not take the others with it: their last words are evidence.
        limit = "backoffLimit" if parts.workers == 1 else "backoffLimitPerIndex"
        job = {
            "completionMode": "Indexed",
            limit: 0,
            "template": {
                "metadata": chosen,
                "spec": {**parts.pod, "restartPolicy": "Never", "containers": [container]},
            },
        }
        node = {"name": _NODE, "template": {"metadata": {"labels": _ROLE}, "spec": job}}
        return {
            "mlPolicy": {"numNodes": parts.workers, "torch": {}},
            "template": {"spec": {"replicatedJobs": [node]}},
        }

    def _rendezvous(self, parts: Parts) -> list[Document]:
        """What a rank finds the others by, as a PyTorchJob tells it. Trainer tells it in torchrun's words alone."""
        rank = {"fieldRef": {"fieldPath": f"metadata.labels['{_INDEX}']"}}
        return [
            {"name": "RANK", "valueFrom": rank},
            {"name": "WORLD_SIZE", "value": str(parts.workers)},
            {"name": "MASTER_ADDR", "value": f"{parts.name}-{_NODE}-0-0.{parts.name}"},
            {"name": "MASTER_PORT", "value": str(_PORT)},
        ]

    def is_early(self, refusal: str) -> bool:
        """Its webhook knows of a runtime what the controller has seen, and that of Kueue, where it runs, too."""
        return any(words in refusal for words in _EARLY)

    def state(self, document: Mapping[str, Any]) -> JobState:
        """Its condition Suspended is there once it was suspended, and false after that."""
        suspension = condition(document, "Suspended")
        end = next((each for kind in ("Complete", "Failed") if holds(each := condition(document, kind))), None)
        return JobState(
            ended=None if end is None else end["lastTransitionTime"],
            message="" if end is None else end.get("message", ""),
            suspended=bool((document.get("spec") or {}).get("suspend")) or holds(suspension),
            released=None if suspension is None or holds(suspension) else suspension["lastTransitionTime"],
        )

    def link(self, metadata: Mapping[str, Any]) -> str:
        """A label: its pods know neither its UID nor whose name it has."""
        return str((metadata.get("labels") or {}).get(LINK_LABEL) or metadata["uid"])

    def owns(self, owner: Mapping[str, Any]) -> bool:
        """Its pods are a Job's, which is a JobSet's."""
        return bool(owner["kind"] == "Job")

    def place(self, metadata: Mapping[str, Any]) -> Place | None:
        """By the index of a completion, which is the rank."""
        labels = metadata.get("labels") or {}
        link, index = labels.get(LINK_LABEL, ""), labels.get(_INDEX, "")
        return Place(int(index), link) if link and index.isdigit() else None
