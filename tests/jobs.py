"""The jobs of attempts as the operator makes them."""

from typing import Any

from trainer.experiment.expand import Trial
from trainer.scheduling.workload import Workload
from trialrun_operator.backends import BACKENDS
from trialrun_operator.manifests import job_parts
from trialrun_operator.names import Key
from trialrun_operator.orders import Known

PYTORCH_JOBS, TRAIN_JOBS = BACKENDS["PyTorchJob"], BACKENDS["TrainJob"]


def pytorch_job(
    work: Workload,
    key: Key,
    uid: str,
    trial: Trial,
    attempt: int,
    image: str,
    memory: str | None = None,
    known: Known | None = None,
) -> dict[str, Any]:
    """The PyTorchJob of an attempt."""
    parts = job_parts(work, key, uid, trial, attempt, PYTORCH_JOBS, image, "a-link", memory, known)
    return PYTORCH_JOBS.make(parts)[0]


def train_job(
    work: Workload,
    key: Key,
    uid: str,
    trial: Trial,
    attempt: int,
    image: str,
    memory: str | None = None,
    known: Known | None = None,
    link: str = "a-link",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The TrainJob of an attempt, and the TrainingRuntime that it refers to."""
    parts = job_parts(work, key, uid, trial, attempt, TRAIN_JOBS, image, link, memory, known)
    job, shared = TRAIN_JOBS.make(parts)
    assert shared is not None, "the template of its pods is in another object"
    return job, shared[1]
