"""What a pod's status proves about its rank: how it ended, or why it has not started. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.experiment.judge import RankExit
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import MAX_REPORT_BYTES, RankReport, Unreadable, cut_error, decode_report
from trainer.experiment.spec import Scalar
from trialrun_operator.program_left import (
    DELETED,
    UNKNOWN,
    how_ended,
    in_pod,
    is_signal,
    limits_of,
    program_exit,
)

Document = Mapping[str, Any]

# `status.reason` of a pod whose end was not its own doing.
_POD_REASONS = {
    "DeadlineExceeded": Outcome.TIMED_OUT,
    "Evicted": Outcome.EVICTED,
    "Preempting": Outcome.EVICTED,
    "NodeLost": Outcome.NODE_LOST,
    "Shutdown": Outcome.NODE_LOST,
    "NodeShutdown": Outcome.NODE_LOST,
    "Terminated": Outcome.NODE_LOST,
    # The kubelet refused what the scheduler had sent it: another attempt is placed anew.
    "UnexpectedAdmissionError": Outcome.EVICTED,
    "NodeAffinity": Outcome.EVICTED,
}
# Reasons of the condition DisruptionTarget, as of Kubernetes 1.26.
_DISRUPTIONS = {
    "DeletionByTaintManager": Outcome.NODE_LOST,
    "DeletionByPodGC": Outcome.NODE_LOST,
    "PreemptionByScheduler": Outcome.EVICTED,
    "EvictionByEvictionAPI": Outcome.EVICTED,
    "TerminationByKubelet": Outcome.EVICTED,
}
_IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
     "RegistryUnavailable", "SignatureValidationFailed"}
)  # fmt: skip
# Waiting does not mend these; a registry or a network may.
_FINAL = frozenset({"InvalidImageName", "ErrImageNeverPull"})
# Of a container: its command could not be started.
_START_REASONS = frozenset({"StartError", "ContainerCannotRun"})
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, slots=True)
class StartFailure:
    """Why a pod has not started; `final` when waiting can't help."""

    outcome: Outcome
    error: str
    final: bool = False


def rank_exit(
    document: Document, terminated: Document, rank: int, program: str | None = None, *, measures: bool = False
) -> RankExit | None:
    """How a pod's training container ended; None while it runs or waits. `terminated` is that container's state.

    `program` is the label of a pod that runs a user's program, None for others. One that `measures` a baseline
    reports as our trainer does, whatever it runs.
    """
    status = document.get("status") or {}
    # The end of the training container is the rank's, whatever else was put into its pod and runs on.
    over = is_over(document) or bool(terminated)
    platform, error = _platform(document, terminated) if over else _lost(document, status)
    if not over and platform is None:
        return None
    evidence = _evidence(status, terminated)
    if program is not None and not measures:
        if platform is None and (reason := status.get("reason") or ""):
            error = _said(reason, status.get("message") or "")
        return program_exit(document, terminated, rank, program, platform, error, evidence)
    exit_code = terminated.get("exitCode")
    report, unread, words = _report(terminated, rank)
    if measures and report is not None and report.run is not None:
        if program is not None:
            environments = tuple(in_pod(each, document) for each in report.run.environments)
            run = report.run.model_copy(update={"environments": environments})
            report = report.model_copy(update={"run": run})
        if platform is Outcome.HOST_OOM and exit_code == 0 and not report.provisional:
            platform = None  # one of its trials was killed, and that stands in the figures
    silent = report is None or report.provisional
    if platform is None and silent and exit_code != 0 and "deletionTimestamp" in document["metadata"]:
        platform, error = Outcome.EVICTED, DELETED
    if platform is None and silent:
        reason, message = status.get("reason") or "", status.get("message") or ""
        error = "; ".join(filter(None, (_said(reason, message) if reason else "", _silent(terminated, words))))
    return RankExit(rank, exit_code, report, platform, error, evidence, unread)


def refusal_of(message: str) -> StartFailure:
    """Why no pod could be made, from the message of the job's Event; `final` where asking again is answered alike."""
    error = message.removeprefix("Error creating: ")
    waits = "exceeded quota" in error or "error looking up service account" in error  # its namespace is new
    final = not waits and any(sign in error for sign in (" is forbidden: ", " is invalid: ", "denied the request"))
    return StartFailure(Outcome.INVALID_CONFIG if final else Outcome.UNSCHEDULABLE, error, final)


def is_over(document: Document) -> bool:
    """Whether all containers of a pod have ended."""
    return (document.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def start_failure(document: Document) -> StartFailure | None:
    """Why a pod that has not ended has not started either, as far as its status tells."""
    status = document.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _IMAGE_REASONS:
            return StartFailure(Outcome.IMAGE_UNAVAILABLE, _said(reason, message), reason in _FINAL)
        if reason in _CONFIG_REASONS:
            return StartFailure(Outcome.INVALID_CONFIG, _said(reason, message))
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("status") == "False":
            return StartFailure(
                Outcome.UNSCHEDULABLE, _said(condition.get("reason", ""), condition.get("message", ""))
            )
    return None


def _platform(document: Document, terminated: Document) -> tuple[Outcome | None, str]:
    """What was done to a pod that is over, with the evidence."""
    status = document["status"]
    if terminated.get("reason") == "OOMKilled":  # with exit code 0 too, when a child was killed and its parent lived
        killed = f"killed for want of memory: OOMKilled, exit code {terminated.get('exitCode')}"
        return Outcome.HOST_OOM, f"{killed}; {_memory_limit(document)}"
    if terminated.get("reason") in _START_REASONS:
        return Outcome.INVALID_CONFIG, f"the command could not be started: {terminated.get('message') or ''}".rstrip()
    reason, message = status.get("reason") or "", status.get("message") or ""
    if reason == "DeadlineExceeded" and not terminated:
        failure = start_failure({"status": status})
        if failure is not None:
            return failure.outcome, failure.error
    if reason in _POD_REASONS:
        return _POD_REASONS[reason], _said(reason, message)
    if reason.startswith("OutOf"):
        return Outcome.EVICTED, _said(reason, message)
    if status.get("phase") == "Succeeded" or terminated.get("exitCode") == 0:
        return None, ""
    outcome, error = _disruption(status)
    if outcome is None and reason and not _ever_started(status):
        # Each version of the kubelet has reasons of its own to refuse a pod: TopologyAffinityError, NodePorts, ...
        return Outcome.EVICTED, _said(reason, message)
    return outcome, error


def _memory_limit(document: Document) -> str:
    """The memory that a pod's training container may use, in words."""
    limit = limits_of(document).get("memory")
    return f"its memory limit is {limit}" if limit else "it has no memory limit of its own, and its node had no more"


def _ever_started(status: Document) -> bool:
    """Whether any container was run, be it one of those that come first."""
    containers = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    states = (each.get(name) or {} for each in containers for name in ("state", "lastState"))
    return any("running" in state or "terminated" in state for state in states)


def _evidence(status: Document, terminated: Document) -> dict[str, Scalar]:
    """The words of the kubelet and the controllers that tell how a pod ended, as they stand in its status."""
    disrupted = (each for each in status.get("conditions") or () if each["type"] == "DisruptionTarget")
    found = {
        "exitCode": terminated.get("exitCode"),
        "containerReason": terminated.get("reason"),
        "podReason": status.get("reason"),
        "disruption": next((each.get("reason") for each in disrupted if each.get("status") == "True"), None),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _lost(document: Document, status: Document) -> tuple[Outcome | None, str]:
    """A pod that is told to end, on a node that no longer answers, stays as it is for ever: it is lost."""
    if "deletionTimestamp" in document["metadata"]:
        outcome, error = _disruption(status)
        if outcome is Outcome.NODE_LOST:
            return outcome, error
    return None, ""


def _disruption(status: Document) -> tuple[Outcome | None, str]:
    for condition in status.get("conditions") or ():
        if condition["type"] == "DisruptionTarget" and condition.get("status") == "True":
            reason = condition.get("reason", "")
            return _DISRUPTIONS.get(reason, Outcome.EVICTED), _said(reason, condition.get("message", ""))
    return None, ""


def _report(terminated: Document, rank: int) -> tuple[RankReport | None, str, str]:
    """The report in a termination message, why it can't be read as one, and what else stands there."""
    message = terminated.get("message") or ""
    if not message:
        return None, "", ""
    try:
        return decode_report(message).model_copy(update={"rank": rank}), "", ""
    except Unreadable as problem:
        # The kubelet keeps the end of a message that is too long.
        meant = message.lstrip().startswith("{") or (
            len(message.encode()) >= MAX_REPORT_BYTES and message.rstrip().endswith("}")
        )
        if terminated.get("exitCode") == 0 or meant:
            failure = problem.failure
            return None if failure is None else failure.model_copy(update={"rank": rank}), str(problem), ""
        return None, "", message  # the end of its log, or what the container runtime says


def _silent(terminated: Document, message: str) -> str:
    """The error of a container that ended without a report; empty with exit code 0."""
    code, reason = terminated.get("exitCode"), terminated.get("reason") or ""
    reason = "" if reason in ("Error", "Completed") else reason
    if message:
        return cut_error(_said(reason, message) if reason else message.strip())
    if code is None:
        return UNKNOWN
    if code == 0:
        return ""
    words = f"{how_ended(code)} without a report"
    if reason:
        return _said(reason, words)
    return f"{words}; the platform gives no reason" if is_signal(code) else words


def _said(reason: str, message: str) -> str:
    return f"{reason}: {message.strip()}" if message.strip() else reason
