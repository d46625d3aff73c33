"""The pod that mounts a volume for as long as files are copied.

It is restricted like a trial's and runs the trainer's image, of which only Python is used. It is deleted in the end;
left over by a client that was killed, it ends by itself once nothing has been copied for a few minutes.
"""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trainer.experiment.errors import UserError
from trainer.experiment.pod import Pod
from trainer.experiment.record import cut_error
from trainer.kubectl import QUIET_SECONDS, ask, done_by_kubectl, kubectl, meaning, spoken

MOUNTED = "/volume"
_START_SECONDS = 300.0

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
    ask(namespace, "get", "persistentvolumeclaim", claim, what=f"claim {claim}")
    name = f"trialrun-volume-{secrets.token_hex(4)}"
    manifest = json.dumps(_manifest(name, claim, chosen, writable=writable))
    ask(namespace, "create", "--filename=-", what=f"pod {name}", stdin=manifest)
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
    selected = ("--all-namespaces", "--selector=app.kubernetes.io/name=trialrun", "--output=json")
    done = done_by_kubectl(None, "get", "deployments", *selected, what="--image")
    if done.returncode and "(Forbidden)" not in done.stderr:
        raise UserError(f"the trainer's image: {meaning(done.stderr)}")
    for each in json.loads(done.stdout)["items"] if not done.returncode else ():
        for variable in each["spec"]["template"]["spec"]["containers"][0]["env"]:
            if variable["name"] == "TRIALRUN_TRAINER_IMAGE":
                return str(variable["value"])
    why = spoken(done.stderr) if done.returncode else "no operator is installed"
    raise UserError(f"--image: name the trainer's image; it could not be found out ({why})")


def _manifest(name: str, claim: str, chosen: Pod, *, writable: bool) -> dict[str, Any]:
    user = chosen.security_context  # the trials' own, so that they can read and write each other's files
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
                "runAsUser": user.run_as_user,
                "runAsGroup": user.run_as_group,
                "fsGroup": user.fs_group,
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
    begun, told = time.monotonic(), ""
    while True:
        status = json.loads(ask(namespace, "get", "pod", name, "--output=json", what=f"pod {name}"))["status"]
        if status.get("phase") == "Running":
            return
        said, hopeless = _obstacle(status)
        why = cut_error(said)
        waited = time.monotonic() - begun
        if hopeless or waited > _START_SECONDS:
            raise UserError(f"pod {name}, which copies, could not be started: {why}")
        if waited > QUIET_SECONDS and why != told:
            told = why
            print(f"waiting for pod {name}, which copies: {why}", file=sys.stderr)
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
