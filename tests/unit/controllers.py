"""What the controllers of PyTorchJobs and TrainJobs do, in memory: pods of a job, its conditions, Events about it."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

from jobs import PYTORCH_JOBS, TRAIN_JOBS
from trialrun_operator.backends.backend import Backend
from trialrun_operator.backends.pytorchjob import JOBS
from trialrun_operator.backends.trainjob import RUNTIMES
from trialrun_operator.names import EVENTS, PODS, Resource
from unit.fakekube import Document, FakeApi, refused

JOB_SETS = Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet")
BATCH_JOBS = Resource("batch", "v1", "jobs", "Job")
_INDEX = "batch.kubernetes.io/job-completion-index"


def path(resource: Resource, document: Document) -> str:
    """Where an object is."""
    return resource.path(document["metadata"]["namespace"], document["metadata"]["name"])


def condition(job: Document, *kinds: str) -> Document | None:
    """The condition of one of these types that a job has."""
    found = (job.get("status") or {}).get("conditions") or ()
    return next((each for each in found if each["type"] in kinds), None)


def has_ended(job: Document) -> bool:
    """Whether a job has succeeded or failed."""
    return condition(job, "Succeeded", "Complete", "Failed") is not None


def is_suspended(job: Document) -> bool:
    """Whether a job may have no pods at present."""
    return bool(job["spec"].get("suspend") or job["spec"].get("runPolicy", {}).get("suspend"))


def rank_of(pod: Document) -> int:
    """The rank of a pod, by the labels that its job's controller gives it."""
    labels = pod["metadata"]["labels"]
    if _INDEX in labels:
        return int(labels[_INDEX])
    index = int(labels["training.kubeflow.org/replica-index"])
    return index if labels["training.kubeflow.org/replica-type"] == "master" else 1 + index


def template_of(document: Document) -> Document | None:
    """The template of a trial's pods in what the operator creates for it; None where there is none."""
    spec = document.get("spec") or {}
    if "pytorchReplicaSpecs" in spec:
        return dict(spec["pytorchReplicaSpecs"]["Master"]["template"])
    if document["kind"] == RUNTIMES.kind:
        (node,) = spec["template"]["spec"]["replicatedJobs"]
        return dict(node["template"]["spec"]["template"])
    return None


class Controller(ABC):
    """The controller of a kind of job.

    `suspension` are the reasons of its condition Suspended, of a job that is and of one that is no longer. `ends` are
    type, reason and message of the last condition, of a job that failed and of one that succeeded.
    """

    backend: Backend
    suspension: tuple[str, str]
    ends: tuple[tuple[str, str, str], tuple[str, str, str]]
    bears_losses: bool  # whether a job goes on whose pod somebody else has deleted

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.taken_back: set[str] = set()  # pods, by UID: nobody counts them

    def look(self, job: Document, pods: Sequence[Document], now: str) -> list[Document]:
        """Does what is due for a job that has not ended; gives the pods that it made."""
        known = condition(job, "Suspended")
        was = known is not None and known["status"] == "True"
        if is_suspended(job) and not was:
            self._say(job, "Suspended", "True", self.suspension[0], now)
            for pod in pods:
                if self.takes_back(pod):
                    self.taken_back.add(pod["metadata"]["uid"])
                    self.api.ask("DELETE", path(PODS, pod))
        elif was and not is_suspended(job):
            self._say(job, "Suspended", "False", self.suspension[1], now)
        if is_suspended(job):
            return []
        return [self.api.ask("POST", PODS.path(job["metadata"]["namespace"]), pod) for pod in self.missing(job, pods)]

    def end(self, job: Document, pods: Sequence[Document], *, lost: bool, now: str) -> None:
        """Says that a job has ended, if it has; `lost` says that somebody else has deleted a pod."""
        phases = [pod["status"]["phase"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        over = len(phases) == self.size(job) and set(phases) <= {"Succeeded", "Failed"}
        if over or (lost and not self.bears_losses):
            kind, reason, message = self.ends[over and "Failed" not in phases]
            self._say(job, kind, "True", reason, now, message.format(job["metadata"]["name"]))

    def _say(self, job: Document, kind: str, status: str, reason: str, now: str, message: str = "") -> None:
        made = {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}
        others = [each for each in (job.get("status") or {}).get("conditions") or () if each["type"] != kind]
        body = {"status": {"conditions": [*others, made]}}
        self.api.ask("PATCH", f"{path(self.backend.jobs, job)}/status", body)

    def complaint(self, job: Document, message: str, now: str) -> Document:
        """The Event which says that a job's pods can't be made."""
        about, reason = self.complains(job)
        return {
            "apiVersion": "v1", "kind": EVENTS.kind, "metadata": {"name": f"{about['name']}.{about['uid']}"},
            "involvedObject": about, "reason": reason, "message": f"Error creating: {message}", "lastTimestamp": now,
        }  # fmt: skip

    @abstractmethod
    def size(self, job: Document) -> int:
        """How many ranks a job has."""

    @abstractmethod
    def missing(self, job: Document, there: Sequence[Document]) -> list[Document]:
        """The pods that a job lacks, of which some are there."""

    @abstractmethod
    def takes_back(self, pod: Document) -> bool:
        """Whether a pod is deleted when its job is suspended."""

    @abstractmethod
    def complains(self, job: Document) -> tuple[Document, str]:
        """What the Events are about that say why a job's pods can't be made, and their reason."""


class TrainingOperator(Controller):
    """Makes the pods of PyTorchJobs itself, and anew where one was deleted."""

    backend = PYTORCH_JOBS
    suspension = ("PyTorchJobSuspended", "PyTorchJobResumed")
    ends = (
        ("Failed", "PyTorchJobFailed", "PyTorchJob {} is failed because some replicas failed."),
        ("Succeeded", "PyTorchJobSucceeded", "PyTorchJob {} is successfully completed."),
    )
    bears_losses = True

    def size(self, job: Document) -> int:
        return sum(each["replicas"] for each in job["spec"]["pytorchReplicaSpecs"].values())

    def missing(self, job: Document, there: Sequence[Document]) -> list[Document]:
        names = {pod["metadata"]["name"] for pod in there}
        replicas = job["spec"]["pytorchReplicaSpecs"].items()
        pods = (self._pod(job, role, index) for role, each in replicas for index in range(each["replicas"]))
        return [pod for pod in pods if pod["metadata"]["name"] not in names]

    def _pod(self, job: Document, role: str, index: int) -> Document:
        template = job["spec"]["pytorchReplicaSpecs"][role]["template"]
        ours = {
            "training.kubeflow.org/replica-type": role.lower(),
            "training.kubeflow.org/replica-index": str(index),
        }
        metadata = {
            **template["metadata"],
            "name": f"{job['metadata']['name']}-{role.lower()}-{index}",
            "labels": template["metadata"]["labels"] | ours,
            "ownerReferences": [_owner(job, JOBS)],
        }
        return _pod(metadata, template["spec"])

    def takes_back(self, pod: Document) -> bool:  # noqa: ARG002
        return True

    def complains(self, job: Document) -> tuple[Document, str]:
        return _about(job), "FailedCreatePod"


class Trainer(Controller):
    """Kubeflow Trainer, with the controllers of JobSets and Jobs below it, and its webhook."""

    backend = TRAIN_JOBS
    suspension = ("Suspended", "Resumed")
    ends = (
        ("Failed", "FailedJobs", "jobset failed due to one or more job failures (first failed job: {}-node-0)"),
        ("Complete", "AllJobsCompleted", "jobset completed successfully"),
    )
    bears_losses = False  # a Job has no backoff

    def __init__(self, api: FakeApi) -> None:
        super().__init__(api)
        api.webhooks.setdefault(TRAIN_JOBS.jobs.plural, []).append(self._admit)

    def _admit(self, namespace: str, job: Document) -> None:
        """What its webhooks refuse and fill in."""
        said, spec = "", job["spec"]
        runtime = spec["runtimeRef"]["name"]
        reserved = [each["name"] for each in spec["trainer"]["env"] if each["name"].startswith("PET_")]
        if RUNTIMES.path(namespace, runtime) not in self.api.objects:
            said = f'TrainingRuntime.trainer.kubeflow.org "{runtime}" not found: specified trainingRuntime must be '
            said += "created before the TrainJob is created"
        elif reserved:
            said = f"spec.trainer.env: must not have reserved envs, invalid envs configured: {reserved}"
        elif not re.fullmatch("[a-z]([a-z0-9-]{0,61}[a-z0-9])?", job["metadata"]["name"]):
            said = "metadata.name: must be a RFC 1035 label"
        if said:
            name = "validator.trainjob.trainer.kubeflow.org"
            raise refused(403, "Forbidden", f'admission webhook "{name}" denied the request: {said}')
        spec["managedBy"] = "trainer.kubeflow.org/trainjob-controller"
        spec.setdefault("suspend", False)

    def size(self, job: Document) -> int:
        return int(job["spec"]["trainer"]["numNodes"])

    def missing(self, job: Document, there: Sequence[Document]) -> list[Document]:
        batch_job = self._below(job)
        if batch_job is None:
            return []
        ranks = {pod["metadata"]["labels"][_INDEX] for pod in there if "deletionTimestamp" not in pod["metadata"]}
        made = [self._pod(job, batch_job, rank) for rank in range(self.size(job)) if str(rank) not in ranks]
        if made:
            counts = {"name": "node", "active": 1, "failed": 0, "ready": 0, "succeeded": 0, "suspended": 0}
            status = {"status": {"jobsStatus": [counts]}}
            self.api.ask("PATCH", f"{path(TRAIN_JOBS.jobs, job)}/status", status)
        return made

    def _below(self, job: Document) -> Document | None:
        """The Job below a TrainJob, made now or before; None where the TrainingRuntime is gone that tells of it."""
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        at = BATCH_JOBS.path(namespace, f"{name}-node-0")
        found = self.api.objects.get(at)
        runtime = self.api.objects.get(RUNTIMES.path(namespace, job["spec"]["runtimeRef"]["name"]))
        if found is not None or runtime is None:
            return found
        (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
        job_set = self._make(JOB_SETS, namespace, name, _owner(job, TRAIN_JOBS.jobs), {})
        return self._make(
            BATCH_JOBS, namespace, f"{name}-node-0", _owner(job_set, JOB_SETS), node["template"]["spec"]
        )

    def _make(self, kind: Resource, namespace: str, name: str, owner: Document, spec: Document) -> Document:
        metadata = {"name": name, "ownerReferences": [owner]}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
        return self.api.ask("POST", kind.path(namespace), body)

    def _pod(self, job: Document, batch_job: Document, rank: int) -> Document:
        """The pod of the runtime's template, with what the TrainJob and its patches say."""
        name, trainer = job["metadata"]["name"], job["spec"]["trainer"]
        template = batch_job["spec"]["template"]
        chosen = template.get("metadata", {})
        labels = dict(chosen.get("labels", {}))
        for patch in job["spec"]["runtimePatches"]:
            for each in patch["trainingRuntimeSpec"]["template"]["spec"].get("replicatedJobs", ()):
                labels |= each["template"]["spec"]["template"]["metadata"]["labels"]
        labels |= {"jobset.sigs.k8s.io/jobset-name": name, "job-name": f"{name}-node-0", _INDEX: str(rank)}
        (container,) = template["spec"]["containers"]
        told = {
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "PET_MASTER_ADDR": f"{name}-node-0-0.{name}",
            "PET_MASTER_PORT": "29500",
        }
        env = {each["name"]: each for each in (*container["env"], *trainer["env"])}
        env |= {variable: {"name": variable, "value": value} for variable, value in told.items()}
        instead = {part: trainer[part] for part in ("command", "args") if part in trainer}
        metadata = {
            "name": f"{name}-node-0-{rank}-{len(self.api.events) % 100_000:05d}",
            "labels": labels,
            "annotations": chosen.get("annotations", {}),
            "ownerReferences": [_owner(batch_job, BATCH_JOBS)],
        }
        spec = template["spec"] | {"containers": [{**container, **instead, "env": list(env.values())}]}
        return _pod(metadata, spec)

    def takes_back(self, pod: Document) -> bool:
        return pod["status"]["phase"] in ("Pending", "Running")

    def complains(self, job: Document) -> tuple[Document, str]:
        batch_job = self._below(job)
        assert batch_job is not None, "its TrainingRuntime is there"
        return _about(batch_job), "FailedCreate"


def _pod(metadata: Document, spec: Document) -> Document:
    whole = spec | {"nodeName": "node"}
    return {"apiVersion": PODS.api_version, "kind": PODS.kind, "metadata": metadata, "spec": whole}


def _owner(document: Document, kind: Resource) -> Document:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "name": document["metadata"]["name"],
            "uid": document["metadata"]["uid"], "controller": True}  # fmt: skip


def _about(document: Document) -> Document:
    """How an Event names what it is about."""
    return {"kind": document["kind"], "name": document["metadata"]["name"], "uid": document["metadata"]["uid"]}
