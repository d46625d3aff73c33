"""Values for tests of data: a `Data` with defaults, series, CSV files of made-up rows, and the command line."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic.alias_generators import to_camel

from trainer.data import commands
from trainer.data.series import Series
from trainer.experiment.training import Data

COLUMNS = ("Open", "High", "Low", "Close", "Volume")


def some_data(**fields: Any) -> Data:
    """Synthetic rows and small windows, unless told otherwise."""
    fields = {"source": "synthetic", "rows": 200, "window": 5, **fields}
    return Data.model_validate({to_camel(name): value for name, value in fields.items()})


def series(rows: int, ticker: str = "A", columns: int = 5, seed: int = 0) -> Series:
    """A series whose first column is the row's number."""
    values = np.random.default_rng(seed).uniform(1, 2, (rows, columns))
    values[:, 0] = np.arange(rows)
    dates = np.datetime64("2020-01-01", "s") + np.arange(rows).astype("timedelta64[D]")
    return Series(ticker, dates, values, values[:, -1])


def csv_lines(rows: int, seed: int = 0) -> list[list[str]]:
    """Date and five prices per line, without a header."""
    values = np.random.default_rng(seed).uniform(1, 2, (rows, 5))
    days = np.datetime64("2020-01-01") + np.arange(rows)
    return [[str(day), *map(repr, line)] for day, line in zip(days, values.tolist(), strict=True)]


def write_csv(path: Path, lines: Iterable[Sequence[str]], header: Sequence[str] = ("Date", *COLUMNS)) -> Path:
    path.write_text("\n".join(",".join(line) for line in [header, *lines]) + "\n")
    return path


def run(*arguments: object) -> int:
    """`python -m trainer data …`; mistakes are raised, as they are for `trainer.__main__`."""
    parser = argparse.ArgumentParser()
    commands.add(parser.add_subparsers())
    args = parser.parse_args(["data", *map(str, arguments)])
    code: int = args.func(args)
    return code
