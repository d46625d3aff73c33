"""Watches the PyTorchJobs of experiments."""

from typing import Any

import kopf

from trialrun_operator.intake import Intake
from trialrun_operator.names import JOBS


def register(registry: kopf.OperatorRegistry, intake: Intake) -> None:
    """Has `intake` hear of every job that has the labels of an experiment."""

    async def job_seen(event: Any, **_: Any) -> None:
        intake.job(event)

    kopf.on.event(JOBS.group, JOBS.version, JOBS.plural, registry=registry)(job_seen)
