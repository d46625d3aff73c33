"""The kinds of job that can run a trial, each in a module of its own; nothing else knows their looks. Pure."""

from collections.abc import Collection, Mapping
from typing import Any

from trialrun_operator.backends.backend import Backend, controller
from trialrun_operator.backends.pytorchjob import PyTorchJobs
from trialrun_operator.backends.trainjob import TrainJobs

# In the order in which `spec.backend: Auto` prefers them.
BACKENDS: Mapping[str, Backend] = {backend.jobs.kind: backend for backend in (PyTorchJobs(), TrainJobs())}
AUTO = "Auto"


def choose(wanted: str, there: Collection[str]) -> Backend | None:
    """The backend that `spec.backend` asks for, if it is among the kinds that are `there`; None otherwise."""
    return next((BACKENDS[kind] for kind in BACKENDS if kind in there and wanted in (AUTO, kind)), None)


def backend_of_pod(document: Mapping[str, Any]) -> Backend | None:
    """The backend whose job a pod belongs to; None where it is no job's."""
    owner = controller(document["metadata"])
    return next((backend for backend in BACKENDS.values() if owner is not None and backend.owns(owner)), None)
