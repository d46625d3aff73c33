"""The pod that mounts a volume for as long as files are copied.

It is restricted like a trial's and runs the trainer's image, of which only Python is used. It is deleted in the end;
left over by a client that was killed, it ends by itself once nothing has been copied for a few minutes.
"""

import json
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trainer.experiment.errors import UserError
from trainer.experiment.pod import Pod

MOUNTED = "/volume"
_USER = 65532  # as trials have it, so that they can read and write each other's files
_START_SECONDS = 300.0
_KUBECTL_SECONDS = 60.0

# What the pod runs until it is deleted: it ends by itself when nothing was copied for ten minutes.
_WAIT = """
import os, time
open("/tmp/alive", "w").close()
while time.time() - os.stat("/tmp/alive").st_mtime < 600:
    time.sleep(1)
"""


@contextmanager
def mounted(claim: str, namespace: str | None, chosen: Pod, *, writable: bool = False) -> Iterator[str]:
    """The name of a pod that mounts the volume of `claim` at `MOUNTED` and lives as long as the context.

    `chosen` says which image it runs and where.

    Raises:
        UserError: there is no such claim, or the pod could not be started; the sentence says why.
    """
    _asked(namespace, "get", "persistentvolumeclaim", claim, what=f"claim {claim}")
    name = f"trialrun-volume-{secrets.token_hex(4)}"
    manifest = json.dumps(_manifest(name, claim, chosen, writable=writable))
    _asked(namespace, "create", "--filename=-", what=f"pod {name}", stdin=manifest)
    try:
        _await_start(name, namespace)
        yield name
    finally:
        subprocess.run(
            kubectl(namespace, "delete", "pod", name, "--ignore-not-found"), capture_output=True, check=False
        )


def trainer_image() -> str:
    """The image that the operator gives to trials.

    Raises:
        UserError: it can't be found out with the user's rights.
    """
    command = kubectl(None, "get", "deployments", "--all-namespaces", "--selector=app.kubernetes.io/name=trialrun")
    done = _done([*command, "--output=json"])
    for each in json.loads(done.stdout)["items"] if not done.returncode else ():
        for variable in each["spec"]["template"]["spec"]["containers"][0]["env"]:
            if variable["name"] == "TRIALRUN_TRAINER_IMAGE":
                return str(variable["value"])
    why = " ".join(done.stderr.split()) or "no operator is installed"
    raise UserError(f"--image: name the trainer's image; it could not be found out ({why})")


def _manifest(name: str, claim: str, chosen: Pod, *, writable: bool) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "trialrun"}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "imagePullSecrets": [{"name": secret.name} for secret in chosen.image_pull_secrets],
            "nodeSelector": dict(chosen.node_selector),
            "tolerations": [toleration.as_written() for toleration in chosen.tolerations],
            "containers": [
                {
                    "name": "volume",
                    "image": chosen.image,
                    "imagePullPolicy": chosen.image_pull_policy,
                    "command": ["python", "-c", _WAIT],
                    "resources": {
                        "requests": {"cpu": "50m", "memory": "64Mi"},
                        "limits": {"memory": "256Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod
                        {"name": "volume", "mountPath": MOUNTED, "readOnly": not writable},
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "volume", "persistentVolumeClaim": {"claimName": claim, "readOnly": not writable}},
            ],
        },
    }


def _await_start(name: str, namespace: str | None) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        status = json.loads(_asked(namespace, "get", "pod", name, "--output=json", what=f"pod {name}"))["status"]
        if status.get("phase") == "Running":
            return
        why, hopeless = _obstacle(status)
        if hopeless or time.monotonic() > deadline:
            raise UserError(f"pod {name}, which copies, could not be started: {why}")
        time.sleep(0.5)


def _obstacle(status: Mapping[str, Any]) -> tuple[str, bool]:
    """Why a pod doesn't run, and whether waiting can't help."""
    if status.get("phase") in ("Failed", "Succeeded"):
        return f"it ended at once: {status.get('message') or status.get('containerStatuses')}", True
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason", "ContainerCreating") != "ContainerCreating":
            hopeless = waiting["reason"] in ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
            return f"{waiting['reason']}: {waiting.get('message', '')}", hopeless
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason')}: {condition.get('message')}", False
    return "it is still being started", False


def _asked(namespace: str | None, *arguments: str, what: str, stdin: str | None = None) -> str:
    done = _done(kubectl(namespace, *arguments), stdin)
    if done.returncode:
        raise UserError(f"{what}: {' '.join(done.stderr.split())}")
    return done.stdout


def _done(command: list[str], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=_KUBECTL_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise UserError("kubectl: is needed on the PATH, found none; install it") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"kubectl: the cluster did not answer within {_KUBECTL_SECONDS:.0f} s") from error


def kubectl(namespace: str | None, *arguments: str) -> list[str]:
    """A kubectl command; without a namespace, in the one that kubectl uses."""
    verb, *rest = arguments
    return ["kubectl", verb, *([f"--namespace={namespace}"] if namespace else []), *rest]
