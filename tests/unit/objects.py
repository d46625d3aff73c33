"""Builds what the operator observes: jobs and pods, as values and as the API server has them."""

import json
from typing import Any

from jobs import pytorch_job
from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit
from trainer.experiment.record import RankReport, encode_report
from trainer.scheduling.workload import Workload
from trialrun_operator import observe
from trialrun_operator.backends.pytorchjob import JOBS
from trialrun_operator.names import Key, job_name
from trialrun_operator.observe import Job, Pod, timestamp
from trialrun_operator.status_model import Status
from trialrun_operator.workload import workload
from unit.builders import START, an_experiment

KEY = Key("HyperparamSearch", "team-a", "sp500-grid")
UID = "5f0c6f0e-0000-4000-8000-000000000001"
OK = RankReport(metrics={"validMse": 0.25}, clock=START + 60_000)


def kept(status: Status) -> dict[str, Any]:
    """A status as it is written; but first whether the API server keeps all of it."""
    written = status.written()
    type(status).model_validate_json(json.dumps(written))
    return written


def a_workload(**experiment: Any) -> Workload:
    made = an_experiment(**experiment)
    document = made.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return workload(document)


def object_document(*, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """The search of `a_workload` as the API server has it."""
    made = an_experiment(**spec).model_dump(mode="json", by_alias=True, exclude_unset=True)
    metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": UID, "resourceVersion": "1", "generation": 1,
                "creationTimestamp": timestamp(START)}  # fmt: skip
    return made | {"metadata": metadata, "status": status or {}}


def a_job(trial: Trial, attempt: int = 1, **fields: Any) -> Job:
    """A job that has just been created; keywords replace fields."""
    name = job_name(KEY.name, trial.id, attempt)
    whole: dict[str, Any] = {
        "key": KEY, "uid": f"job-{name}", "name": name, "version": 1, "resource": JOBS, "link": f"job-{name}",
        "experiment_uid": UID, "trial": trial.id,
        "attempt": attempt, "created": START, "released": START, "ended": None, "message": "", "deleting": False,
        "suspended": False,
    }  # fmt: skip
    return Job(**(whole | fields))


def a_pod(trial: Trial, attempt: int = 1, rank: int = 0, **fields: Any) -> Pod:
    """A pod that waits for a node; keywords replace fields."""
    name = job_name(KEY.name, trial.id, attempt)
    whole: dict[str, Any] = {
        "key": KEY, "uid": f"pod-{name}-{rank}", "name": f"{name}-{rank}", "version": 1, "link": f"job-{name}",
        "experiment_uid": UID, "trial": trial.id, "attempt": attempt, "rank": rank, "created": START, "bound": None,
        "began": None, "started": None, "ended": None, "exit": None, "start_failure": None, "image": "",
        "deleting": False,
    }  # fmt: skip
    return Pod(**(whole | fields))


def a_running_pod(trial: Trial, attempt: int = 1, rank: int = 0, **fields: Any) -> Pod:
    began = {"bound": START + 1000, "began": START + 1000, "started": START + 2000}
    return a_pod(trial, attempt, rank, **(began | fields))


def an_ended_pod(trial: Trial, ending: RankExit | None = None, attempt: int = 1, **fields: Any) -> Pod:
    """A pod that ended; by default well, with a report."""
    ending = ending or RankExit(0, exit_code=0, report=OK)
    return a_running_pod(trial, attempt, ending.rank, **({"ended": START + 60_000, "exit": ending} | fields))


def pod_document(trial: Trial, rank: int = 0, work: Workload | None = None, **status: Any) -> dict[str, Any]:
    """The pod that the training operator makes of our job."""
    work = work or a_workload()
    job = pytorch_job(work, KEY, UID, trial, 1, "trainer:1")
    template = job["spec"]["pytorchReplicaSpecs"]["Master" if rank == 0 else "Worker"]["template"]
    kind, index = ("master", 0) if rank == 0 else ("worker", rank - 1)
    ours = {"training.kubeflow.org/replica-type": kind, "training.kubeflow.org/replica-index": str(index)}
    name = f"{job['metadata']['name']}-{kind}-{index}"
    owner = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": job["metadata"]["name"],
             "uid": "job-uid", "controller": True}  # fmt: skip
    return {
        "metadata": {
            "name": name, "namespace": KEY.namespace, "uid": f"0a0b0c-{name}", "resourceVersion": "7",
            "creationTimestamp": timestamp(START), "labels": template["metadata"]["labels"] | ours,
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
        "status": {"phase": "Pending"} | status,
    }  # fmt: skip


def observed(document: dict[str, Any]) -> Pod:
    pod = observe.pod(document)
    assert pod is not None
    return pod


def message(**report: Any) -> str:
    """A termination message."""
    return encode_report(RankReport(**({"metrics": {"validMse": 0.25}, "clock": START + 60_000} | report))).decode()
