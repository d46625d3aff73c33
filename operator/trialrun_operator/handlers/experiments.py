"""Watches experiments, of both kinds."""

from typing import Any

import kopf

from trialrun_operator.intake import Intake
from trialrun_operator.names import KINDS


def register(registry: kopf.OperatorRegistry, intake: Intake) -> None:
    """Has `intake` hear of every experiment."""

    async def experiment_seen(event: Any, **_: Any) -> None:
        intake.experiment(event)

    for resource in KINDS.values():
        kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)(experiment_seen)
