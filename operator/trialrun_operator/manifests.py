"""Makes the PyTorchJob that runs one attempt at a trial, and the ConfigMaps of files that its pods mount.

Only `observe` knows the looks of a job too. Pure.
"""

from collections.abc import Mapping
from typing import Any

from trainer.experiment import code
from trainer.experiment.expand import Kind, Trial
from trainer.experiment.pod import Pod
from trainer.scheduling.workload import Workload
from trialrun_operator.names import (
    ATTEMPT_LABEL,
    CONFIG_MAPS,
    EXPERIMENT_LABEL,
    IN_IMAGE,
    INDEX_LABEL,
    JOBS,
    KIND_LABEL,
    PART_OF,
    PROGRAM_LABEL,
    TRIAL_LABEL,
    Key,
    files_name,
    job_name,
    labels,
    owner,
)
from trialrun_operator.orders import Known, order
from trialrun_operator.pod_template import pod_spec

Document = dict[str, Any]


def pytorch_job(
    work: Workload,
    key: Key,
    uid: str,
    trial: Trial,
    attempt: int,
    image: str,
    memory: str | None = None,
    known: Known | None = None,
) -> Document:
    """The job of an attempt; `uid` is the experiment's, `image` what runs unless the experiment names another.

    `memory` is the limit of each of its workers, in place of the one that the experiment gives to pods. `known` is
    what the cluster tells of the experiment beside that.

    No backoffLimit and no deadline in runPolicy: with either, the training operator deletes the failed pod and with
    it the evidence (docs/decisions/0003-operator.md).
    """
    known = known or Known()
    ours = labels(key, uid) | {
        TRIAL_LABEL: trial.id,
        ATTEMPT_LABEL: str(attempt),
    }
    if trial.kind is Kind.TRIAL:
        ours[INDEX_LABEL] = str(trial.index)
    chosen, program = work.experiment.spec.pod, work.experiment.spec.program
    if program is not None:
        ours[PROGRAM_LABEL] = IN_IMAGE if known.code is None else known.code.digest
    told = order(work, uid, trial, attempt, known)
    files = files_name(key, uid, code.digest(told.files)) if told.files else None
    template = {
        "metadata": _metadata(chosen, ours),
        "spec": pod_spec(work, told, trial, image, memory, known.code, files),
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
            # Unset, the training operator tells torchrun to start as many as there are GPUs or CPUs.
            **({} if program is None else {"nprocPerNode": str(program.processes_per_worker)}),
            "pytorchReplicaSpecs": {
                role: {"replicas": count, "restartPolicy": "Never", "template": template}
                for role, count in replicas.items()
            },
        },
    }


def config_map(
    work: Workload, key: Key, uid: str, trial: Trial, attempt: int, known: Known | None = None
) -> Document | None:
    """The ConfigMap of the files that an attempt's pods are told by; None where they are told by none."""
    if trial.kind is not Kind.BASELINE:  # an order is not made twice for each of thousands
        return None
    files = order(work, uid, trial, attempt, known or Known()).files
    return unchanging(key, uid, files_name(key, uid, code.digest(files)), code.config_map(files)) if files else None


def unchanging(key: Key, uid: str, name: str, content: Mapping[str, Any]) -> Document:
    """A ConfigMap of an experiment's that nobody changes; `content` are its `data` and `binaryData`.

    It has no UID's label: whoever lists a ledger has no use for it, and it may be large.
    """
    return {
        "apiVersion": CONFIG_MAPS.api_version,
        "kind": CONFIG_MAPS.kind,
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": {PART_OF: "trialrun", EXPERIMENT_LABEL: key.name, KIND_LABEL: key.kind},
            "ownerReferences": [owner(key, uid)],
        },
        "immutable": True,
        **content,
    }


def _metadata(chosen: Pod, ours: dict[str, str]) -> Document:
    metadata: Document = {"labels": {**chosen.labels, **ours}}
    if chosen.annotations:
        metadata["annotations"] = dict(chosen.annotations)
    return metadata
