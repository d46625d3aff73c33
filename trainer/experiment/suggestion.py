"""What a learning algorithm has supplied: the points of a search in the order of their numbers. Pure.

Of two suggestions of one number the first that was written counts.
"""

from collections.abc import Iterable
from itertools import count, takewhile
from typing import Annotated, Literal

from pydantic import Field

from trainer.experiment.error_messages import decoded
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
    return decoded(Suggestion, line, "a suggestion")


def in_order(suggestions: Iterable[Suggestion], first: int) -> list[Suggestion]:
    """Those whose numbers follow on `first` without a gap; of one number the first counts."""
    by_number: dict[int, Suggestion] = {}
    for each in suggestions:
        by_number.setdefault(each.number, each)
    return [by_number[number] for number in takewhile(by_number.__contains__, count(first))]
