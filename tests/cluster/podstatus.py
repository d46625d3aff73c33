"""The status that a kubelet or controller leaves on a pod, as strategic merge patches; pure.

Reasons, messages and conditions are those of Kubernetes 1.34 (pkg/kubelet, pkg/controller/podgc, tainteviction).
"""

from typing import Any

from trialrun_operator.backends import backend_of_pod

Pod = dict[str, Any]
Status = dict[str, Any]

# A kubelet keeps the end of a longer termination message.
TERMINATION_MESSAGE_BYTES = 4096
KILLED = 137


def running(pod: Pod, now: str) -> Status:
    """All init containers have done their work, all containers run and are ready."""
    return {
        **_started(pod, now),
        "phase": "Running",
        "conditions": _conditions(now, ready="True"),
        "initContainerStatuses": _init_containers(pod, now),
        "containerStatuses": _containers(pod, {"running": {"startedAt": now}}, ready=True),
    }


def in_init(pod: Pod, now: str) -> Status:
    """The init containers run; a worker of a PyTorchJob stays here while its master's name doesn't resolve."""
    waiting = {"waiting": {"reason": "PodInitializing"}}
    init = [_container(each, {"running": {"startedAt": now}}) for each in pod["spec"].get("initContainers", [])]
    return {
        **_started(pod, now),
        "phase": "Pending",
        "conditions": _conditions(now, initialized="False", ready="False", reason="ContainersNotInitialized"),
        "initContainerStatuses": init,
        "containerStatuses": _containers(pod, waiting),
    }


def waiting(pod: Pod, now: str, *, reason: str, message: str = "") -> Status:
    """The containers can't start yet: `ContainerCreating`, `ErrImagePull`, `ImagePullBackOff` and the like."""
    state = {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}
    return {
        **_started(pod, now),
        "phase": "Pending",
        "conditions": _conditions(now, ready="False", reason="ContainersNotReady"),
        "initContainerStatuses": _init_containers(pod, now),
        "containerStatuses": _containers(pod, state),
    }


def ended(pod: Pod, now: str, *, exit_code: int, message: str = "", reason: str = "") -> Status:
    """The containers ended by themselves, or by the kernel: `reason` is then `OOMKilled`."""
    done = exit_code == 0
    state = _terminated(pod, now, exit_code, reason or ("Completed" if done else "Error"), message)
    return {
        "phase": "Succeeded" if done else "Failed",
        "conditions": _conditions(now, ready="False", reason="PodCompleted" if done else "PodFailed", ended=True),
        "containerStatuses": _containers(pod, state),
    }


def trainer_ended(pod: Pod, now: str, *, exit_code: int, message: str = "") -> Status:
    """The training container ended by itself, and others run on."""
    alone = ended(pod, now, exit_code=exit_code, message=message)
    others = running(pod, now)
    backend = backend_of_pod(pod)
    assert backend is not None, "it is a job's"
    chosen = zip(alone["containerStatuses"], others["containerStatuses"], strict=True)
    containers = [one if one["name"] == backend.container else other for one, other in chosen]
    return others | {"conditions": _conditions(now, ready="False"), "containerStatuses": containers}


def ended_by_kubelet(
    pod: Pod, now: str, *, reason: str, message: str, disruption: str = "", left: str = ""
) -> Status:
    """The kubelet killed the containers and says why on the pod itself; `left` is their termination message.

    `disruption` is the reason of the condition DisruptionTarget, which marks what was not the pod's own doing.
    """
    status = ended(pod, now, exit_code=KILLED, message=left) | {"reason": reason, "message": message}
    if disruption:
        status["conditions"].append(_disruption(now, disruption, message))
    return status


def past_deadline(pod: Pod, now: str, left: str = "") -> Status:
    """The pod ran longer than its `activeDeadlineSeconds`."""
    message = "Pod was active on the node longer than the specified deadline"
    return ended_by_kubelet(pod, now, reason="DeadlineExceeded", message=message, left=left)


def orphaned(pod: Pod, now: str) -> Status:  # noqa: ARG001 - the containers stay as they were seen last
    """What the pod garbage collector writes before it deletes a pod whose node is gone."""
    return {"phase": "Failed", "conditions": [_disruption(now, "DeletionByPodGC", "PodGC: node no longer exists")]}


def tainted(pod: Pod, now: str) -> Status:  # noqa: ARG001 - the containers stay as they were seen last
    """What the controllers write before they delete a pod whose node no longer answers."""
    why = "Taint manager: deleting due to NoExecute taint"
    not_ready = {"type": "Ready", "status": "False", "lastTransitionTime": now}
    return {"conditions": [not_ready, _disruption(now, "DeletionByTaintManager", why)]}


def _disruption(now: str, reason: str, message: str) -> Status:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {**condition, "lastTransitionTime": now}


def _started(pod: Pod, now: str) -> Status:
    uid = pod["metadata"]["uid"]
    # Any address will do that differs from pod to pod, most of the time.
    address = ".".join(["10", *(str(1 + int(uid[i : i + 2], 16) % 254) for i in (0, 2, 4))])
    return {
        "startTime": pod["status"].get("startTime", now),
        "hostIP": "10.0.0.1",
        "hostIPs": [{"ip": "10.0.0.1"}],
        "podIP": address,
        "podIPs": [{"ip": address}],
    }


def _conditions(
    now: str, *, ready: str, initialized: str = "True", reason: str = "", ended: bool = False
) -> list[Status]:
    def condition(kind: str, status: str, why: str = "") -> Status:
        made = {"type": kind, "status": status, "lastTransitionTime": now}
        return {**made, "reason": why} if why else made

    initialized_reason = "PodCompleted" if reason == "PodCompleted" else reason if initialized == "False" else ""
    return [
        condition("PodReadyToStartContainers", "False" if ended else "True"),
        condition("Initialized", initialized, initialized_reason),
        condition("Ready", ready, reason),
        condition("ContainersReady", ready, reason),
    ]


def _containers(pod: Pod, state: Status, *, ready: bool = False) -> list[Status]:
    return [_container(each, state, ready=ready) for each in pod["spec"]["containers"]]


def _init_containers(pod: Pod, now: str) -> list[Status]:
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    return [_container(each, done, ready=True) for each in pod["spec"].get("initContainers", [])]


def _container(container: dict[str, Any], state: Status, *, ready: bool = False) -> Status:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "" if "waiting" in state else f"simulated://{container['image']}",
        "ready": ready,
        "started": "running" in state,
        "restartCount": 0,
        "state": state,
    }


def _terminated(pod: Pod, now: str, exit_code: int, reason: str, message: str) -> Status:
    began = now
    for status in pod["status"].get("containerStatuses", []):
        began = status.get("state", {}).get("running", {}).get("startedAt", began)
    ended = {"exitCode": exit_code, "reason": reason, "startedAt": began, "finishedAt": now}
    kept = message.encode()[-TERMINATION_MESSAGE_BYTES:].decode(errors="ignore")
    return {"terminated": {**ended, "message": kept} if kept else ended}
