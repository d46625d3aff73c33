"""What a search learns of a point that it has tried: the value that its trials came to, or that it failed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trainer.experiment import moments
from trainer.experiment.best import objective_reader
from trainer.experiment.bounds import Constraint
from trainer.experiment.constraints import figure, violations
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import UNBLAMED, Outcome
from trainer.experiment.record import Record
from trainer.experiment.space import Point
from trainer.experiment.spec import Objective

_FAILED = (1.0,)


@dataclass(frozen=True)
class Lesson:
    """What a search knows of a point: `value` is its objective, None while it runs or where it failed.

    Of `violations` those above 0 are broken constraints; that it failed is one as well. Without value and violation
    nothing was learnt of it but that it was tried.
    """

    number: int
    parameters: Point
    value: float | None = None
    violations: tuple[float, ...] = ()
    running: bool = False

    @property
    def broke(self) -> bool:
        """Whether it failed or broke a constraint."""
        return any(each > 0 for each in self.violations)


def lesson(
    number: int,
    trials: Sequence[Trial],
    latest: Mapping[str, Record],
    objective: Objective,
    constraints: Sequence[Constraint],
) -> Lesson:
    """What is known of the `number`th point, whose repeats are `trials`, by the latest record of each.

    A stopped trial counts with the last value that it told.
    """
    parameters = trials[0].parameters
    records = [record for trial in trials if (record := latest.get(trial.id)) is not None and record.final]
    if len(records) < len(trials):
        return Lesson(number, parameters, running=True)
    if any(record.outcome in UNBLAMED for record in records):
        return Lesson(number, parameters)
    read = objective_reader(objective.metric)
    values = [value for record in records if (value := _value(record, objective.metric, read(record))) is not None]
    if len(values) < len(records):
        return Lesson(number, parameters, violations=_FAILED)
    return Lesson(number, parameters, moments.mean(values), violations(constraints, records))


def _value(record: Record, metric: str, of_success: float | None) -> float | None:
    return figure(record, metric) if record.outcome is Outcome.STOPPED else of_success


def as_json(known: Lesson) -> dict[str, Any]:
    """The lesson as a JSON object, by its own names."""
    return asdict(known)


def from_json(fields: Mapping[str, Any]) -> Lesson:
    """The lesson that `as_json` made an object of."""
    return Lesson(**{**fields, "violations": tuple(fields["violations"])})
