"""Turns jobs and pods of the API server into values. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from trainer.experiment.judge import RankExit
from trainer.experiment.outcome import Outcome
from trainer.scheduling.workload import BASELINE
from trialrun_operator.backends import backend_of_pod
from trialrun_operator.backends.backend import Backend, controller
from trialrun_operator.names import (
    ATTEMPT_LABEL,
    EXPERIMENT_LABEL,
    KIND_LABEL,
    KINDS,
    MAX_ATTEMPT,
    PROGRAM_LABEL,
    TRIAL_LABEL,
    UID_LABEL,
    Key,
    Resource,
)
from trialrun_operator.pod_outcome import StartFailure, is_over, rank_exit, start_failure

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the kind `resource`. Times are milliseconds since 1970.

    `link` is what its pods name it by. `released` is since when it may have pods: a queue creates it suspended and
    releases it later. `ended` is when it succeeded or failed, None before. `program` is the hash of the code that a
    user's program has, or says that it is in the image; None where our trainer runs.
    """

    key: Key
    uid: str
    name: str
    version: int
    resource: Resource
    link: str
    experiment_uid: str
    trial: str
    attempt: int
    created: int
    released: int
    ended: int | None
    message: str
    deleting: bool
    suspended: bool
    program: str | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of one rank. `exit` says how it ended, `start_failure` why it hasn't started, both None otherwise.

    `link` is what it names its job by. `bound` is when it was given a node, `began` when a kubelet took it up: its
    deadline counts from there. `started` and `ended` are when its container did: by its node's clock, set right where
    that is seen to be off. `noticed` is when the operator first saw that it had ended, by its own. It `lingers` when
    containers run on beside that one. It is `withdrawn` when it was told to end before it had ended by itself.
    """

    key: Key
    uid: str
    name: str
    version: int
    link: str
    experiment_uid: str
    trial: str
    attempt: int
    rank: int
    created: int
    bound: int | None
    began: int | None
    started: int | None
    ended: int | None
    exit: RankExit | None
    start_failure: StartFailure | None
    image: str
    deleting: bool
    withdrawn: bool = False
    lingers: bool = False
    noticed: int | None = None

    @property
    def placed(self) -> int | None:
        """When it was given a node, as exactly as is known; None before."""
        return self.bound or self.began or self.started

    @property
    def stays(self) -> bool:
        """Whether it may still use its node: it has not ended, nor is it lost with its node."""
        return self.exit is None or self.lingers


@dataclass(frozen=True)
class Attempt:
    """A job with its pods; None when only pods are left.

    `confirmed` is when its pods were listed because of a doubt (milliseconds since 1970), None if they were not;
    `asked` the same of its Events, of which `refusal` is why no pod could be made.
    """

    job: Job | None
    pods: tuple[Pod, ...]
    confirmed: int | None = None
    asked: int | None = None
    refusal: StartFailure | None = None

    @cached_property
    def identity(self) -> tuple[str, int]:
        """Which attempt at which trial."""
        source = self.job or self.pods[0]
        return source.trial, source.attempt

    @cached_property
    def live(self) -> bool:
        """Whether it takes up one of the `parallelTrials`: its job has not ended, or a pod of it still runs."""
        return (self.job is not None and self.job.ended is None) or any(pod.stays for pod in self.pods)

    @cached_property
    def dismissed(self) -> bool:
        """Whether all that is left of it was told to end; an ended job makes no pods anew."""
        over = self.job is None or self.job.deleting or self.job.ended is not None
        return over and all(pod.deleting for pod in self.pods if pod.stays)

    @cached_property
    def ranks(self) -> dict[int, Pod]:
        """The pods by rank. Of several of a rank the first that ended counts: nothing is restarted. Else the latest.

        Pods that a queue has taken back do not count: their job is suspended, and has others when it is released. A
        controller makes a pod anew that was deleted, if it had not yet seen that it had failed.
        """
        pods = [pod for pod in self.pods if not self._took_back(pod)]
        ranks = {pod.rank: pod for pod in sorted(pods, key=_age)}
        ended = [pod for pod in pods if pod.exit is not None]
        return ranks | {pod.rank: pod for pod in sorted(ended, key=_age, reverse=True)}

    def _took_back(self, pod: Pod) -> bool:
        return pod.withdrawn and self.job is not None and (self.job.suspended or pod.created < self.job.released)


def job(backend: Backend, document: Document) -> Job | None:
    """The job in an object of a backend's kind, None when it is no experiment's."""
    metadata = document["metadata"]
    labels = metadata.get("labels") or {}
    owner = controller(metadata)
    if owner is None or owner["kind"] not in KINDS or not _labelled(labels):
        return None
    state, created = backend.state(document), metadata["creationTimestamp"]
    return Job(
        key=Key(owner["kind"], metadata["namespace"], owner["name"]),
        uid=metadata["uid"],
        name=metadata["name"],
        version=int(metadata["resourceVersion"]),
        resource=backend.jobs,
        link=backend.link(metadata),
        experiment_uid=owner["uid"],
        trial=labels[TRIAL_LABEL],
        attempt=int(labels[ATTEMPT_LABEL]),
        created=milliseconds(created),
        released=milliseconds(state.released or created),
        ended=None if state.ended is None else milliseconds(state.ended),
        message=state.message,
        deleting="deletionTimestamp" in metadata,
        suspended=state.suspended,
        program=labels.get(PROGRAM_LABEL),
    )


def pod(document: Document) -> Pod | None:
    """The pod in a Pod, None when it is no experiment's."""
    metadata, status = document["metadata"], document.get("status") or {}
    labels = metadata.get("labels") or {}
    backend = backend_of_pod(document)
    if backend is None or not _labelled(labels) or labels.get(KIND_LABEL) not in KINDS:
        return None
    place = backend.place(metadata)
    if place is None:
        return None
    rank = place.rank
    container: Document = next(
        (each for each in status.get("containerStatuses") or () if each["name"] == backend.container), {}
    )
    state = container.get("state") or {}
    terminated = state.get("terminated") or {}
    started = (state.get("running") or terminated).get("startedAt")
    measures = labels[TRIAL_LABEL] == BASELINE
    exit_ = rank_exit(document, terminated, rank, labels.get(PROGRAM_LABEL), measures=measures)
    bound, began = _bound_at(status), milliseconds(status["startTime"]) if status.get("startTime") else None
    # No kubelet takes a pod up before it has a node: its clock is so far behind. Times have whole seconds, cut off.
    behind = bound - began if bound is not None and began is not None and bound - began > 1000 else 0
    ended = None
    if terminated.get("finishedAt"):
        ended = milliseconds(terminated["finishedAt"]) + behind
    elif exit_ is not None:
        ended = milliseconds(_disrupted_at(status) or metadata["creationTimestamp"])
    return Pod(
        key=Key(labels[KIND_LABEL], metadata["namespace"], labels[EXPERIMENT_LABEL]),
        uid=metadata["uid"],
        name=metadata["name"],
        version=int(metadata["resourceVersion"]),
        link=place.link,
        experiment_uid=labels[UID_LABEL],
        trial=labels[TRIAL_LABEL],
        attempt=int(labels[ATTEMPT_LABEL]),
        rank=rank,
        created=milliseconds(metadata["creationTimestamp"]),
        bound=bound,
        began=began + behind if began is not None else None,
        started=milliseconds(started) + behind if started else None,
        ended=ended,
        exit=exit_,
        start_failure=start_failure(document) if not started and exit_ is None else None,
        image=container.get("imageID") or "",
        deleting="deletionTimestamp" in metadata,
        withdrawn=_withdrawn(metadata, terminated),
        lingers=bool(terminated)
        and not is_over(document)
        and exit_ is not None
        and exit_.platform is not Outcome.NODE_LOST,
    )


def noticed(pod: Pod, moment: int) -> Pod:
    """A pod first seen to have ended at `moment`. Where it says that it ended later, its node's clock is ahead."""
    ahead = max(0, pod.ended - moment) if pod.ended is not None else 0
    started = pod.started - ahead if pod.started is not None else None
    return replace(pod, noticed=moment, started=started, ended=pod.ended - ahead if pod.ended is not None else None)


def milliseconds(text: str) -> int:
    """Milliseconds since 1970 of a time as the API server writes it."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def timestamp(moment: int) -> str:
    """A time as the API server takes it; `moment` is in milliseconds since 1970."""
    text = datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _age(pod: Pod) -> tuple[int, str]:
    return pod.created, pod.uid


def _labelled(labels: Mapping[str, str]) -> bool:
    wanted = (EXPERIMENT_LABEL, UID_LABEL, TRIAL_LABEL, ATTEMPT_LABEL)
    if not all(labels.get(name) for name in wanted):
        return False
    attempt = labels[ATTEMPT_LABEL]
    return attempt.isdigit() and 1 <= int(attempt) <= MAX_ATTEMPT


def _true(condition: Document) -> bool:
    return bool(condition.get("status") == "True")


def _withdrawn(metadata: Document, terminated: Document) -> bool:
    """Whether a pod was told to end, and has not ended in a second before that.

    Without a grace period it is not known when it was told: so a kubelet that has ended a pod lets it go, and the
    time of the deletion becomes that moment.
    """
    if "deletionTimestamp" not in metadata:
        return False
    if not terminated.get("finishedAt"):
        return True
    if not (grace := metadata.get("deletionGracePeriodSeconds") or 0):
        return bool(terminated.get("exitCode") != 0)
    told = milliseconds(metadata["deletionTimestamp"]) - 1000 * grace
    return milliseconds(terminated["finishedAt"]) >= told


def _bound_at(status: Document) -> int | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and _true(condition):
            return milliseconds(condition["lastTransitionTime"])
    return None


def _disrupted_at(status: Document) -> str | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == "DisruptionTarget":
            return str(condition["lastTransitionTime"])
    return None
