"""The pod of a trial: what its experiment chose, and restrictions that nothing can lift. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.experiment.code import path as path_of
from trainer.experiment.cost import quantity
from trainer.experiment.expand import Trial
from trainer.experiment.pod import Pod, PodVariable
from trainer.scheduling.workload import Workload
from trialrun_operator.orders import CODE, DATA, FILES, MESSAGE_PATH, OUTPUT, Code, Order

# A pod that is told to end has nothing left to save, and a stuck one holds up its job's deletion.
_TERMINATION_SECONDS = 10
_EXECUTABLE = 0o555  # code may be a script that is run by its name

Document = dict[str, Any]


@dataclass(frozen=True)
class _Mount:
    """A volume and where it is mounted.

    A claim is one volume, however often it is mounted: of two, a kubelet mounts one and waits for the other for ever.
    """

    volume: str
    path: str
    source: Document
    read_only: bool = False
    sub_path: str | None = None


def pod_spec(
    work: Workload,
    order: Order,
    trial: Trial,
    image: str,
    memory: str | None,
    container: str,
    code: Code | None = None,
    files: str | None = None,
) -> Document:
    """The spec of each of an attempt's pods; `memory` is its limit in place of the experiment's.

    `container` is what its container is called. `files` is the ConfigMap of the files that it is told by, None where
    it is told by none.
    """
    chosen = work.experiment.spec.pod
    security = chosen.security_context
    mounts = _mounts(chosen, code, files)
    spec: Document = {
        "activeDeadlineSeconds": work.deadline_of(trial),
        "terminationGracePeriodSeconds": _TERMINATION_SECONDS,
        "serviceAccountName": chosen.service_account_name,
        "automountServiceAccountToken": chosen.service_account_name is not None,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": security.run_as_user,
            "runAsGroup": security.run_as_group,
            "fsGroup": security.fs_group,
            "fsGroupChangePolicy": "OnRootMismatch",  # otherwise every pod's start walks through the whole volume
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{"name": container, **_container(chosen, order, image, memory, mounts)}],
        "volumes": _volumes(mounts),
        "imagePullSecrets": [{"name": secret.name} for secret in chosen.image_pull_secrets],
        "nodeSelector": dict(chosen.node_selector),
        "tolerations": [toleration.as_written() for toleration in chosen.tolerations],
        "affinity": chosen.affinity.as_written(),
        "priorityClassName": chosen.priority_class_name,
        "runtimeClassName": chosen.runtime_class_name,
    }
    return {name: value for name, value in spec.items() if value not in (None, {}, [])}


def _mounts(chosen: Pod, code: Code | None, files: str | None) -> list[_Mount]:
    claims: dict[str, str] = {}  # by its name, the volume that a claim is

    def claim(volume: str, path: str, name: str, read_only: bool, sub_path: str | None = None) -> _Mount:
        source = {"persistentVolumeClaim": {"claimName": name}}
        return _Mount(claims.setdefault(name, volume), path, source, read_only, sub_path)

    found = [_Mount("tmp", "/tmp", {"emptyDir": {}})]  # noqa: S108 - in the pod
    if chosen.data_claim is not None:
        found.append(claim("data", DATA, chosen.data_claim, read_only=True))
    if chosen.output_claim is not None:
        found.append(claim("output", OUTPUT, chosen.output_claim, read_only=False))
    if code is not None:
        items = [{"key": key, "path": path_of(key)} for key in code.keys]
        source: Document = {"configMap": {"name": code.name, "items": items, "defaultMode": _EXECUTABLE}}
        found.append(_Mount("code", CODE, source, read_only=True))
    if files is not None:
        found.append(_Mount("files", FILES, {"configMap": {"name": files}}, read_only=True))
    for i, each in enumerate(chosen.volumes):
        volume, path, below = f"volume-{i}", each.mount_path, each.sub_path
        if each.claim is not None:
            found.append(claim(volume, path, each.claim, each.read_only, below))
        elif each.empty_dir is not None:
            found.append(_Mount(volume, path, {"emptyDir": each.empty_dir.as_written()}, each.read_only, below))
        elif each.config_map is not None:
            found.append(_Mount(volume, path, {"configMap": {"name": each.config_map}}, True, below))
        else:
            found.append(_Mount(volume, path, {"secret": {"secretName": each.secret}}, True, below))
    return found


def _volumes(mounts: Sequence[_Mount]) -> list[Document]:
    found = []
    for name, source in {each.volume: each.source for each in mounts}.items():
        if (claim := source.get("persistentVolumeClaim")) is not None:
            read_only = all(each.read_only for each in mounts if each.volume == name)
            source = {"persistentVolumeClaim": {**claim, "readOnly": read_only}}
        found.append({"name": name, **source})
    return found


def _container(chosen: Pod, order: Order, image: str, memory: str | None, mounts: Sequence[_Mount]) -> Document:
    container: Document = {
        "image": chosen.image or image,
        "imagePullPolicy": chosen.image_pull_policy,
        # The entrypoint is the image's: a trainer of one's own takes the same order. A program takes its place.
        "command": [_literal(word) for word in order.command],
        "args": list(order.args),
        "workingDir": order.folder,
        "env": _environment(order, chosen),
        "envFrom": [each.as_written() for each in chosen.env_from],
        "resources": _resources(chosen, memory),
        # The trainer writes its report here; when it could not, the end of its log stands there instead.
        "terminationMessagePath": MESSAGE_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": chosen.security_context.read_only_root_filesystem,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [_mount(each) for each in mounts],
    }
    return {name: value for name, value in container.items() if value not in (None, [])}


def _mount(mount: _Mount) -> Document:
    found: Document = {"name": mount.volume, "mountPath": mount.path}
    if mount.sub_path is not None:
        found["subPath"] = mount.sub_path
    return found if mount.volume == "tmp" else {**found, "readOnly": mount.read_only}


def _environment(order: Order, chosen: Pod) -> list[Document]:
    theirs = {each.name: _value(each) for each in chosen.env}
    found = {**_plain(order.defaults), **theirs, **_plain(order.variables)}
    return [{"name": name, **value} for name, value in found.items()]


def _plain(variables: Mapping[str, str]) -> dict[str, Document]:
    return {name: {"value": _literal(text)} for name, text in variables.items()}


def _value(variable: PodVariable) -> Document:
    if variable.value_from is None:
        return {"value": _literal(variable.value)}
    return {"valueFrom": variable.value_from.as_written()}


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
