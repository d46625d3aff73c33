"""Dates and times as text, in CSV and in columns of text in Parquet: ISO 8601, and nothing that is ambiguous."""

import re
from array import array
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from trainer.data.errors import Mistakes

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Python's parser takes any sign between date and time, so that it finds a time in 1612010800000 and a zone's in
# 2020-01-01-05:00.
_ISO = re.compile(r"\d{4}(?:(-?)\d\d\1\d\d|-?W\d\d(?:-?\d)?)(?:[Tt ]\d\d[:\d]*(?:[.,]\d{1,6}(\d*))?\S*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?", re.ASCII)
_EITHER = re.compile(r"\d{1,2}[/. -]\d{1,2}[/. -]\d{2,4}\b.*", re.ASCII)


def microseconds(text: str) -> tuple[int, bool, bool]:
    """Microseconds since 1970, whether an offset from UTC was given, and whether digits beyond them were left off.

    A time with an offset counts in UTC, one without as it stands. Eight digits are a year, month and day.
    ValueError where it is no such date.
    """
    text = text.strip()
    form = _ISO.fullmatch(text)
    if form is None:
        raise ValueError(text)
    moment = datetime.fromisoformat(text)
    zoned = moment.tzinfo is not None
    since = (moment if zoned else moment.replace(tzinfo=UTC)) - _EPOCH
    return since // _MICROSECOND, zoned, bool((form[2] or "").strip("0"))


def looks_like_date(text: str) -> bool:
    """Whether it can be nothing but a date; eight digits can."""
    try:
        microseconds(text)
    except ValueError:
        return False
    return _NUMBER.fullmatch(text.strip()) is None


class Moments:
    """A column of dates, gathered cell by cell. `truncated` says that some were finer than a microsecond."""

    def __init__(self, column: str, mistakes: Mistakes) -> None:
        self.truncated = False
        self._column, self._mistakes = column, mistakes
        # A flat array of machine numbers: a list of Python's would take five times the memory.
        self._found = array("q")
        self._first: tuple[str, bool] | None = None

    def add(self, cell: str, where: str) -> None:
        """Read one more cell; a mistake names it by `where`."""
        try:
            moment, zoned, truncated = microseconds(cell)
        except ValueError:
            self._mistakes.add(
                f"{where}, column {self._column}: a date such as 2024-01-31 is required, got {cell!r}{_doubt(cell)}; "
                "correct it"
            )
            self._found.append(0)
            return
        if self._first is None:
            self._first = where, zoned
        elif self._first[1] != zoned:
            self._mistakes.add(
                f"{where}, column {self._column}: times must all have an offset from UTC or all have none, got "
                f"{cell!r} and {self._first[0]} {'without' if zoned else 'with'} one; write all of them in UTC"
            )
        self.truncated |= truncated
        self._found.append(moment)

    def dates(self) -> NDArray[np.datetime64]:
        """datetime64[us], one per cell."""
        return np.array(self._found, np.int64).astype("datetime64[us]")


def _doubt(cell: str) -> str:
    """Why it is not guessed what a cell means, as the end of a sentence's part."""
    text = cell.strip()
    if _NUMBER.fullmatch(text):
        return ", a number that could count days, seconds or milliseconds"
    return ", whose day and month could be either" if _EITHER.fullmatch(text) else ""
