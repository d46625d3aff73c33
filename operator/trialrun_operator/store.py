"""What was last seen of experiments, jobs and pods: frozen values by uid. It answers at once and asks nobody.

Values come from watches, from LISTs and from the answers to our own writes, in any order: an older one never replaces
a newer one, and what was deleted does not come back.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trialrun_operator.names import Key
from trialrun_operator.observe import Attempt, Job, Pod, noticed
from trialrun_operator.pod_outcome import StartFailure

# What is deleted is remembered for so long: several LISTs have replaced what watches told late by then.
_REMEMBERED_MILLISECONDS = 600_000


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
        # Without most of the metadata, which is large (managedFields).
        document={
            "apiVersion": document["apiVersion"],
            "kind": document["kind"],
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "spec": document.get("spec"),
            "status": document.get("status"),
        },
    )


Value = ExperimentObject | Job | Pod
# Both must fit: whoever may make pods in one namespace can write the UID of another's experiment on them.
Owner = tuple[Key, str]


@dataclass(slots=True)
class _Family:
    """What says that it is one experiment's, by uid."""

    # By what links it to its pods, its uid where it is known.
    jobs: dict[str, str | None] = field(default_factory=dict)
    pods: dict[str, dict[str, None]] = field(default_factory=dict)  # by what links them to their job
    # By the same, until something of theirs changes.
    attempts: dict[str, Attempt] = field(default_factory=dict)


class Store:
    """The one memory of the cluster's state; handlers and LISTs fill it, reconciles read it.

    `now` gives milliseconds since 1970.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._values: dict[str, Value] = {}
        self._by_key: dict[Key, str] = {}
        self._families: dict[Owner, _Family] = {}
        self._confirmed: dict[str, int] = {}
        self._asked: dict[str, tuple[int, StartFailure | None]] = {}
        self._deleted: dict[str, int] = {}  # when, the oldest first
        self._kept: set[str] = set()  # deleted pods that tell how they ended

    def put(self, value: Value) -> bool:
        """Takes in what was seen; says whether it was news."""
        known = self._values.get(value.uid)
        if value.uid in self._deleted or (known is not None and known.version >= value.version):
            return False
        if isinstance(value, Pod) and value.exit is not None:
            before = known.noticed if isinstance(known, Pod) else None
            value = noticed(value, before or self._now())
            if isinstance(known, Pod) and known.exit is not None:  # whatever its kubelet says when it lets it go
                value = replace(value, withdrawn=known.withdrawn)
        self._values[value.uid] = value
        if isinstance(value, ExperimentObject):
            current = self._values.get(self._by_key.get(value.key, ""))
            if not isinstance(current, ExperimentObject) or current.version <= value.version:
                self._by_key[value.key] = value.uid
            return True
        if isinstance(known, Job | Pod) and (_owner(known), known.link) != (_owner(value), value.link):
            self._drop(known)  # its labels were changed by hand
        family = self._families.setdefault(_owner(value), _Family())
        # Pods may come before their job, and stay after it.
        family.attempts.pop(value.link, None)
        if isinstance(value, Pod):
            family.jobs.setdefault(value.link)
            family.pods.setdefault(value.link, {})[value.uid] = None
        else:
            family.jobs[value.link] = value.uid
        return True

    def remove(self, uid: str) -> bool:
        """Forgets what is deleted; says whether it was known.

        How a pod has ended is remembered as long as its job is: the pod may be gone before anyone has looked.
        """
        if uid in self._deleted:
            return False
        self._deleted[uid] = self._now()
        while self._deleted[oldest := next(iter(self._deleted))] < self._deleted[uid] - _REMEMBERED_MILLISECONDS:
            del self._deleted[oldest]
        value = self._values.pop(uid, None)
        if isinstance(value, ExperimentObject):
            if self._by_key.get(value.key) == uid:
                del self._by_key[value.key]
        elif isinstance(value, Pod) and value.exit is not None and self._job(_owner(value), value.link):
            self._values[uid] = replace(value, deleting=True)
            self._kept.add(uid)
            self._families[_owner(value)].attempts.pop(value.link, None)
        elif isinstance(value, Job | Pod):
            if isinstance(value, Job):
                self._confirmed.pop(uid, None)
                self._asked.pop(uid, None)
                pods = self._families[_owner(value)].pods
                for pod in [pod for pod in pods.get(value.link, ()) if pod in self._kept]:
                    self._values.pop(pod, None)
                    self._kept.discard(pod)
                    del pods[value.link][pod]
            self._drop(value)
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
            if value.uid not in uids and value.uid not in self._kept and value.version <= version and concerns(value)
        ]
        for value in gone:
            self.remove(value.uid)
            news.add(value.key)
        return news

    def confirm(self, job: Job, now: int) -> None:
        """Notes that a job's pods were listed at `now`, and that there are no others."""
        self._confirmed[job.uid] = now
        if (family := self._families.get(_owner(job))) is not None:
            family.attempts.pop(job.link, None)

    def asked(self, job: Job, now: int, refusal: StartFailure | None) -> None:
        """Notes that a job's Events were listed at `now`, and why they say that no pod could be made."""
        self._asked[job.uid] = now, refusal
        if (family := self._families.get(_owner(job))) is not None:
            family.attempts.pop(job.link, None)

    def experiment(self, key: Key) -> ExperimentObject | None:
        """The experiment of this name, None where there is none."""
        value = self._values.get(self._by_key.get(key, ""))
        return value if isinstance(value, ExperimentObject) else None

    def experiments(self) -> list[Key]:
        """The keys of all experiments."""
        return list(self._by_key)

    def attempts(self, key: Key, uid: str) -> list[Attempt]:
        """The attempts of an experiment: its jobs with their pods, and pods whose job is gone."""
        family = self._families.get((key, uid), _Family())
        found = []
        for link in family.jobs:
            attempt = family.attempts.get(link)
            if attempt is None:
                attempt = family.attempts[link] = self._attempt((key, uid), link, family.pods.get(link, ()))
            if attempt.job is not None or attempt.pods:
                found.append(attempt)
        return found

    def _job(self, owner: Owner, link: str) -> Job | None:
        """The job, if it is this experiment's: a pod may name any as its owner."""
        family = self._families.get(owner)
        job = self._values.get((family.jobs.get(link) if family is not None else None) or "")
        return job if isinstance(job, Job) and _owner(job) == owner and job.link == link else None

    def _attempt(self, owner: Owner, link: str, uids: Iterable[str]) -> Attempt:
        pods = tuple(pod for uid in uids if isinstance(pod := self._values.get(uid), Pod))
        job = self._job(owner, link)
        asked, refusal = self._asked.get(job.uid if job is not None else "", (None, None))
        confirmed = None if job is None else self._confirmed.get(job.uid)
        return Attempt(job, pods, confirmed, asked, refusal)

    def _drop(self, value: Job | Pod) -> None:
        """Takes a job or pod, which has changed or is known no longer, out of its family."""
        owner, link = _owner(value), value.link
        family = self._families[owner]
        family.attempts.pop(link, None)
        pods = family.pods.get(link, {})
        pods.pop(value.uid, None)
        if not pods:
            family.pods.pop(link, None)
            if self._job(owner, link) is None:
                family.jobs.pop(link, None)
        if not family.jobs:
            del self._families[owner]


def _owner(value: Job | Pod) -> Owner:
    return value.key, value.experiment_uid
