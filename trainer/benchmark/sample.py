"""What was measured of one treatment: a value for each run, and the runs that left none."""

from pydantic import Field

from trainer.experiment.metrics import Direction
from trainer.experiment.record import Reported
from trainer.experiment.spec import Scalar

_COUNTED = frozenset({"s", "bytes", "messages/s", "MB/s"})


class LeftOut(Reported):
    """A run without a value, and why it has none."""

    run: str
    reason: str


class Sample(Reported):
    """The independent runs of a treatment. The ranks of a run share one value: they waited for each other."""

    treatment: str = Field(min_length=1)
    parameters: dict[str, Scalar] = Field(default_factory=dict, description="What the treatment is, by path.")
    values: tuple[float, ...] = Field((), description="One per run, in the order in which they were added.")
    left_out: tuple[LeftOut, ...] = ()


class Quantity(Reported):
    """What the values of all samples measure."""

    name: str
    unit: str = ""
    better: Direction = "Minimize"

    @property
    def least(self) -> float | None:
        """Zero for what a clock or a counter measured; None for what may be below."""
        return 0.0 if self.unit in _COUNTED else None

    @property
    def titled(self) -> str:
        """The name with its unit, where it has one."""
        return f"{self.name} in {self.unit}" if self.unit else self.name
