"""Rows of a table of several tickers become one series each: chosen, in order of time, without gaps or repeats."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from trainer.data.errors import DataUnavailable, Mistakes
from trainer.data.series import Series, date_text
from trainer.data.sources.moments import looks_like_date
from trainer.experiment.training import Data

# A column's own name, then the others that it may go by where just one of them is there.
DATE, TICKER = ("Date", "Datetime", "Timestamp", "Time", "Day"), ("Ticker", "Symbol")
# What an index without a name is called by pandas: in CSV, read from CSV once more, and in Parquet.
_UNNAMED = ("", "Unnamed: 0", "__index_level_0__", "index")


@dataclass(frozen=True)
class Table:
    """A file's rows in the order of the file.

    tickers: a name for each row, or None where the file has no such column. dates: datetime64[us] [rows]. truncated:
    whether some were finer. values: float64 [rows, needed(data)], a gap as NaN. place(r): where a user finds row r.
    """

    path: Path
    tickers: Sequence[str] | None
    dates: NDArray[np.datetime64]
    truncated: bool
    values: NDArray[np.float64]
    place: Callable[[int], str]


def needed(data: Data) -> list[str]:
    """The columns to read: the features, then the target where it is not one of them."""
    return [*data.columns, *({data.target} - set(data.columns))]


def names_of(header: Sequence[str]) -> list[str]:
    """The columns' names without blanks around them, nor the marks of byte order that joined files have left."""
    return [name.strip().strip("\ufeff").strip() for name in header]


def check_columns(path: Path | str, found: Sequence[str], wanted: Sequence[str]) -> None:
    """DataUnavailable where a wanted column is missing or a name is there twice."""
    missing = [name for name in wanted if name not in found]
    if missing:
        spelled = {name.lower(): name for name in found}
        near = [spelled[name.lower()] for name in missing if name.lower() in spelled]
        meant = f" (capitals count: {', '.join(near)})" if near else ""
        raise DataUnavailable(
            f"{path}: columns {', '.join(wanted)} are needed, {', '.join(missing)} missing; found "
            f"{', '.join(found) or 'none'}{meant}; name the columns to use in data.columns and data.target"
        )
    twice = [name for name in wanted if list(found).count(name) > 1]
    if twice:
        raise DataUnavailable(f"{path}: column {twice[0]} must be there once, found twice; rename one of them")


def date_column(
    path: Path, found: Sequence[str], wanted: Sequence[str], first: Callable[[], Mapping[str, str]]
) -> str:
    """The column of dates, of which `first` has the first row's cells as text. DataUnavailable where there is none.

    It is none of the `wanted` unless it is called Date. An index without a name counts where it holds dates.
    """
    if (name := _column_of(DATE, "dates", path, found, wanted)) is not None:
        return name
    dated = [name for name, cell in first().items() if name not in wanted and looks_like_date(cell)]
    # In CSV a column without any name may also come of commas at the end of lines.
    unnamed = [name for place, name in enumerate(found) if name in _UNNAMED and (name or place == 0)]
    if len(unnamed) == 1 and unnamed[0] in dated:
        return unnamed[0]
    like = f" ({', '.join(dated)} {'look like dates' if dated[1:] else 'looks like dates'})" if dated else ""
    raise DataUnavailable(
        f"{path}: rows must have a date each, in a column Date, as windows are cut in order of time; found "
        f"{', '.join(found) or 'none'}; rename the column of dates to Date{like}. A plain table without dates can't "
        "be read yet; an .npz with a window of 1 can hold it"
    )


def ticker_column(path: Path, found: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The column that says whose row it is, None where there is none: then all are of one."""
    return _column_of(TICKER, "tickers", path, found, wanted)


def _column_of(
    names: tuple[str, ...], holding: str, path: Path, found: Sequence[str], wanted: Sequence[str]
) -> str | None:
    """The column by the first of `names`, else the one by another of them whatever its capitals, blanks and dashes.

    DataUnavailable where several could be meant.
    """
    if names[0] in found:
        return names[0]
    known = {name.lower() for name in names}
    others = [name for name in found if name not in wanted and re.sub(r"[\W_]", "", name).lower() in known]
    if len(others) > 1:
        raise DataUnavailable(
            f"{path}: one column of {holding} is needed, found {', '.join(others)}; rename the one to use to "
            f"{names[0]}"
        )
    return others[0] if others else None


def series_of(table: Table, data: Data) -> list[Series]:
    """A series per ticker, in the order of data.tickers, or of the file where it does not choose.

    Rows may stand in any order in the file, as newest-first is common; they are sorted by date. Gaps, numbers that
    are not finite, repeated dates and absent tickers are DataUnavailable with the place of each.
    """
    if not len(table.dates):
        raise DataUnavailable(f"{table.path}: rows are needed, the file has none below its header")
    mistakes = Mistakes()
    _check_finite(table, data, mistakes)
    names = np.array(table.tickers if table.tickers is not None else [table.path.stem] * len(table.dates))
    series = []
    if table.truncated:
        again_after = "times are read to the microsecond, give rows that are at least so far apart"
    elif (table.dates != table.dates.astype("datetime64[D]")).any():
        again_after = "give times in UTC or with their offset where clocks were put back, or keep one of the rows"
    else:
        again_after = "delete one of the two"
    for ticker in _chosen(table, data):
        where = np.flatnonzero(names == ticker)
        # Stable, so that of two equal dates the one further down is reported.
        where = where[np.argsort(table.dates[where], kind="stable")]
        dates = table.dates[where]
        for again in np.flatnonzero(dates[1:] == dates[:-1]) + 1:
            mistakes.add(
                f"{table.path}: {table.place(where[again])}: each date of {ticker} may be there once, got "
                f"{date_text(dates[again])} again after {table.place(where[again - 1])}; {again_after}"
            )
        values = table.values[where]
        target = needed(data).index(data.target)
        series.append(Series(ticker, dates, values[:, : len(data.columns)], values[:, target]))
    mistakes.settle()
    return series


def file_hash(path: Path) -> str:
    """A file's SHA-256. DataUnavailable where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataUnavailable(
            f"data.path: a readable file is needed, got {path} ({error.strerror or error}); correct the path"
        ) from error


def file_identity(path: Path, data: Data, header: Callable[[], Sequence[str]]) -> dict[str, JsonValue]:
    """All that the rows of a file with these columns depend on.

    The column of tickers only where it has another name than Ticker, the one that version 0.1 knew: a file that it
    read as one ticker's makes another set now.
    """
    known: dict[str, JsonValue] = {"tickers": _asked_tickers(data), "sha256": file_hash(path)}
    ticker = ticker_column(path, header(), needed(data))
    return known if ticker in (None, TICKER[0]) else {**known, "tickerColumn": ticker}


def _asked_tickers(data: Data) -> list[JsonValue] | None:
    """The tickers to keep of a file, None for all."""
    return list(data.tickers) or None


def check_distinct(data: Data) -> None:
    """DataUnavailable where data.tickers names one twice: its samples would count double."""
    twice = [ticker for ticker in data.tickers if data.tickers.count(ticker) > 1]
    if twice:
        raise DataUnavailable(f"data.tickers: each ticker may be there once, got {twice[0]} twice; delete one")


def _chosen(table: Table, data: Data) -> list[str]:
    if table.tickers is None:
        return [table.path.stem]
    present = list(dict.fromkeys(table.tickers))
    chosen = _asked_tickers(data)
    if chosen is None:
        return present
    check_distinct(data)
    absent = [str(ticker) for ticker in chosen if ticker not in present]
    if absent:
        raise DataUnavailable(
            f"{table.path}: data.tickers asks for {', '.join(absent)}, but the file has {', '.join(present[:20])}; "
            f"choose among these"
        )
    return [str(ticker) for ticker in chosen]


def _check_finite(table: Table, data: Data, mistakes: Mistakes) -> None:
    columns = needed(data)
    for row, column in np.argwhere(~np.isfinite(table.values)):
        value = table.values[row, column]
        found = "a gap (NaN)" if np.isnan(value) else f"{value}"
        mistakes.add(
            f"{table.path}: {table.place(row)}, column {columns[column]}: a finite number is required, got {found}; "
            f"fill the gap or delete the row"
        )
