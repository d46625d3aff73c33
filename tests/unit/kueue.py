"""Kueue, in memory: a queue with a quota of jobs, and the Workloads that say why a job waits."""

from collections.abc import Callable

from trialrun_operator.backends import BACKENDS
from trialrun_operator.kueue import WORKLOADS
from trialrun_operator.names import QUEUE_LABEL, Resource
from unit.controllers import has_ended, is_suspended, path
from unit.fakekube import Document, FakeApi

WAITS = "couldn't assign flavors to pod set node: insufficient unused quota for cpu in flavor default, 1 more needed"
EVICTED = "Preempted to accommodate a workload (UID: a, JobUID: b) due to prioritization in the ClusterQueue"


class Kueue:
    """It lets so many jobs at once have pods; `quota` may change.

    `blind` has it make no Workloads, `laconic` tell only the newest of them why it waits, as it may.
    """

    def __init__(self, api: FakeApi, quota: int, jobs: Callable[[], list[Document]]) -> None:
        self._api = api
        self._jobs = jobs
        self.quota = quota
        self.blind = False
        self.laconic = False
        api.unknown.discard(WORKLOADS.plural)
        for backend in BACKENDS.values():
            api.webhooks.setdefault(backend.jobs.plural, []).append(self._admit)

    def look(self) -> None:
        """Releases what there is quota for, the oldest first, and says why the others wait."""
        queued = [job for job in self._jobs() if QUEUE_LABEL in job["metadata"]["labels"] and not has_ended(job)]
        running = sum(not is_suspended(job) for job in queued)
        waiting = sorted(filter(is_suspended, queued), key=lambda each: int(each["metadata"]["resourceVersion"]))
        for job in waiting:
            fits = running < self.quota
            running += fits
            if fits or not self.laconic or job is waiting[-1]:
                self._says(job, QuotaReserved="" if fits else WAITS)
            else:
                self._says(job)
            if fits:
                self._suspend(job, suspend=False)

    def preempt(self, at: str) -> None:
        """Takes the quota of a job back, which is at this path."""
        job = self._api.objects[at]
        self._says(job, QuotaReserved=EVICTED, Admitted="The workload has no reservation")
        self._suspend(job, suspend=True)

    def _admit(self, _: str, job: Document) -> None:
        """What its webhook makes of a job that is created."""
        if QUEUE_LABEL in job["metadata"]["labels"]:
            _merge(job["spec"], _told(job["kind"], suspend=True))

    def _suspend(self, job: Document, *, suspend: bool) -> None:
        kind = BACKENDS[job["kind"]].jobs
        self._api.ask("PATCH", path(kind, job), {"spec": _told(kind.kind, suspend=suspend)})

    def _says(self, job: Document, **false: str) -> None:
        """Writes a Workload's conditions: those that are false have a message."""
        if self.blind:
            return
        name = f"{job['kind'].lower()}-{job['metadata']['name']}-ba8a6"
        metadata = job["metadata"]
        if WORKLOADS.path(metadata["namespace"], name) not in self._api.objects:
            self._api.ask(
                "POST", WORKLOADS.path(metadata["namespace"]), _workload(job, name, BACKENDS[job["kind"]].jobs)
            )
        found = [
            {"type": kind, "status": "False" if said else "True", "reason": "Pending", "message": said}
            for kind, said in false.items()
        ]
        at = WORKLOADS.path(metadata["namespace"], name)
        self._api.ask("PATCH", at, {"status": {"conditions": [*found, {"type": "PodsReady", "status": "False"}]}})


def _workload(job: Document, name: str, kind: Resource) -> Document:
    uid = job["metadata"]["uid"]
    owner = {"apiVersion": kind.api_version, "kind": kind.kind, "name": job["metadata"]["name"], "uid": uid,
             "controller": True}  # fmt: skip
    return {
        "apiVersion": WORKLOADS.api_version,
        "kind": WORKLOADS.kind,
        "metadata": {"name": name, "labels": {"kueue.x-k8s.io/job-uid": uid}, "ownerReferences": [owner]},
        "spec": {"queueName": job["metadata"]["labels"][QUEUE_LABEL]},
    }


def _told(kind: str, *, suspend: bool) -> Document:
    return {"suspend": suspend} if kind == "TrainJob" else {"runPolicy": {"suspend": suspend}}


def _merge(spec: Document, more: Document) -> None:
    for name, value in more.items():
        spec[name] = spec.get(name, {}) | value if isinstance(value, dict) else value
