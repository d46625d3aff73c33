"""What was last seen of experiments, jobs and pods: frozen values by uid. It answers at once and asks nobody.

Values come from watches, from LISTs and from the answers to our own writes, in any order: an older one never replaces
a newer one, and what was deleted does not come back.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trialrun_operator.names import Key
from trialrun_operator.observe import Attempt, Job, Pod

# More than can be deleted between two LISTs; beyond it the oldest are forgotten.
_REMEMBERED_DELETIONS = 100_000


@dataclass(frozen=True, slots=True)
class ExperimentObject:
    """An experiment as it was seen. `document` is the object but for most of its metadata; nobody changes it."""

    key: Key
    uid: str
    version: int
    generation: int
    created: str
    deleting: bool
    document: Mapping[str, Any] = field(repr=False)

    @property
    def status(self) -> Mapping[str, Any]:
        """Its status as it was seen, perhaps empty."""
        return self.document.get("status") or {}


def experiment_object(document: Mapping[str, Any]) -> ExperimentObject:
    """The value of an object of the API server."""
    metadata = document["metadata"]
    return ExperimentObject(
        key=Key(document["kind"], metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 1),
        created=metadata["creationTimestamp"],
        deleting="deletionTimestamp" in metadata,
        # Without the metadata: it is large (managedFields), and nobody's business from here on.
        document={
            "apiVersion": document["apiVersion"],
            "kind": document["kind"],
            "metadata": {"name": metadata["name"]},
            "spec": document.get("spec"),
            "status": document.get("status"),
        },
    )


Value = ExperimentObject | Job | Pod


class Store:
    """The one memory of the cluster's state; handlers and LISTs fill it, reconciles read it."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}
        self._by_key: dict[Key, str] = {}
        # Job uids by experiment uid, pod uids by job uid.
        self._jobs: dict[str, dict[str, None]] = {}
        # Of the jobs those that need no look, until something of theirs changes.
        self._aside: dict[str, dict[str, None]] = {}
        self._pods: dict[str, dict[str, None]] = {}
        # Attempts by job uid, until something of theirs changes.
        self._attempts: dict[str, Attempt] = {}
        self._confirmed: dict[str, int] = {}
        self._deleted: dict[str, None] = {}

    def put(self, value: Value) -> bool:
        """Takes in what was seen; says whether it was news."""
        known = self._values.get(value.uid)
        if value.uid in self._deleted or (known is not None and known.version >= value.version):
            return False
        self._values[value.uid] = value
        self._attempts.pop(value.job_uid if isinstance(value, Pod) else value.uid, None)
        if isinstance(value, ExperimentObject):
            current = self._values.get(self._by_key.get(value.key, ""))
            if not isinstance(current, ExperimentObject) or current.version <= value.version:
                self._by_key[value.key] = value.uid
        elif isinstance(value, Job):
            self._open(value.experiment_uid, value.uid)
        else:
            self._pods.setdefault(value.job_uid, {})[value.uid] = None
            # Pods may come before their job, and stay after it.
            self._open(value.experiment_uid, value.job_uid)
        return True

    def remove(self, uid: str) -> bool:
        """Forgets what is deleted; says whether it was known.

        How a pod has ended is remembered as long as its job is: the pod may be gone before anyone has looked.
        """
        if uid in self._deleted:
            return False
        self._deleted[uid] = None
        if len(self._deleted) > _REMEMBERED_DELETIONS:
            del self._deleted[next(iter(self._deleted))]
        value = self._values.pop(uid, None)
        self._attempts.pop(value.job_uid if isinstance(value, Pod) else uid, None)
        if isinstance(value, Pod) and value.ending is not None and value.job_uid in self._values:
            self._values[uid] = replace(value, deleting=True)
        elif isinstance(value, ExperimentObject):
            if self._by_key.get(value.key) == uid:
                del self._by_key[value.key]
        elif isinstance(value, Job):
            self._confirmed.pop(uid, None)
            for pod in [pod for pod in self._pods.get(uid, ()) if pod in self._deleted]:
                self._drop_pod(uid, pod)
            self._drop_empty(value.experiment_uid, uid)
        elif isinstance(value, Pod):
            self._drop_pod(value.job_uid, uid)
            self._drop_empty(value.experiment_uid, value.job_uid)
        return value is not None

    def replace(self, listed: Iterable[Value], version: int, concerns: Callable[[Value], bool]) -> set[Key]:
        """Takes in a LIST as of `version`; gives the keys for which it was news.

        `concerns` says of a value whether it would have been listed. What is newer than the list stays.
        """
        news: set[Key] = set()
        uids = set()
        for value in listed:
            uids.add(value.uid)
            if self.put(value):
                news.add(value.key)
        gone = [
            value
            for value in self._values.values()
            if value.uid not in uids
            and value.uid not in self._deleted
            and value.version <= version
            and concerns(value)
        ]
        for value in gone:
            self.remove(value.uid)
            news.add(value.key)
        return news

    def confirm(self, job: Job, now: int) -> None:
        """Notes that a job's pods were listed at `now`, and that there are no others."""
        self._confirmed[job.uid] = now
        self._attempts.pop(job.uid, None)

    def experiment(self, key: Key) -> ExperimentObject | None:
        """The experiment of this name, None where there is none."""
        value = self._values.get(self._by_key.get(key, ""))
        return value if isinstance(value, ExperimentObject) else None

    def experiments(self) -> list[Key]:
        """The keys of all experiments."""
        return list(self._by_key)

    def attempts(self, experiment_uid: str) -> list[Attempt]:
        """The attempts of an experiment: its jobs with their pods, and pods whose job is gone; none put aside."""
        found = []
        for uid in self._jobs.get(experiment_uid, ()):
            attempt = self._attempts.get(uid)
            if attempt is None:
                attempt = self._attempts[uid] = self._attempt(uid)
            if attempt.job is not None or attempt.pods:
                found.append(attempt)
        return found

    def put_aside(self, experiment_uid: str, attempts: Iterable[Attempt]) -> None:
        """Has attempts that need no look left out, until something of theirs changes: most of a long search's."""
        for attempt in attempts:
            uid = attempt.job.uid if attempt.job is not None else attempt.pods[0].job_uid
            if self._attempts.get(uid) is attempt:  # otherwise it has changed meanwhile
                self._jobs.get(experiment_uid, {}).pop(uid, None)
                self._aside.setdefault(experiment_uid, {})[uid] = None

    def bring_back(self, experiment_uid: str) -> None:
        """Has all attempts of an experiment looked at again."""
        if aside := self._aside.pop(experiment_uid, None):
            self._jobs.setdefault(experiment_uid, {}).update(aside)

    def _open(self, experiment_uid: str, job_uid: str) -> None:
        self._jobs.setdefault(experiment_uid, {})[job_uid] = None
        self._aside.get(experiment_uid, {}).pop(job_uid, None)

    def _attempt(self, uid: str) -> Attempt:
        job = self._values.get(uid)
        pods = tuple(pod for each in self._pods.get(uid, ()) if isinstance(pod := self._values.get(each), Pod))
        return Attempt(job if isinstance(job, Job) else None, pods, self._confirmed.get(uid))

    def _drop_pod(self, job_uid: str, uid: str) -> None:
        self._values.pop(uid, None)
        pods = self._pods.get(job_uid, {})
        pods.pop(uid, None)
        if not pods:
            self._pods.pop(job_uid, None)

    def _drop_empty(self, experiment_uid: str, job_uid: str) -> None:
        if job_uid not in self._values and job_uid not in self._pods:
            for jobs in (self._jobs, self._aside):
                of_experiment = jobs.get(experiment_uid, {})
                of_experiment.pop(job_uid, None)
                if not of_experiment:
                    jobs.pop(experiment_uid, None)
