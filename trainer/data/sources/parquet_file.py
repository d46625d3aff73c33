"""parquet: a file with the columns Date, the features, and Ticker where it holds several. Needs pyarrow."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
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


def identity(data: Data, cache: Path) -> dict[str, JsonValue]:  # noqa: ARG001 - all sources are called alike
    """What the file is, wherever it lies. Without pyarrow its columns go by the names that they should have.

    That is enough to find a set that was built elsewhere.
    """
    path = Path(str(data.path))
    return file_identity(path, data, lambda: _header(path) if find_spec("pyarrow") is not None else [])


def rows(data: Data, cache: Path) -> list[Series]:  # noqa: ARG001
    """The file's rows; only the columns that are needed are read."""
    path = Path(str(data.path))
    wanted = needed(data)
    with _opened(path) as file:
        found = names_of(file.schema_arrow.names)
        stored = dict(zip(reversed(found), reversed(file.schema_arrow.names), strict=True))
        date = date_column(path, found, wanted, lambda: _first_row(file, found))
        ticker = ticker_column(path, found, wanted)
        asked = [date, *wanted, *([ticker] if ticker is not None else [])]
        check_columns(path, found, asked)
        table = file.read([stored[name] for name in asked])
    values = np.empty((table.num_rows, len(wanted)))
    for number, name in enumerate(wanted):
        values[:, number] = _numbers(table[stored[name]], name, path)
    dates, truncated = _dates(table[stored[date]], date, path)
    return series_of(
        Table(
            path=path,
            tickers=_names(table[stored[ticker]], ticker, path) if ticker is not None else None,
            dates=dates,
            truncated=truncated,
            values=values,
            place=lambda row: f"row {row + 1}",
        ),
        data,
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file; DataUnavailable where it can't be read or is no Parquet."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataUnavailable(
            "data.source parquet: the package pyarrow is required, found none; install it with "
            "`pip install 'trialrun[data]'`"
        ) from error
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise DataUnavailable(f"data.path: {path} cannot be read as Parquet ({_first_line(error)})") from error


def _header(path: Path) -> list[str]:
    """The names of the columns."""
    with _opened(path) as file:
        return names_of(file.schema_arrow.names)


def _first_row(file: Any, names: list[str]) -> dict[str, str]:
    """The first row as text, a date as in ISO 8601."""
    for batch in file.iter_batches(batch_size=1):
        return {name: str(column[0].as_py()) for name, column in zip(names, batch.columns, strict=True)}
    return {}


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


def _dates(column: Any, name: str, path: Path) -> tuple[NDArray[np.datetime64], bool]:
    """A column of dates, timestamps (in UTC), text or eight digits as datetime64[us].

    And whether finer ones were cut to microseconds.
    """
    import pyarrow as pa

    _refuse_null(column, name, path)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        nanoseconds: NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
        return (nanoseconds // 1000).astype("datetime64[us]"), bool((nanoseconds % 1000).any())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        try:
            moments = column.cast(pa.timestamp("us", getattr(kind, "tz", None)))
        except pa.ArrowException as error:
            raise DataUnavailable(
                f"{path}: column {name}: dates within 292,000 years of 1970 are required ({_first_line(error)}); "
                f"correct them"
            ) from error
        return np.asarray(moments.cast(pa.int64()).to_numpy()).astype("datetime64[us]"), False
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        shown = f", such as {column[0].as_py()!r} in row 1" if len(column) else ""
        raise DataUnavailable(
            f"{path}: column {name}: dates, timestamps or text such as 2024-01-31 are required, got {kind}{shown}; "
            "store it as a column of dates"
        )
    mistakes = Mistakes()
    found = Moments(name, mistakes)
    for number, cell in enumerate(column.to_pylist(), 1):
        found.add(str(cell), f"{path}: row {number}")
    mistakes.settle()
    return found.dates(), found.truncated


def _names(column: Any, name: str, path: Path) -> list[str]:
    _refuse_null(column, name, path)
    return [str(name) for name in column.to_pylist()]


def _refuse_null(column: Any, name: str, path: Path) -> None:
    if column.null_count:
        row = np.flatnonzero(column.is_null().to_numpy())[0] + 1
        raise DataUnavailable(
            f"{path}: row {row}, column {name}: a value is required, got an empty cell; fill it in or delete the row"
        )


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
