"""docs/data.md: its examples run, its tables say what is read and refused, and its names are those of the code."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from data_sources.builders import COLUMNS, csv_lines, run, some_data, write_csv
from data_sources.test_commands import EXPERIMENT
from trainer.data.errors import DataUnavailable
from trainer.data.sources import csv_file, npz_file
from trainer.data.sources.moments import microseconds
from trainer.data.sources.table import DATE, TICKER
from trainer.experiment.training import Data

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
# A program that writes a file, and the data that reads it.
EXAMPLES = [
    (program, snippet)
    for (kind, program), (following, snippet) in itertools.pairwise(BLOCKS)
    if (kind, following) == ("python", "yaml")
]


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[tuple[list[str], str]]:
    """The rows of a section's table: what stands in backticks in the first cell, and the last cell."""
    lines = re.findall(r"^\| (`.*) \|$", section(title), re.MULTILINE)
    split = [line.split(" | ") for line in lines]
    return [(re.findall(r"`([^`]*)`", line[0]), line[-1]) for line in split]


def cells(title: str, *, refused: bool) -> list[str]:
    return [cell for many, says in rows(title) if says.startswith("refused") is refused for cell in many]


def test_the_page_has_an_example_of_each_format() -> None:
    assert [yaml.safe_load(snippet)["data"]["source"] for _, snippet in EXAMPLES] == ["csv", "parquet", "npz"]
    assert {kind for kind, _ in BLOCKS} == {"csv", "python", "yaml"}


@pytest.mark.parametrize(("program", "snippet"), EXAMPLES)
def test_each_example_writes_a_file_that_is_read_without_a_warning(
    program: str, snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", program], check=True)
    whole = EXPERIMENT.replace("data: {source: synthetic, rows: 200, window: 5}\n", snippet)
    Path("search.yaml").write_text(whole.replace("validMse", "trainSeconds"))  # measured by either task
    assert run("build", "search.yaml", "--cache", "cache", "--json") == 0
    told = capsys.readouterr()
    assert min(json.loads(told.out)["counts"].values()) > 5
    assert "warning" not in told.err


def test_the_lines_that_show_a_csv_are_one(tmp_path: Path) -> None:
    (text,) = [block for kind, block in BLOCKS if kind == "csv"]
    (tmp_path / "a.csv").write_text(text)
    (one,) = csv_file.read(tmp_path / "a.csv", some_data())
    assert one.features[1].tolist() == [101.0, 103.0, 100.5, 102.75, 98000.0]


EXPECTED = {
    "that day": "2024-01-31T00:00",
    "that time, as it stands": "2024-01-31T09:30",
    "that time, in UTC": "2024-01-31T14:30",
}


@pytest.mark.parametrize("cell", cells("Dates", refused=False))
def test_dates_that_the_page_calls_dates_are_read_so(cell: str) -> None:
    (says,) = [says for many, says in rows("Dates") if cell in many]
    found = np.datetime64(microseconds(cell)[0], "us")
    assert found.astype("datetime64[s]") == np.datetime64(EXPECTED[says])


@pytest.mark.parametrize("cell", cells("Dates", refused=True))
def test_dates_that_the_page_calls_refused_are_refused_for_the_reason_it_gives(cell: str, tmp_path: Path) -> None:
    (says,) = [says for many, says in rows("Dates") if cell in many]
    lines = csv_lines(3)
    lines[1][0] = cell
    with pytest.raises(DataUnavailable, match=r"line 3, column Date: a date such as 2024-01-31") as refused:
        csv_file.read(write_csv(tmp_path / "a.csv", lines), some_data())
    assert says.removeprefix("refused").removeprefix(": ") in str(refused.value)


@pytest.mark.parametrize("cell", cells("Numbers", refused=False))
def test_numbers_that_the_page_calls_numbers_are_read_so(cell: str, tmp_path: Path) -> None:
    (one,) = csv_file.read(write_csv(tmp_path / "a.csv", [["2024-01-01", cell]], ["Date", "a"]), of_column("a"))
    assert one.features[0, 0] == float(cell)


@pytest.mark.parametrize("cell", cells("Numbers", refused=True))
def test_numbers_that_the_page_calls_refused_are_refused(cell: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [["2024-01-01", f'"{cell}"']], ["Date", "a"])
    with pytest.raises(DataUnavailable, match=r"line 2, column a: a (finite )?number"):
        csv_file.read(path, of_column("a"))


def of_column(name: str) -> Data:
    return some_data(columns=(name,), target=name)


def test_the_page_names_the_columns_and_keys_that_are_known() -> None:
    dates, tickers = section("Dates"), section("Tickers")
    assert all(re.search(rf"\b{name}\b", dates) for name in DATE)
    assert all(re.search(rf"\b{name}\b", tickers) for name in TICKER)
    assert {key for keys, _ in rows("npz") for key in keys} == set(npz_file._KEYS)


@pytest.mark.parametrize("key", ["X_valid", "x_train", "labels_test", "mean", "dates"])
def test_keys_are_refused_or_unused_as_the_page_says(key: str, tmp_path: Path) -> None:
    assert f"`{key}`" in section("npz")
    whole = {"X_train": np.zeros((20, 1)), "y_train": np.zeros(20), "X_test": np.zeros((2, 1)), "y_test": np.zeros(2)}
    np.savez(tmp_path / "a.npz", **whole, **{key: np.zeros(3)})
    data = some_data(source="npz", path=str(tmp_path / "a.npz"), window=1, columns=("a",))
    if key == "dates":
        assert any("dates: not used" in said for said in npz_file.read(data).concerns)
    else:
        with pytest.raises(DataUnavailable, match=f"{key}: samples go by"):
            npz_file.read(data)


def test_the_order_of_series_and_the_name_of_a_single_one_are_as_the_page_says(tmp_path: Path) -> None:
    lines = [[*line, ticker] for line in csv_lines(30) for ticker in "BAC"]
    path = write_csv(tmp_path / "many.csv", lines, ["Date", *COLUMNS, "Ticker"])
    assert [one.ticker for one in csv_file.read(path, some_data())] == ["B", "A", "C"]
    chosen = some_data(source="csv", path=str(path), tickers=("C", "B"))
    assert [one.ticker for one in csv_file.read(path, chosen)] == ["C", "B"]
    alone = write_csv(tmp_path / "rows.csv", csv_lines(30))
    assert [one.ticker for one in csv_file.read(alone, some_data())] == ["rows"]
