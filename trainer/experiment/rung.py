"""An entry of the ledger about a trial that has reached a rung, and what was decided of it then. Pure."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.experiment.error_messages import decoded
from trainer.experiment.record import Reported


class RungEntry(Reported):
    """A trial had `value` of the objective at the first step that it told from `rung` on.

    Entries are numbered in the order of writing. `stop` is what was decided by the entries up to this one: its point,
    all repeats of it, is not to go on.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    number: Annotated[int, Field(ge=0)]
    trial: str
    attempt: Annotated[int, Field(ge=1)]
    rung: Annotated[int, Field(ge=0)]
    step: Annotated[int, Field(ge=0)]
    value: float
    metrics: dict[str, float] = Field(default_factory=dict, description="All that was told at the step.")
    stop: bool = False


def why(entry: RungEntry, metric: str) -> str:
    """Why a trial with this last entry was stopped."""
    return f"{metric} {entry.value:.5g} at step {entry.step} was worse than others had there (rung {entry.rung})"


def encode(entry: RungEntry) -> str:
    """Its JSON line, without a newline."""
    return entry.model_dump_json(by_alias=True)


def decode(line: str | bytes) -> RungEntry:
    """The entry that a line holds.

    Raises:
        ValueError: it holds none of a schema that this version knows.
    """
    return decoded(RungEntry, line, "a rung entry")
