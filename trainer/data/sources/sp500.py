"""sp500: the daily S&P 500 series, 1999 to 2018, that the `arch` package ships. Needs no network, nor pandas."""

import csv
import gzip
import importlib.util
from datetime import date
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from trainer.data.errors import DataUnavailable
from trainer.data.period import first_day_after
from trainer.data.series import Series
from trainer.data.sources.table import check_columns, file_hash, needed
from trainer.experiment.training import Data

TICKER = "^GSPC"


def identity(data: Data, cache: Path) -> dict[str, JsonValue]:  # noqa: ARG001 - all sources are called alike
    """The period, and the file's SHA-256: it says which series this is, whatever the package's version."""
    return {"ticker": TICKER, "period": data.period, "sha256": file_hash(_file())}


def rows(data: Data, cache: Path) -> list[Series]:  # noqa: ARG001
    """The rows of the last `period` of the series."""
    wanted = needed(data)
    with gzip.open(_file(), "rt", encoding="ascii", newline="") as text:
        lines = csv.reader(text)
        header = next(lines)
        check_columns(f"source sp500 ({TICKER})", header[1:], wanted)
        places = [header.index(name) for name in wanted]
        days, values = [], []
        for line in lines:
            month, day, year = line[0].split("/")
            days.append(date(int(year), int(month), int(day)))
            values.append([float(line[place]) for place in places])
    after = first_day_after(days[-1], data.period)
    first = 0 if after is None else next(number for number, day in enumerate(days) if day > after)
    table = np.array(values[first:])
    return [
        Series(
            ticker=TICKER,
            dates=np.array(days[first:], "datetime64[s]"),
            features=table[:, : len(data.columns)],
            target=table[:, wanted.index(data.target)],
        )
    ]


def _file() -> Path:
    # Found without importing arch, which would import pandas, statsmodels and scipy: seconds and 150 MB.
    package = importlib.util.find_spec("arch")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        path = Path(folder, "data", "sp500", "sp500.csv.gz")
        if path.is_file():
            return path
    raise DataUnavailable(
        "data.source sp500: the series comes with the Python package arch, which is not installed or lacks it; "
        "install it with `pip install 'trialrun[data]'`"
    )
