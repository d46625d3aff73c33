"""Parquet files: read like CSV, with the row in place of the line."""

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_sources.builders import COLUMNS, csv_lines, some_data, write_csv
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.data.errors import DataUnavailable
from trainer.data.series import date_text
from trainer.data.sources import csv_file, parquet_file


def columns(rows=60):
    lines = csv_lines(rows)
    values = {name: [float(line[place + 1]) for line in lines] for place, name in enumerate(COLUMNS)}
    return {"Date": [date.fromisoformat(line[0]) for line in lines], **values}


def write(path, table):
    pq.write_table(pa.table(table), path)
    return path


def read(path, **fields):
    return parquet_file.rows(some_data(source="parquet", path=str(path), **fields), path.parent)


def test_the_same_rows_as_parquet_and_csv_give_the_same_series(tmp_path):
    (one,) = read(write(tmp_path / "a.parquet", columns()))
    (two,) = csv_file.rows(some_data(path=str(write_csv(tmp_path / "a.csv", csv_lines(60)))), tmp_path)
    assert one.ticker == two.ticker == "a"
    assert np.array_equal(one.dates, two.dates)
    assert np.array_equal(one.features, two.features)
    assert np.array_equal(one.target, two.target)


@pytest.mark.parametrize(
    "convert",
    [
        lambda day: day.isoformat(),
        lambda day: datetime(day.year, day.month, day.day),  # noqa: DTZ001 - a column without a zone
        lambda day: datetime(day.year, day.month, day.day, tzinfo=UTC),
        lambda day: f"{day.isoformat()} 00:00:00",
    ],
)
def test_dates_may_be_text_or_timestamps(tmp_path, convert):
    table = columns()
    table["Date"] = [convert(day) for day in table["Date"]]
    (one,) = read(write(tmp_path / "a.parquet", table))
    assert date_text(one.dates[59]) == "2020-02-29"


def test_whole_numbers_are_numbers_and_tickers_are_told_apart(tmp_path):
    table = columns(180)
    table["Date"] = table["Date"][:90] * 2
    table["Volume"] = list(range(180))
    table["Ticker"] = pa.array(["A"] * 90 + ["B"] * 90).dictionary_encode()
    path = write(tmp_path / "a.parquet", table)
    manifest = open_dataset(prepare(some_data(source="parquet", path=str(path)), tmp_path / "cache")).manifest
    assert manifest.tickers == ("A", "B")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"Close": ["x"] * 60}, r"column Close: numbers are required, got string, such as 'x' in row 1"),
        ({"Close": [1.0] * 4 + [None] + [1.0] * 55}, r"row 5, column Close: a finite number is required, got a gap"),
        ({"Close": [1.0] * 4 + [float("inf")] + [1.0] * 55}, r"row 5, column Close: .* got inf"),
        ({"Date": [None] + [date(2020, 1, 1)] * 59}, r"row 1, column Date: a value is required, got an empty cell"),
        ({"Date": [date(2020, 1, 1)] * 60}, r"row 2: each date of a may be there once"),
        ({"Date": ["tomorrow"] * 60}, r"row 1, column Date: a date such as 2024-01-31 is required, got 'tomorrow'"),
        (
            {"Date": [1.5] * 60},
            r"column Date: dates, timestamps or text such as 2024-01-31 are required, got double, such",
        ),
        ({"Ticker": ["A"] * 3 + [None] + ["A"] * 56}, r"row 4, column Ticker: a value is required"),
    ],
)
def test_a_mistake_says_row_and_column(tmp_path, change, sentence):
    with pytest.raises(DataUnavailable, match=sentence) as caught:
        read(write(tmp_path / "a.parquet", {**columns(), **change}))
    assert str(tmp_path / "a.parquet") in str(caught.value)


def test_a_missing_column_names_those_there_are(tmp_path):
    table = columns()
    del table["Close"]
    with pytest.raises(DataUnavailable, match="Close missing; found Date, Open, High, Low, Volume;"):
        read(write(tmp_path / "a.parquet", table))


def test_a_file_that_is_no_parquet_is_a_sentence(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_text("no")
    with pytest.raises(DataUnavailable, match=r"a\.parquet cannot be read as Parquet \("):
        read(path)
