"""parquet: a file with the columns Date, the features, and Ticker where it holds several. Needs pyarrow."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from trainer.data.errors import DataUnavailable
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


def identity(data: Data, cache: Path) -> dict[str, JsonValue]:  # noqa: ARG001 - all sources are called alike
    """The tickers chosen and the file's SHA-256."""
    return {"tickers": chosen_tickers(data), "sha256": file_hash(Path(str(data.path)))}


def rows(data: Data, cache: Path) -> list[Series]:  # noqa: ARG001
    """The file's rows; only the columns that are needed are read."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataUnavailable(
            "data.source parquet: the package pyarrow is required, found none; install it with "
            "`pip install 'trialrun[data]'`"
        ) from error
    path = Path(str(data.path))
    wanted = needed(data)
    try:
        with pq.ParquetFile(path) as file:
            found = file.schema_arrow.names
            date, ticker = date_column(path, found), column_of(TICKER, path, found)
            check_columns(path, found, [date, *wanted])
            table = file.read([date, *wanted, *([ticker] if ticker is not None else [])])
    except (OSError, pa.ArrowException) as error:
        raise DataUnavailable(f"data.path: {path} cannot be read as Parquet ({_first_line(error)})") from error
    values = np.empty((table.num_rows, len(wanted)))
    for number, name in enumerate(wanted):
        values[:, number] = _numbers(table[name], name, path)
    return series_of(
        Table(
            path=path,
            tickers=_names(table[ticker], ticker, path) if ticker is not None else None,
            dates=_dates(table[date], date, path),
            values=values,
            place=lambda row: f"row {row + 1}",
        ),
        data,
    )


def _numbers(column: Any, name: str, path: Path) -> NDArray[np.float64]:
    """A column as float64, a missing value as NaN, which `series_of` then reports with its row."""
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        shown = f", such as {column[0].as_py()!r} in row 1" if len(column) else ""
        raise DataUnavailable(
            f"{path}: column {name}: numbers are required, got {kind}{shown}; store it as a column of numbers"
        )
    numbers: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers


def _dates(column: Any, name: str, path: Path) -> NDArray[np.datetime64]:
    """A column of dates, timestamps (in UTC) or ISO text as datetime64[us].

    Numbers are refused: 20200101 is a date, and so many seconds since 1970.
    """
    import pyarrow as pa

    _refuse_null(column, name, path)
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        raise DataUnavailable(
            f"{path}: column {name}: dates, timestamps or text such as 2024-01-31 are required, got numbers "
            f"({kind}), such as {column[0].as_py() if len(column) else 'none'}, which could be days, seconds or "
            "dates; store it as a column of dates"
        )
    try:
        # Text goes through timestamp: Arrow reads ISO dates of it, with or without a time.
        moments = (
            column.cast(pa.timestamp("us"), safe=False)
            if not _is_zoned(column)
            else column.cast(pa.timestamp("us", "UTC"), safe=False)
        )
        return np.asarray(moments.cast(pa.int64()).to_numpy()).astype("datetime64[us]")
    except pa.ArrowException as error:
        raise DataUnavailable(
            f"{path}: column {name}: dates, timestamps or text such as 2024-01-31 are required, got {column.type} "
            f"({_first_line(error)}); store it as a column of dates"
        ) from error


def _names(column: Any, name: str, path: Path) -> list[str]:
    _refuse_null(column, name, path)
    return [str(name) for name in column.to_pylist()]


def _refuse_null(column: Any, name: str, path: Path) -> None:
    if column.null_count:
        row = np.flatnonzero(column.is_null().to_numpy())[0] + 1
        raise DataUnavailable(
            f"{path}: row {row}, column {name}: a value is required, got an empty cell; fill it in or delete the row"
        )


def _is_zoned(column: Any) -> bool:
    return getattr(column.type, "tz", None) is not None


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
