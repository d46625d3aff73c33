"""Makes the job that runs one attempt at a trial, and what it needs beside: files to mount, a template. Pure."""

from collections.abc import Mapping
from typing import Any

from trainer.experiment import code
from trainer.experiment.expand import Kind, Trial
from trainer.scheduling.workload import Workload
from trialrun_operator.backends.backend import Backend, Parts
from trialrun_operator.names import (
    ATTEMPT_LABEL,
    CONFIG_MAPS,
    EXPERIMENT_LABEL,
    IN_IMAGE,
    INDEX_LABEL,
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


def job_parts(
    work: Workload,
    key: Key,
    uid: str,
    trial: Trial,
    attempt: int,
    backend: Backend,
    image: str,
    link: str,
    memory: str | None = None,
    known: Known | None = None,
) -> Parts:
    """What the job of an attempt is made of; `uid` is the experiment's, `link` a text that no other job has.

    `image` is what runs unless the experiment names another. `memory` is the limit of each of its workers, in place
    of the one that the experiment gives to pods. `known` is what the cluster tells of the experiment beside that.
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
    return Parts(
        metadata={
            "name": job_name(key.name, trial.id, attempt),
            "namespace": key.namespace,
            "ownerReferences": [owner(key, uid)],
        },
        labels=ours,
        chosen={"labels": chosen.labels, "annotations": chosen.annotations},
        pod=pod_spec(work, told, trial, image, memory, backend.container, known.code, files),
        workers=trial.workers,
        told=frozenset(told.variables),
        processes=None if program is None else program.processes_per_worker,
        link=link,
        queue=work.experiment.spec.queue,
    )


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
