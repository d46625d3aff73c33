"""CSV files: what is read, and that every mistake says file, line and column."""

import numpy as np
import pytest

from data_sources.builders import COLUMNS, csv_lines, some_data, write_csv
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.data.errors import DataUnavailable
from trainer.data.series import date_text
from trainer.data.sources import csv_file


def read(path, **fields):
    return csv_file.rows(some_data(source="csv", path=str(path), **fields), path.parent)


def test_a_file_of_one_ticker_is_read_whole(tmp_path):
    lines = csv_lines(30)
    (one,) = read(write_csv(tmp_path / "prices.csv", lines))
    assert one.ticker == "prices"
    assert date_text(one.dates[0]) == "2020-01-01"
    assert one.features.tolist() == [[float(cell) for cell in line[1:]] for line in lines]
    assert one.target.tolist() == [float(line[4]) for line in lines]


def test_only_the_named_columns_are_read_and_the_target_may_be_another(tmp_path):
    lines = [[*line, "text"] for line in csv_lines(30)]
    path = write_csv(tmp_path / "a.csv", lines, ("Date", *COLUMNS, "Note"))
    (one,) = read(path, columns=("Volume", "Open"), target="High")
    assert one.features[3].tolist() == [float(lines[3][5]), float(lines[3][1])]
    assert one.target[3] == float(lines[3][2])


def test_newest_first_is_sorted(tmp_path):
    lines = csv_lines(30)
    (up,) = read(write_csv(tmp_path / "up.csv", lines))
    (down,) = read(write_csv(tmp_path / "down.csv", lines[::-1]))
    assert np.array_equal(up.features, down.features)
    assert np.array_equal(up.dates, down.dates)


def test_mixed_tickers_become_a_series_each(tmp_path):
    lines = [[ticker, *line] for line in csv_lines(90) for ticker in ("B", "A")]
    path = write_csv(tmp_path / "a.csv", lines, ("Ticker", "Date", *COLUMNS))
    assert [(one.ticker, len(one)) for one in read(path)] == [("B", 90), ("A", 90)]
    assert [one.ticker for one in read(path, tickers=("A",))] == ["A"]
    folder = prepare(some_data(source="csv", path=str(path)), tmp_path)
    manifest = open_dataset(folder).manifest
    assert manifest.tickers == ("B", "A")
    assert [scaler.ticker for scaler in manifest.scalers] == ["B", "A"]


def test_a_moved_file_is_the_same_data_set(tmp_path):
    path = write_csv(tmp_path / "prices.csv", csv_lines(90))
    first = prepare(some_data(source="csv", path=str(path)), tmp_path / "cache")
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / "prices.csv")
    assert prepare(some_data(source="csv", path=str(moved)), tmp_path / "cache") == first


def test_times_of_day_and_offsets_are_read(tmp_path):
    lines = [[f"2024-01-02T{9 + n // 60:02}:{n % 60:02}:00-05:00", *"12345"] for n in range(90)]
    (one,) = read(write_csv(tmp_path / "a.csv", lines))
    assert date_text(one.dates[0]) == "2024-01-02T14:00:00"


def test_a_byte_order_mark_and_empty_lines_are_passed_over(tmp_path):
    path = write_csv(tmp_path / "a.csv", csv_lines(30))
    path.write_text("\ufeff" + path.read_text() + "\n\n")
    assert len(read(path)[0]) == 30


def change(line, column, cell):
    def edit(lines):
        lines[line - 2][column] = cell

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (change(5, 4, ""), r"line 5, column Close: a number is required, got an empty cell; fill it in"),
        (change(5, 4, "n/a"), r"line 5, column Close: a number is required, got 'n/a'"),
        (change(5, 4, "nan"), r"line 5, column Close: a finite number is required, got a gap \(NaN\)"),
        (change(5, 1, "inf"), r"line 5, column Open: a finite number is required, got inf"),
        (change(5, 0, "2020-01-03"), r"line 5: each date of a may be there once, got .* again after line 4"),
        (change(5, 0, "1/4/2020"), r"line 5, column Date: a date such as 2024-01-31 is required, got '1/4/2020'"),
        (change(5, 0, ""), r"line 5, column Date: a date such as 2024-01-31 is required, got ''"),
        (lambda lines: lines[3].pop(), r"line 5: 6 cells are required, as in the header, got 5"),
        (lambda lines: lines[3].append("1"), r"line 5: 6 cells are required, as in the header, got 7"),
        (lambda lines: lines.clear(), r"a\.csv: rows are needed, the file has none below its header"),
    ],
)  # fmt: skip
def test_a_mistake_says_line_and_column(tmp_path, edit, sentence):
    lines = csv_lines(30)
    edit(lines)
    with pytest.raises(DataUnavailable, match=sentence) as caught:
        read(write_csv(tmp_path / "a.csv", lines))
    assert str(tmp_path / "a.csv") in str(caught.value)


def test_all_mistakes_are_named_up_to_ten(tmp_path):
    lines = [[line[0], "x", *line[2:]] for line in csv_lines(30)]
    with pytest.raises(DataUnavailable) as caught:
        read(write_csv(tmp_path / "a.csv", lines))
    told = str(caught.value).split("\n")
    assert len(told) == 11
    assert told[-1] == "and 20 more mistakes"


def test_a_missing_column_names_those_there_are(tmp_path):
    path = write_csv(tmp_path / "a.csv", csv_lines(30), ("Day", "open", "High", "Low", "Close", "Volume"))
    with pytest.raises(
        DataUnavailable, match=r"Open missing; found Day, open, .*, Volume \(capitals count: open\); name"
    ):
        read(path)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    path = write_csv(tmp_path / "a.csv", csv_lines(30), ("Date", "Open", "High", "Low", "Close", "Close"))
    with pytest.raises(DataUnavailable, match="column Close must be there once, found twice"):
        read(path, columns=("Open",))


def test_a_ticker_that_the_file_lacks_names_those_it_has(tmp_path):
    lines = [["A", *line] for line in csv_lines(30)]
    path = write_csv(tmp_path / "a.csv", lines, ("Ticker", "Date", *COLUMNS))
    with pytest.raises(DataUnavailable, match=r"data\.tickers asks for Z, but the file has A; choose among these"):
        read(path, tickers=("A", "Z"))
    with pytest.raises(DataUnavailable, match=r"each ticker may be there once, got A twice"):
        read(path, tickers=("A", "A"))


def test_a_row_without_a_ticker_is_refused(tmp_path):
    lines = [["A", *line] for line in csv_lines(30)]
    lines[7][0] = " "
    path = write_csv(tmp_path / "a.csv", lines, ("Ticker", "Date", *COLUMNS))
    with pytest.raises(DataUnavailable, match="line 9, column Ticker: a name is required, got an empty cell"):
        read(path)


def test_too_few_rows_say_what_window_is_possible(tmp_path):
    path = write_csv(tmp_path / "a.csv", csv_lines(30))
    with pytest.raises(DataUnavailable, match=r"a has 22 train, 2 valid, 6 test rows; the largest window .* is 1;"):
        prepare(some_data(source="csv", path=str(path)), tmp_path / "cache")


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(DataUnavailable, match=r"data\.path: a readable file is needed, got .*b\.csv \(No such file"):
        prepare(some_data(source="csv", path=str(tmp_path / "b.csv")), tmp_path)


def test_bytes_that_are_no_text_are_a_sentence(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"Date,Open\n\xff\xfe")
    with pytest.raises(DataUnavailable, match="text in UTF-8 is required, got byte 0xff at 10"):
        read(path)


def test_a_quote_that_never_ends_is_a_sentence(tmp_path):
    path = write_csv(tmp_path / "a.csv", csv_lines(3))
    path.write_text(path.read_text() + '"2024-01-01,1,1')
    with pytest.raises(DataUnavailable, match=r"line 5: not CSV \(unexpected end of data\)"):
        read(path)
