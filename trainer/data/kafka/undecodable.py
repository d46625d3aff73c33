"""The error of a message that is no sample, and how much of a message an error shows."""

import json
from typing import Any

from trainer.experiment.record import cut_error

_MOST_CHARACTERS = 300
_MOST_SHOWN = 80


class Undecodable(Exception):
    """A message that is not what `data` says; the text says what is wrong with it, in up to 300 characters.

    `row` is its place among those that were decoded together.
    """

    def __init__(self, reason: str, row: int = 0) -> None:
        printable = "".join(each if each.isprintable() else "." for each in reason)
        super().__init__(cut_error(printable, _MOST_CHARACTERS))
        self.row = row


def shown(value: Any) -> str:
    """A value of a message for an error: up to 80 characters, and no secret of a known form."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 8 * _MOST_SHOWN:
        return f"a whole number of {value.bit_length():,} bits"  # Python refuses to write out longer ones
    return cut_error(json.dumps(value, default=str), _MOST_SHOWN)


def reason_of(error: BaseException) -> str:
    """What a parser says of bytes that it can't read. It may repeat them, so only its beginning is kept."""
    text = " ".join(str(error).split())[:_MOST_SHOWN]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
