"""The figures an objective can name: which task measures them and which direction is better."""

import re
from dataclasses import dataclass
from typing import Literal

from trainer.experiment.training import Task

Direction = Literal["Minimize", "Maximize"]


@dataclass(frozen=True)
class Metric:
    """`task` is None for a figure of trials of any task; `part` says where a record keeps it.

    `source` is the only source whose trials have it, None for a figure that does not depend on that.
    """

    better: Direction
    task: Task | None
    part: Literal["metrics", "seconds"]
    source: str | None = None


# Test metrics are recorded too, but choosing by them would spoil them, so no objective names one.
OBJECTIVES: dict[str, Metric] = {
    "validMse": Metric("Minimize", "Regression", "metrics"),
    "validMae": Metric("Minimize", "Regression", "metrics"),
    "validR2": Metric("Maximize", "Regression", "metrics"),
    "validLogLoss": Metric("Minimize", "Classification", "metrics"),
    "validAccuracy": Metric("Maximize", "Classification", "metrics"),
    "validF1": Metric("Maximize", "Classification", "metrics"),
    "loadSeconds": Metric("Minimize", None, "metrics", "kafka"),
    "dataSeconds": Metric("Minimize", None, "seconds"),
    "trainSeconds": Metric("Minimize", None, "seconds"),
    "totalSeconds": Metric("Minimize", None, "seconds"),
}


def better(metric: str) -> Direction | None:
    """Which way a metric of ours improves, one of the test samples too; None of a metric that is not known."""
    known = OBJECTIVES.get(metric) or OBJECTIVES.get(re.sub("^test", "valid", metric))
    return None if known is None else known.better


# Why a part of the data may have no value of a metric, though the others of that part were measured.
UNDEFINED_BECAUSE: dict[str, str] = {
    f"{part}{metric}": because.format(part=name)
    for metric, because in {
        "R2": "the {part} target is constant, so R², which compares errors with how it varies, has no meaning",
        "F1": "class 1 does not occur among the {part} samples, so F1, which is about finding it, has no meaning",
    }.items()
    for part, name in (("valid", "validation"), ("test", "test"))
}
