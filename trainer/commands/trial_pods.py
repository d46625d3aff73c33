"""The pods of an experiment's trials: which rank of which attempt each is, and why one has not started."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trainer.experiment.outcome import ADVICE, Outcome

_TRAINS = ("pytorch", "node")  # what a PyTorchJob's and a TrainJob's container are called
_USUAL = ("ContainerCreating", "PodInitializing")  # what any container waits for
_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_ROLE, _NUMBER = "training.kubeflow.org/replica-type", "training.kubeflow.org/replica-index"
_COMPLETION = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True)
class TrialPod:
    """A pod that runs a rank of an attempt.

    `waits` says why it has not started, empty once it has; `is_stuck` whether more than a start that takes its time.

    `trial` is the trial's id, `said` how a sentence names it. `started` is when the pod was given to a node.
    """

    name: str
    trial: str
    said: str
    attempt: int
    rank: int
    container: str
    phase: str
    created: str
    started: datetime | None
    waits: str
    is_stuck: bool


def trial_pods(documents: Iterable[Mapping[str, Any]]) -> list[TrialPod]:
    """Those that run trials, floors and baselines; of two in one place the one that was made last."""
    found = sorted(_read(documents), key=lambda pod: (pod.created, pod.name))
    return list({(pod.trial, pod.attempt, pod.rank): pod for pod in found}.values())


def _read(documents: Iterable[Mapping[str, Any]]) -> Iterator[TrialPod]:
    for each in documents:
        metadata, spec, status = each["metadata"], each["spec"], each.get("status") or {}
        labels = metadata.get("labels") or {}
        trial, attempt = labels.get("trialrun.dev/trial"), labels.get("trialrun.dev/attempt", "")
        rank = _rank(labels)
        if trial is None or not attempt.isdigit() or rank is None:
            continue
        index, started = labels.get("trialrun.dev/index"), status.get("startTime")
        pending, obstacle = status.get("phase", "Pending") == "Pending", _obstacle(status)
        names = [container["name"] for container in spec["containers"]]
        yield TrialPod(
            name=metadata["name"],
            trial=trial,
            said=trial if index is None else f"trial {index} ({trial})",
            attempt=int(attempt),
            rank=rank,
            container=next((name for name in names if name in _TRAINS), names[0]),
            phase=status.get("phase", "Pending"),
            created=metadata["creationTimestamp"],
            started=None if started is None else datetime.fromisoformat(started).astimezone(UTC),
            waits=(obstacle or _start(status)) if pending else "",
            is_stuck=bool(obstacle) and pending,
        )


def _rank(labels: Mapping[str, str]) -> int | None:
    """A PyTorchJob's Master is rank 0, and its Workers follow; a TrainJob's pods have their rank."""
    if labels.get(_ROLE, "").lower() == "master":
        return 0
    if (number := labels.get(_NUMBER, "")).isdigit():
        return 1 + int(number)
    return int(number) if (number := labels.get(_COMPLETION, "")).isdigit() else None


def _obstacle(status: Mapping[str, Any]) -> str:
    """What keeps a pod from starting, and what to do about it where that is known; empty where nothing does."""
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason") or _USUAL[0]
        if reason not in _USUAL:
            advice = ADVICE[Outcome.IMAGE_UNAVAILABLE] if reason in _IMAGE else ""
            return _sentences(f"{reason}: {waiting['message']}" if waiting.get("message") else reason, advice)
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            advice = ADVICE[Outcome.UNSCHEDULABLE] if condition.get("reason") == Outcome.UNSCHEDULABLE else ""
            return _sentences(condition.get("message") or condition.get("reason") or "no node was found", advice)
    return ""


def _start(status: Mapping[str, Any]) -> str:
    """How far the start of a pod has come."""
    init = status.get("initContainerStatuses") or ()
    running = [container["name"] for container in init if "running" in (container.get("state") or {})]
    if running:
        return f"its init container {running[0]} runs"
    return "its container is being created" if status.get("startTime") else "it has no node yet"


def _sentences(said: str, advice: str) -> str:
    return f"{said.rstrip('.')}. {advice}" if advice else said
