"""csv: a file with the columns Date, the features, and Ticker where it holds several."""

import csv
from array import array
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

import numpy as np
from pydantic import JsonValue

from trainer.data.errors import DataUnavailable, Mistakes
from trainer.data.series import Series
from trainer.data.sources.table import (
    TICKER,
    Table,
    check_columns,
    chosen_tickers,
    column_of,
    date_column,
    file_hash,
    needed,
    series_of,
)
from trainer.experiment.training import Data

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def identity(data: Data, cache: Path) -> dict[str, JsonValue]:  # noqa: ARG001 - all sources are called alike
    """The tickers chosen and the file's SHA-256: the same file elsewhere is the same data set."""
    return {"tickers": chosen_tickers(data), "sha256": file_hash(Path(str(data.path)))}


def rows(data: Data, cache: Path) -> list[Series]:  # noqa: ARG001
    """The file's rows, checked cell by cell."""
    return read(Path(str(data.path)), data)


def read(path: Path, data: Data) -> list[Series]:
    """The series in a file; DataUnavailable names line and column of up to ten mistakes."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            return series_of(_table(path, text, data), data)
    except UnicodeDecodeError as error:
        raise DataUnavailable(
            f"{path}: text in UTF-8 is required, got byte {error.object[error.start]:#04x} at {error.start}; "
            f"save the file as CSV in UTF-8"
        ) from error
    except OSError as error:
        raise DataUnavailable(f"data.path: {path} cannot be read ({error.strerror or error})") from error


def _table(path: Path, text: TextIO, data: Data) -> Table:
    lines = csv.reader(text, strict=True)
    wanted = needed(data)
    mistakes = Mistakes()
    names: dict[str, str] = {}
    tickers: list[str] = []
    # Flat arrays of machine numbers: a list of Python floats would take eight times the memory.
    days, values, numbers = array("q"), array("d"), array("q")
    try:
        header = [name.strip() for name in next(lines, [])]
        date = date_column(path, header)
        check_columns(path, header, [date, *wanted])
        places = [(name, header.index(name)) for name in wanted]
        date_place, ticker = header.index(date), column_of(TICKER, path, header)
        ticker_place = header.index(ticker) if ticker is not None else None
        for line in lines:
            if not line:
                continue
            where = f"{path}: line {lines.line_num}"
            if len(line) != len(header):
                mistakes.add(
                    f"{where}: {len(header)} cells are required, as in the header, got {len(line)}; correct the line"
                )
                continue
            numbers.append(lines.line_num)
            days.append(_microseconds(line[date_place], where, date, mistakes))
            for name, place in places:
                values.append(_number(line[place], where, name, mistakes))
            if ticker_place is not None:
                name = line[ticker_place].strip()
                if not name:
                    mistakes.add(f"{where}, column {ticker}: a name is required, got an empty cell")
                tickers.append(names.setdefault(name, name))
    except csv.Error as error:
        raise DataUnavailable(f"{path}: line {lines.line_num}: not CSV ({error}); correct the line") from error
    mistakes.settle()
    return Table(
        path=path,
        tickers=tickers if ticker_place is not None else None,
        dates=np.frombuffer(days, np.int64).astype("datetime64[us]") if days else np.empty(0, "datetime64[us]"),
        values=np.frombuffer(values).reshape(-1, len(wanted)),
        place=lambda row: f"line {numbers[row]}",
    )


def _number(cell: str, where: str, column: str, mistakes: Mistakes) -> float:
    try:
        if "_" in cell or not cell.isascii():  # Python reads 1_00 and digits of any script
            raise ValueError
        return float(cell)
    except ValueError:
        found = f"{cell!r}" if cell.strip() else "an empty cell"
        mistakes.add(f"{where}, column {column}: a number is required, got {found}; fill it in or delete the line")
        return 0.0


def _microseconds(cell: str, where: str, column: str, mistakes: Mistakes) -> int:
    """Microseconds since 1970; a time with an offset counts in UTC, one without as it stands."""
    try:
        moment = datetime.fromisoformat(cell.strip())
    except ValueError:
        mistakes.add(f"{where}, column {column}: a date such as 2024-01-31 is required, got {cell!r}; correct it")
        return 0
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
