"""The kinds of job that trials run as: the mark of tests that run over each, and what of their pods differs."""

import pytest

from cluster.api import Json
from trialrun_operator.backends import BACKENDS

PYTORCH_JOBS, TRAIN_JOBS = BACKENDS["PyTorchJob"], BACKENDS["TrainJob"]
# Others run over PyTorchJobs alone; these ask for something that could differ.
over_both = pytest.mark.parametrize("backend", list(BACKENDS), indirect=True)


def rank_of(pod: Json) -> int:
    labels = pod["metadata"]["labels"]
    if (index := labels.get("batch.kubernetes.io/job-completion-index")) is not None:
        return int(index)
    if labels["training.kubeflow.org/replica-type"] == "master":
        return 0
    return 1 + int(labels["training.kubeflow.org/replica-index"])


def job_of(pod: Json) -> str:
    """The name of the job whose pod this is."""
    labels = pod["metadata"]["labels"]
    name: str = labels.get("jobset.sigs.k8s.io/jobset-name") or labels["training.kubeflow.org/job-name"]
    return name
