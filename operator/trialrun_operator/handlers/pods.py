"""Watches the pods of experiments."""

from typing import Any

import kopf

from trialrun_operator.intake import Intake
from trialrun_operator.names import PODS


def register(registry: kopf.OperatorRegistry, intake: Intake) -> None:
    """Has `intake` hear of every pod that has the labels of an experiment."""

    async def pod_seen(event: Any, **_: Any) -> None:
        intake.pod(event)

    kopf.on.event(PODS.group, PODS.version, PODS.plural, registry=registry)(pod_seen)
