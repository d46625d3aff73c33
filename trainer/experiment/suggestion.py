"""What a learning algorithm has supplied: the points of a search in the order of their numbers. Pure.

Of two suggestions of one number the first that was written counts.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from trainer.experiment.error_messages import sentences
from trainer.experiment.record import Reported
from trainer.experiment.space import Point


class Suggestion(Reported):
    """A point to try, the `number`th of its search, known points included; `learnt_from` so many others."""

    schema_version: Literal[1] = Field(1, alias="schema")
    number: Annotated[int, Field(ge=0)]
    parameters: Annotated[Point, Field(max_length=32)]
    learnt_from: int = 0
    why: str = ""


def encode(suggestion: Suggestion) -> str:
    """Its JSON line, without a newline."""
    return suggestion.model_dump_json(by_alias=True)


def decode(line: str | bytes) -> Suggestion:
    """The suggestion that a line holds.

    Raises:
        ValueError: it holds none of a schema that this version knows.
    """
    try:
        return Suggestion.model_validate_json(line)
    except ValidationError as error:
        raise ValueError(f"not a suggestion: {next(iter(sentences(Suggestion, error)))}") from error


def in_order(suggestions: Iterable[Suggestion], first: int) -> list[Suggestion]:
    """Those whose numbers follow on `first` without a gap; of one number the first counts."""
    by_number: dict[int, Suggestion] = {}
    for each in suggestions:
        by_number.setdefault(each.number, each)
    found: list[Suggestion] = []
    while (each := by_number.get(first + len(found))) is not None:  # type: ignore[assignment]
        found.append(each)
    return found
