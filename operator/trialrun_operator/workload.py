"""The workload of an object of the API server. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.load import load
from trainer.experiment.spec import ScaleTest
from trainer.scheduling import workload as scheduling
from trialrun_operator.manifests import baseline_bytes
from trialrun_operator.names import MAX_ATTEMPT

# The kernel takes no environment variable of more than 128 KiB.
MAX_ORDER_BYTES = 120_000
ON_ONE_MACHINE = (
    "spec.program: must be left out on a cluster; run the file on one machine with `python -m trainer run FILE`, or "
    "build an image whose entrypoint is the program (docs/bring-your-own-trainer.md)"
)


def workload(document: Mapping[str, Any]) -> scheduling.Workload:
    """The workload, with what measures the floors of a scale test's cells, and a search's baseline.

    A search whose baseline can't be told to a pod has none.

    Raises:
        InvalidExperiment: with all mistakes found.
    """
    experiment = load(document)
    if experiment.spec.program is not None:
        raise InvalidExperiment([ON_ONE_MACHINE])
    work = replace(scheduling.workload(experiment), most_attempts=MAX_ATTEMPT)
    if isinstance(experiment, ScaleTest):
        return replace(work, floors=scheduling.floor_trials(experiment, work.trials))
    if baseline_bytes(experiment) > MAX_ORDER_BYTES:
        return work
    return replace(work, baseline=scheduling.baseline_trial(experiment, work.trials))
