"""The pod of a trial: what its experiment chose, and restrictions that nothing can lift. Pure."""

from typing import Any

from trainer.experiment.cost import quantity
from trainer.experiment.expand import Trial
from trainer.experiment.pod import Pod
from trainer.scheduling.workload import Workload
from trialrun_operator.names import CONTAINER
from trialrun_operator.orders import Order

TERMINATION_MESSAGE_PATH = "/dev/termination-log"
PORT = 23456
USER = 65532  # nobody on the machine, and the same in every image
# A pod that is told to end has nothing left to save, and a stuck one holds up its job's deletion.
_TERMINATION_SECONDS = 10

Document = dict[str, Any]


def pod_spec(work: Workload, order: Order, trial: Trial, image: str, memory: str | None) -> Document:
    """The spec of each of an attempt's pods; `memory` is its limit in place of the experiment's."""
    chosen = work.experiment.spec.pod
    claims = {"data": (chosen.data_claim, "/data", True), "output": (chosen.output_claim, "/output", False)}
    mounted = {name: claim for name, claim in claims.items() if claim[0] is not None}
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
        "containers": [_container(chosen, order, trial, image, memory, mounted)],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            *(
                {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}}
                for name, (claim, _, read_only) in mounted.items()
            ),
        ],
        "imagePullSecrets": [{"name": secret.name} for secret in chosen.image_pull_secrets],
        "nodeSelector": dict(chosen.node_selector),
        "tolerations": [toleration.as_written() for toleration in chosen.tolerations],
        "affinity": chosen.affinity.as_written(),
        "priorityClassName": chosen.priority_class_name,
        "runtimeClassName": chosen.runtime_class_name,
    }
    return {name: value for name, value in spec.items() if value not in (None, {}, [])}


def _container(
    chosen: Pod,
    order: Order,
    trial: Trial,
    image: str,
    memory: str | None,
    mounted: dict[str, tuple[str | None, str, bool]],
) -> Document:
    return {
        "name": CONTAINER,
        "image": chosen.image or image,
        "imagePullPolicy": chosen.image_pull_policy,
        "args": [order.command],  # the entrypoint is the image's: a trainer of one's own takes the same order
        "env": _environment(order, trial, chosen),
        "ports": [{"name": "pytorchjob-port", "containerPort": PORT}],
        "resources": _resources(chosen, memory),
        # The trainer writes its report here; when it could not, the end of its log stands there instead.
        "terminationMessagePath": TERMINATION_MESSAGE_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod
            *(
                {"name": name, "mountPath": path, "readOnly": read_only}
                for name, (_, path, read_only) in mounted.items()
            ),
        ],
    }


def _environment(order: Order, trial: Trial, chosen: Pod) -> list[Document]:
    threads = str(trial.training.train.threads)
    ours = {
        order.variable: order.text,
        # Read when torch and numpy are imported; unset, each would start a thread for every CPU of the node.
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "HOME": "/tmp",  # noqa: S108 - in the pod
    }
    theirs = {variable.name: variable.value for variable in chosen.env}
    # A kubelet makes $ of $$, and puts another variable's value in place of $(NAME).
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in (theirs | ours).items()]


def _resources(chosen: Pod, memory: str | None) -> Document:
    requests, limits = dict(chosen.resources.requests), dict(chosen.resources.limits)
    if memory is not None:
        limits["memory"] = memory
        # Kubernetes takes no request beyond the limit.
        requests["memory"] = min(requests.get("memory", memory), memory, key=quantity)
    return {name: value for name, value in (("requests", requests), ("limits", limits)) if value}
