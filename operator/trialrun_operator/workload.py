"""The workload of an object of the API server. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trainer.experiment.load import load
from trainer.experiment.spec import ScaleTest
from trainer.scheduling import workload as scheduling
from trialrun_operator.names import MAX_ATTEMPT


def workload(document: Mapping[str, Any]) -> scheduling.Workload:
    """The workload, with what measures the floors of its cells.

    Raises:
        InvalidExperiment: with all mistakes found.
    """
    experiment = load(document)
    work = scheduling.workload(experiment)
    floors = scheduling.floor_trials(experiment, work.trials) if isinstance(experiment, ScaleTest) else ()
    return replace(work, floors=floors, most_attempts=MAX_ATTEMPT)
