"""Makes the PyTorchJob that runs one attempt at a trial. Only `observe` knows its looks too. Pure."""

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.experiment.cost import quantity
from trainer.experiment.expand import Kind, Trial
from trainer.experiment.pod import Pod
from trainer.experiment.space import Point
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.workload import Workload, one_at_a_time
from trialrun_operator.names import (
    ATTEMPT_LABEL,
    CONTAINER,
    INDEX_LABEL,
    JOBS,
    TRIAL_LABEL,
    Key,
    job_name,
    labels,
    owner,
)

TRIAL_VARIABLE = "TRIALRUN_TRIAL"
BASELINE_VARIABLE = "TRIALRUN_BASELINE"
TERMINATION_MESSAGE_PATH = "/dev/termination-log"
PORT = 23456
USER = 65532  # nobody on the machine, and the same in every image
# A pod that is told to end has nothing left to save, and a stuck one holds up its job's deletion.
_TERMINATION_SECONDS = 10

Document = dict[str, Any]


@dataclass(frozen=True)
class _Order:
    """What a container is to do: a command of the trainer, and the variable that it is told by."""

    command: str
    variable: str
    text: str


def pytorch_job(
    work: Workload,
    key: Key,
    uid: str,
    trial: Trial,
    attempt: int,
    image: str,
    memory: str | None = None,
    ran: Container[str] | None = None,
) -> Document:
    """The job of an attempt; `uid` is the experiment's, `image` what runs unless the experiment names another.

    `memory` is the limit of each of its workers, in place of the one that the experiment gives to pods. `ran` are the
    ids of trials that a baseline runs again, None for all.

    No backoffLimit and no deadline in runPolicy: with either, the training operator deletes the failed pod and with
    it the evidence (docs/decisions/0003-operator.md).
    """
    ours = labels(key, uid) | {
        TRIAL_LABEL: trial.id,
        ATTEMPT_LABEL: str(attempt),
    }
    if trial.kind is Kind.TRIAL:
        ours[INDEX_LABEL] = str(trial.index)
    chosen = work.experiment.spec.pod
    template = {
        "metadata": _metadata(chosen, ours),
        "spec": _pod_spec(work, _order(work, uid, trial, attempt, ran), trial, image, memory),
    }
    replicas = {"Master": 1} if trial.workers == 1 else {"Master": 1, "Worker": trial.workers - 1}
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {
            "name": job_name(key.name, trial.id, attempt),
            "namespace": key.namespace,
            "ownerReferences": [owner(key, uid)],
            **_metadata(chosen, ours),
        },
        "spec": {
            "runPolicy": {"cleanPodPolicy": "None"},
            "pytorchReplicaSpecs": {
                role: {"replicas": count, "restartPolicy": "Never", "template": template}
                for role, count in replicas.items()
            },
        },
    }


def _metadata(chosen: Pod, ours: dict[str, str]) -> Document:
    metadata: Document = {"labels": {**chosen.labels, **ours}}
    if chosen.annotations:
        metadata["annotations"] = dict(chosen.annotations)
    return metadata


def _pod_spec(work: Workload, order: _Order, trial: Trial, image: str, memory: str | None) -> Document:
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
    order: _Order,
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


def _environment(order: _Order, trial: Trial, chosen: Pod) -> list[Document]:
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


def _order(work: Workload, uid: str, trial: Trial, attempt: int, ran: Container[str] | None) -> _Order:
    if isinstance(work.experiment, HyperparamSearch) and trial.kind is Kind.BASELINE:
        only = None if ran is None else [each.index for each in work.trials if each.id in ran]
        if only is not None and len(only) == len(work.trials):
            only = None
        told = baseline_document(work.experiment, uid, attempt, suggested_points(work), only)
        return _Order("baseline", BASELINE_VARIABLE, told)
    return _Order("pod", TRIAL_VARIABLE, trial_document(work, uid, trial, attempt))


def baseline_document(
    search: HyperparamSearch,
    uid: str,
    attempt: int,
    suggested: Sequence[Point] = (),
    only: Sequence[int] | None = None,
) -> str:
    """The one thing a baseline's pod is told: the search as one worker at a time trains it.

    `suggested` are the points of one that learns, and `only` the indices of the trials to run, None for all.
    """
    document = one_at_a_time(search).document(sparse=True)
    for name in ("pod", "prices", "baseline"):  # which are for the cluster only, and may be long
        document["spec"].pop(name, None)
    told: Document = {"uid": uid, "attempt": attempt, "search": document}
    if suggested:
        told["suggested"] = list(suggested)
    if only is not None:
        told["only"] = list(only)
    return _json(told)


def baseline_bytes(work: Workload) -> int:
    """How long what a baseline's pod is told is at most, but for the UID and the attempt."""
    search = work.experiment
    assert isinstance(search, HyperparamSearch), "a scale test has no baseline"  # noqa: S101
    suggested = suggested_points(work)
    only = [each.index for each in work.trials] if suggested else None
    return len(baseline_document(search, "", 0, suggested, only).encode())


def suggested_points(work: Workload) -> list[Point]:
    """The points of a search that learns, but for those that its file gives."""
    if work.points is None or not isinstance(work.experiment, HyperparamSearch):
        return []
    first = len(work.experiment.spec.points)
    return [trials[0].parameters for number, trials in sorted(work.by_point.items()) if number >= first]


def trial_document(work: Workload, uid: str, trial: Trial, attempt: int) -> str:
    """The one thing a trial's pod is told: JSON with everything that its training and its report need."""
    return _json(
        {
            "experiment": work.experiment.name,
            "uid": uid,
            "kind": work.experiment.kind,
            "id": trial.id,
            "index": trial.index,
            "parameters": trial.parameters,
            "repeat": trial.repeat,
            "attempt": attempt,
            "workers": trial.workers,
            "metric": work.metric,
            "training": trial.training.portable(),
        }
    )


def _json(value: Document) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _resources(chosen: Pod, memory: str | None) -> Document:
    requests, limits = dict(chosen.resources.requests), dict(chosen.resources.limits)
    if memory is not None:
        limits["memory"] = memory
        # Kubernetes takes no request beyond the limit.
        requests["memory"] = min(requests.get("memory", memory), memory, key=quantity)
    return {name: value for name, value in (("requests", requests), ("limits", limits)) if value}
