"""csv: a file with the columns Date, the features, and Ticker where it holds several."""

import csv
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from trainer.data.errors import DataUnavailable, Mistakes
from trainer.data.series import Series
from trainer.data.sources.moments import Moments
from trainer.data.sources.table import (
    Table,
    check_columns,
    date_column,
    file_identity,
    names_of,
    needed,
    series_of,
    ticker_column,
)
from trainer.experiment.training import Data

if TYPE_CHECKING:
    from _csv import Reader

_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def identity(data: Data, cache: Path) -> dict[str, JsonValue]:  # noqa: ARG001 - all sources are called alike
    """What the file is, wherever it lies: the same file elsewhere is the same data set."""
    path = Path(str(data.path))
    return file_identity(path, data, lambda: _header(path))


def rows(data: Data, cache: Path) -> list[Series]:  # noqa: ARG001
    """The file's rows, checked cell by cell."""
    return read(Path(str(data.path)), data)


def read(path: Path, data: Data) -> list[Series]:
    """The series in a file; DataUnavailable names line and column of up to ten mistakes."""
    with _opened(path) as lines:
        return series_of(_table(path, lines, data), data)


@contextmanager
def _opened(path: Path) -> Iterator["Reader"]:
    """The file's lines; DataUnavailable where it can't be read, is no text or no CSV."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, strict=True)
            try:
                yield lines
            except csv.Error as error:
                raise DataUnavailable(
                    f"{path}: line {lines.line_num}: not CSV ({error}); correct the line"
                ) from error
    except UnicodeDecodeError as error:
        raise DataUnavailable(
            f"{path}: text in UTF-8 is required, got byte {error.object[error.start]:#04x} at {error.start}; "
            f"save the file as CSV in UTF-8"
        ) from error
    except OSError as error:
        raise DataUnavailable(f"data.path: {path} cannot be read ({error.strerror or error})") from error


def _header(path: Path) -> list[str]:
    """The names of the columns."""
    with _opened(path) as lines:
        return names_of(next(lines, []))


def _table(path: Path, lines: "Reader", data: Data) -> Table:
    wanted = needed(data)
    mistakes = Mistakes()
    header = names_of(next(lines, []))
    _require_commas(path, header)
    first = next(lines, [])
    date = date_column(path, header, wanted, lambda: dict(zip(header, first, strict=False)))
    ticker = ticker_column(path, header, wanted)
    check_columns(path, header, [date, *wanted, *([ticker] if ticker is not None else [])])
    places = [(name, header.index(name)) for name in wanted]
    date_place = header.index(date)
    ticker_place = header.index(ticker) if ticker is not None else None
    names: dict[str, str] = {}
    tickers: list[str] = []
    moments = Moments(date, mistakes)
    # Flat arrays of machine numbers: a list of Python floats would take eight times the memory.
    values, numbers = array("d"), array("q")
    for line in chain([first], lines):
        if not line:
            continue
        where = f"{path}: line {lines.line_num}"
        if len(line) != len(header):
            mistakes.add(
                f"{where}: {len(header)} cells are required, as in the header, got {len(line)}; correct the line"
            )
            continue
        numbers.append(lines.line_num)
        moments.add(line[date_place], where)
        for name, place in places:
            values.append(_number(line[place], where, name, mistakes))
        if ticker_place is not None:
            name = line[ticker_place].strip()
            if not name:
                mistakes.add(f"{where}, column {ticker}: a name is required, got an empty cell")
            tickers.append(names.setdefault(name, name))
    mistakes.settle()
    return Table(
        path=path,
        tickers=tickers if ticker_place is not None else None,
        dates=moments.dates(),
        truncated=moments.truncated,
        values=np.frombuffer(values).reshape(-1, len(wanted)),
        place=lambda row: f"line {numbers[row]}",
    )


def _require_commas(path: Path, header: list[str]) -> None:
    if len(header) != 1:
        return
    for separator, name in _OTHER_SEPARATORS.items():
        if separator in header[0]:
            raise DataUnavailable(
                f"{path}: line 1: cells must be separated by commas, found {name}; save the file with commas between "
                "cells and points in numbers"
            )


def _number(cell: str, where: str, column: str, mistakes: Mistakes) -> float:
    try:
        if "_" in cell or not cell.isascii():  # Python reads 1_00 and digits of any script
            raise ValueError
        number = float(cell)
    except ValueError:
        found = f"{cell!r}" if cell.strip() else "an empty cell"
        mistakes.add(f"{where}, column {column}: a number is required, got {found}; fill it in or delete the line")
        return 0.0
    if isinf(number) and any(letter.isdigit() for letter in cell):
        mistakes.add(f"{where}, column {column}: a number of at most 1.8e308 in size is required, got {cell!r}")
        return 0.0
    return number
