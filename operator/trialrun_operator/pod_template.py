"""The pod of a trial: what its experiment chose, and restrictions that nothing can lift. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.experiment.code import path as path_of
from trainer.experiment.cost import quantity
from trainer.experiment.expand import Trial
from trainer.experiment.pod import Pod
from trainer.scheduling.workload import Workload
from trialrun_operator.names import CONTAINER
from trialrun_operator.orders import CODE, DATA, MESSAGE_PATH, OUTPUT, Code, Order

PORT = 23456
USER = 65532  # nobody on the machine, and the same in every image
# A pod that is told to end has nothing left to save, and a stuck one holds up its job's deletion.
_TERMINATION_SECONDS = 10
_EXECUTABLE = 0o555  # code may be a script that is run by its name

Document = dict[str, Any]


@dataclass(frozen=True)
class _Volume:
    """A volume and where it is mounted."""

    name: str
    path: str
    source: Document
    read_only: bool = False


def pod_spec(
    work: Workload, order: Order, trial: Trial, image: str, memory: str | None, code: Code | None = None
) -> Document:
    """The spec of each of an attempt's pods; `memory` is its limit in place of the experiment's."""
    chosen = work.experiment.spec.pod
    volumes = _volumes(chosen, code)
    spec: Document = {
        "activeDeadlineSeconds": work.deadline_of(trial),
        "terminationGracePeriodSeconds": _TERMINATION_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",  # otherwise every pod's start walks through the whole volume
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(chosen, order, image, memory, volumes)],
        "volumes": [{"name": each.name, **each.source} for each in volumes],
        "imagePullSecrets": [{"name": secret.name} for secret in chosen.image_pull_secrets],
        "nodeSelector": dict(chosen.node_selector),
        "tolerations": [toleration.as_written() for toleration in chosen.tolerations],
        "affinity": chosen.affinity.as_written(),
        "priorityClassName": chosen.priority_class_name,
        "runtimeClassName": chosen.runtime_class_name,
    }
    return {name: value for name, value in spec.items() if value not in (None, {}, [])}


def _volumes(chosen: Pod, code: Code | None) -> list[_Volume]:
    found = [_Volume("tmp", "/tmp", {"emptyDir": {}})]  # noqa: S108 - in the pod
    claims = (("data", DATA, chosen.data_claim, True), ("output", OUTPUT, chosen.output_claim, False))
    for name, path, claim, read_only in claims:
        if claim is not None:
            source = {"persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}}
            found.append(_Volume(name, path, source, read_only))
    if code is not None:
        items = [{"key": key, "path": path_of(key)} for key in code.keys]
        source = {"configMap": {"name": code.name, "items": items, "defaultMode": _EXECUTABLE}}
        found.append(_Volume("code", CODE, source, read_only=True))
    return found


def _container(chosen: Pod, order: Order, image: str, memory: str | None, volumes: Sequence[_Volume]) -> Document:
    container: Document = {
        "name": CONTAINER,
        "image": chosen.image or image,
        "imagePullPolicy": chosen.image_pull_policy,
        # The entrypoint is the image's: a trainer of one's own takes the same order. A program takes its place.
        "command": [_literal(word) for word in order.command],
        "args": list(order.args),
        "workingDir": order.folder,
        "env": _environment(order, chosen),
        "ports": [{"name": "pytorchjob-port", "containerPort": PORT}],
        "resources": _resources(chosen, memory),
        # The trainer writes its report here; when it could not, the end of its log stands there instead.
        "terminationMessagePath": MESSAGE_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [_mount(each) for each in volumes],
    }
    return {name: value for name, value in container.items() if value not in (None, [])}


def _mount(volume: _Volume) -> Document:
    mount: Document = {"name": volume.name, "mountPath": volume.path}
    return mount if volume.name == "tmp" else {**mount, "readOnly": volume.read_only}


def _environment(order: Order, chosen: Pod) -> list[Document]:
    theirs = {variable.name: variable.value for variable in chosen.env}
    found = {**order.defaults, **theirs, **order.variables}
    return [{"name": name, "value": _literal(value)} for name, value in found.items()]


def _literal(text: str) -> str:
    """A text that reaches the container as it is: a kubelet makes $ of $$, and of $(NAME) a variable's value."""
    return text.replace("$", "$$")


def _resources(chosen: Pod, memory: str | None) -> Document:
    requests, limits = dict(chosen.resources.requests), dict(chosen.resources.limits)
    if memory is not None:
        limits["memory"] = memory
        # Kubernetes takes no request beyond the limit.
        requests["memory"] = min(requests.get("memory", memory), memory, key=quantity)
    return {name: value for name, value in (("requests", requests), ("limits", limits)) if value}
