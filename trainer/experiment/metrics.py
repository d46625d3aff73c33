"""The figures an objective can name: which task measures them and which direction is better."""

from dataclasses import dataclass
from typing import Literal

from trainer.experiment.training import Task

Direction = Literal["Minimize", "Maximize"]


@dataclass(frozen=True)
class Metric:
    """`task` is None for a figure of trials of any task; `part` says where a record keeps it.

    `source` is the only source whose trials have it, None for a figure that does not depend on that. `undefined` says
    when a trial that measured the others has no such figure.
    """

    better: Direction
    task: Task | None
    part: Literal["metrics", "seconds"]
    source: str | None = None
    undefined: str = ""


# Test metrics are recorded too, but choosing by them would spoil them, so no objective names one.
OBJECTIVES: dict[str, Metric] = {
    "validMse": Metric("Minimize", "Regression", "metrics"),
    "validMae": Metric("Minimize", "Regression", "metrics"),
    "validR2": Metric(
        "Maximize",
        "Regression",
        "metrics",
        undefined="the validation target is constant, and R² compares errors with its spread; choose validMse or "
        "validMae, or data whose target varies",
    ),
    "validLogLoss": Metric("Minimize", "Classification", "metrics"),
    "validAccuracy": Metric("Maximize", "Classification", "metrics"),
    "validF1": Metric("Maximize", "Classification", "metrics"),
    "loadSeconds": Metric("Minimize", None, "metrics", "kafka"),
    "dataSeconds": Metric("Minimize", None, "seconds"),
    "trainSeconds": Metric("Minimize", None, "seconds"),
    "totalSeconds": Metric("Minimize", None, "seconds"),
}
