"""Input that would be passed over or read as something else is told instead."""

import re
import shutil
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.builders import COLUMNS, csv_lines, series, some_data, write_csv
from trainer.data.build import hash_of, inputs_of, prepare
from trainer.data.concerns import classes_apart, concerns, keep, kept
from trainer.data.errors import DataUnavailable
from trainer.data.series import Series, date_text
from trainer.data.sources import csv_file, npz_file, parquet_file
from trainer.data.sources.moments import microseconds


def an_npz(path: Path, **arrays: object) -> Path:
    """20 samples of two rows and one column, in two classes; keywords replace arrays, None leaves one out."""
    whole = {
        "X_train": np.zeros((20, 2, 1)), "y_train": np.arange(20) % 2, "X_test": np.zeros((4, 2, 1)),
        "y_test": np.arange(4) % 2,
    } | arrays  # fmt: skip
    np.savez(path, **{key: array for key, array in whole.items() if array is not None})
    return path


def read_npz(path: Path, **fields: object):
    fields = {"task": "Classification", "valid_fraction": 0.2} | fields
    return npz_file.read(some_data(source="npz", path=str(path), window=2, columns=("a",), **fields))


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("X_valid", "X_val"), ("y_valid", "y_val"), ("x_val", "X_val"), ("X_Val", "X_val"), ("X_validation", "X_val"),
        ("Y_test", "y_test"), ("x_train", "X_train"), ("X_dev", ""), ("y_extras", ""), ("Xtrain", "X_train"),
        ("valid_X", ""), ("valX", ""), ("X", ""), ("x2", ""), ("labels_val", ""), ("test-inputs", ""), ("dev", ""),
        ("MU", "mu"), ("Sd", "sd"), ("mean", ""), ("std", ""),
    ],
)  # fmt: skip
def test_a_key_that_looks_like_samples_and_is_none_is_refused(key: str, meant: str, tmp_path: Path) -> None:
    path = an_npz(tmp_path / "a.npz", **{key: np.zeros((4, 2, 1))})
    with pytest.raises(DataUnavailable, match=rf"a\.npz: {key}: samples go by X_train") as refused:
        read_npz(path)
    assert not meant or f"did you mean {meant}" in str(refused.value)


@pytest.mark.parametrize("key", ["dates", "feature_names", "meta", "window", "dates_val", "years", "tickers"])
def test_a_key_that_does_not_look_like_samples_is_said_to_be_unused(key: str, tmp_path: Path) -> None:
    path = an_npz(tmp_path / "a.npz", **{key: np.arange(3)})
    data = some_data(
        source="npz", path=str(path), window=2, columns=("a",), task="Classification", valid_fraction=0.2
    )
    (said,) = kept(prepare(data, tmp_path / "cache"))
    assert f"a.npz: {key}: not used; the keys that are read are X_train" in said


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = an_npz(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("y_test.npy", archive.read("y_train.npy"))
    with pytest.raises(DataUnavailable, match=r"y_test: each key may be there once, got it twice"):
        read_npz(path)


@pytest.mark.parametrize("alone", ["X_val", "y_val", "mu", "sd", "X_train", "y_train", "X_test", "y_test"])
def test_half_of_a_pair_is_refused(alone: str, tmp_path: Path) -> None:
    arrays = {"X_val": np.zeros((4, 2, 1)), "y_val": np.zeros(4), "mu": np.ones(1), "sd": np.ones(1)}
    if alone in arrays:
        changed, said = {alone: arrays[alone]}, rf"{alone}: .* belong together"
    else:
        lacking = {"X": "y", "y": "X"}[alone[0]] + alone[1:]
        changed, said = {lacking: None}, rf"{lacking} missing; found"
    with pytest.raises(DataUnavailable, match=said):
        read_npz(an_npz(tmp_path / "a.npz", **changed))


def test_an_empty_validation_part_is_refused_unless_none_is_asked_for(tmp_path: Path) -> None:
    path = an_npz(tmp_path / "a.npz", X_val=np.zeros((0, 2, 1)), y_val=np.zeros(0))
    with pytest.raises(DataUnavailable, match=r"X_val: at least one validation sample is required, got none"):
        read_npz(path)
    assert read_npz(path, valid_fraction=0).parts["valid"].count == 0


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.repeat([0, 1], 10), 2), (np.repeat([0, 1, 2, 3], 5), 4), (np.repeat([1, 0], [17, 3]), 2),
        (np.concatenate([np.arange(16) % 2, [2, 0, 1, 1]]), 3),
    ],
)  # fmt: skip
def test_a_validation_part_cut_from_sorted_classes_is_refused(
    labels: np.ndarray, classes: int, tmp_path: Path
) -> None:
    with pytest.raises(DataUnavailable, match=r"y_train: .* in the last 4 and .* in the 16 before; shuffle"):
        read_npz(an_npz(tmp_path / "a.npz", y_train=labels), classes=classes)


@pytest.mark.parametrize("labels", [np.arange(20) % 2, np.zeros(20, int), np.tile([0, 1, 2, 3], 5)])
def test_mixed_classes_are_cut_as_ever(labels: np.ndarray, tmp_path: Path) -> None:
    assert read_npz(an_npz(tmp_path / "a.npz", y_train=labels), classes=4).parts["valid"].count == 4


@pytest.mark.parametrize("cell", ["1_00", "1_0.5", "１００", "٣", "0x10", "1,5", "1 000", "", " ", "ten", "1e"])
def test_what_is_no_plain_number_is_no_number(cell: str, tmp_path: Path) -> None:
    lines = csv_lines(30)
    lines[4][2] = f'"{cell}"'
    path = write_csv(tmp_path / "a.csv", lines)
    with pytest.raises(DataUnavailable, match=r"line 6, column High: a number is required"):
        csv_file.read(path, some_data())


@pytest.mark.parametrize(("cell", "value"), [("+1.5", 1.5), (" 2 ", 2.0), ("1e3", 1000.0), (".5", 0.5), ("7.", 7.0)])
def test_plain_numbers_are_read(cell: str, value: float, tmp_path: Path) -> None:
    lines = csv_lines(30)
    lines[4][2] = cell
    (one,) = csv_file.read(write_csv(tmp_path / "a.csv", lines), some_data())
    assert one.features[4, 1] == value


def dated(cells: list[object], path: Path) -> tuple[Path, Path]:
    """The same rows with these dates as CSV and as Parquet, where the dates are of one type."""
    table = path / "a.parquet"
    pq.write_table(pa.table({"Date": cells, "Close": [100.0 + n for n in range(len(cells))]}), table)
    rows = [[f'"{cell}"', str(100 + n)] for n, cell in enumerate(cells)]
    return write_csv(path / "a.csv", rows, ["Date", "Close"]), table


def read_both(cells: list[object], path: Path) -> list[Series]:
    text, table = dated(cells, path)
    (one,) = csv_file.read(text, some_data(columns=("Close",)))
    (other,) = parquet_file.rows(some_data(source="parquet", path=str(table), columns=("Close",)), path)
    return [one, other]


def refused_in_both(cells: list[object], path: Path) -> list[str]:
    text, table = dated(cells, path)
    with pytest.raises(DataUnavailable) as first:
        csv_file.read(text, some_data(columns=("Close",)))
    with pytest.raises(DataUnavailable) as second:
        parquet_file.rows(some_data(source="parquet", path=str(table), columns=("Close",)), path)
    return [str(first.value), str(second.value)]


@pytest.mark.parametrize(
    ("first", "doubt"),
    [
        ("1577836800", "a number"), ("1577836800.5", "a number"), ("1577836800000", "a number"),
        ("1612010800000", "a number"), ("161201080000001", "a number"), ("1577836800000000", "a number"),
        ("43831", "a number"), ("43831.25", "a number"), ("2020", "a number"), ("202001", "a number"),
        ("20201301", "a number"), ("-1", "a number"), ("01/02/2020", "day and month"), ("2.1.2020", "day and month"),
        ("31-12-20", "day and month"), ("2020-01", ""), ("2020-02-30", ""), ("2020-01-01-05:00", ""),
        ("2020-01-01x12:00", ""), ("Jan 1, 2020", ""), ("２０２０-01-01", ""), ("2020-01-01 10:00 EST", ""),
        ("now", ""),
    ],
)  # fmt: skip
def test_what_could_be_several_dates_is_no_date(first: str, doubt: str, tmp_path: Path) -> None:
    for said in refused_in_both([first, "2024-01-02"], tmp_path):
        assert f"column Date: a date such as 2024-01-31 is required, got {first!r}" in said
        assert doubt in said


@pytest.mark.parametrize("values", [[1577836800, 1577923200], [43831, 43832], [1577836800000, 1577923200000], [0, 1]])
def test_whole_numbers_that_count_something_are_no_dates(values: list[object], tmp_path: Path) -> None:
    for said in refused_in_both(values, tmp_path):
        assert f"got '{values[0]}', a number that could count days, seconds or milliseconds" in said


@pytest.mark.parametrize(
    "dates", [[1.5e9, 1.6e9], [20200101.0, 20200102.0], [True, False], [b"2020-01-01", b"2020-01-02"], [[1], [2]]]
)
def test_columns_of_other_types_are_no_dates_in_parquet(dates: list[object], tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"Date": dates, "Close": [1.0, 2.0]}), path)
    with pytest.raises(
        DataUnavailable, match=r"column Date: dates, timestamps or text .* required, got \w+.* row 1;"
    ):
        parquet_file.rows(some_data(source="parquet", path=str(path), columns=("Close",)), tmp_path)


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        ([20200101, 20200102], "2020-01-01"), (["20200101", "20200102"], "2020-01-01"),
        (["2020-01-01T10", "2020-01-01T11"], "2020-01-01T10:00:00"), (["20200101T1000", "20200101 100001"],
        "2020-01-01T10:00:00"), (["2020-01-01T10:00Z", "2020-01-01T10:00-05:00"], "2020-01-01T10:00:00"),
        (["2020-01-01T10:00+02:00", "2020-01-01T10:00+01:00"], "2020-01-01T08:00:00"),
        ([" 2020-01-01 ", "2020-01-02"], "2020-01-01"), (["2020-W01-3", "2020-W01-4"], "2020-01-01"),
        (["2020-01-01 10:00:00,25", "2020-01-01 10:00:00.5"], "2020-01-01T10:00:00.250000"),
    ],
)  # fmt: skip
def test_iso_dates_and_eight_digits_are_read_alike_in_csv_and_parquet(
    cells: list[object], first: str, tmp_path: Path
) -> None:
    for one in read_both(cells, tmp_path):
        assert date_text(one.dates[0]) == first
        assert one.features[:, 0].tolist() == [100, 101]


@settings(max_examples=200)
@given(text=st.from_regex(r"[0-9]{1,19}(\.[0-9]{1,3})?", fullmatch=True))
def test_a_plain_number_is_a_date_only_with_eight_digits_that_are_one(text: str) -> None:
    try:
        moment, _, _ = microseconds(text)
    except ValueError:
        return
    assert len(text) == 8
    assert np.datetime64(moment, "us") == np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:]}")


@settings(max_examples=100)
@given(
    moment=st.datetimes(),
    separator=st.sampled_from("T "),
    zone=st.one_of(st.none(), st.timedeltas(timedelta(hours=-14), timedelta(hours=14))),
)
def test_a_moment_is_read_as_python_wrote_it(moment: datetime, separator: str, zone: timedelta | None) -> None:
    if zone is None:
        expected, text = np.datetime64(moment, "us"), moment.isoformat(separator)
    else:
        text = moment.replace(tzinfo=timezone(zone)).isoformat(separator)
        expected = np.datetime64(moment, "us") - np.timedelta64(zone, "us")
    found, zoned, truncated = microseconds(text)
    assert (np.datetime64(found, "us"), zoned, truncated) == (expected, zone is not None, False)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["2020-01-01T10:00Z", "2020-01-01T11:00"], "got '2020-01-01T11:00' and .* with one"),
        (["2020-01-01T10:00", "2020-01-01T11:00+01:00"], "without one"),
        (["2020-01-01", "2020-01-02T00:00:00Z"], "without one"),
    ],
)
def test_times_with_and_without_an_offset_are_not_mixed(cells: list[object], said: str, tmp_path: Path) -> None:
    for sentence in refused_in_both(cells, tmp_path):
        assert re.search(r"column Date: times must all have an offset from UTC or all have none", sentence)
        assert re.search(said, sentence)


@pytest.mark.parametrize("fraction", ["0000001", "1234567", "123456001"])
def test_times_finer_than_a_microsecond_are_read_unless_rows_would_become_the_same(
    fraction: str, tmp_path: Path
) -> None:
    apart = read_both([f"2020-01-01T10:00:00.{fraction}", "2020-01-01T10:00:01"], tmp_path)
    assert [one.features[:, 0].tolist() for one in apart] == [[100, 101]] * 2
    same = [f"2020-01-01T10:00:00.{fraction}", f"2020-01-01T10:00:00.{fraction[:6]}"]
    for said in refused_in_both(same, tmp_path):
        assert "times are read to the microsecond, give rows that are at least so far apart" in said
        assert "delete" not in said


@pytest.mark.parametrize("step", [1, 999])
def test_nanoseconds_of_parquet_are_told_from_repeated_rows(step: int, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for scale, refused in ((1, True), (1000, False)):
        moments = pa.array([n * step * scale for n in range(3)], pa.timestamp("ns"))
        pq.write_table(pa.table({"Date": moments, "Close": [1.0, 2.0, 3.0]}), path)
        data = some_data(source="parquet", path=str(path), columns=("Close",))
        if refused:
            with pytest.raises(DataUnavailable, match="times are read to the microsecond"):
                parquet_file.rows(data, tmp_path)
        else:
            assert parquet_file.rows(data, tmp_path)[0].dates[2] == np.datetime64(2 * step, "us")


def test_a_date_beyond_what_can_be_held_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"Date": pa.array([2**61, 0], pa.timestamp("ms")), "Close": [1.0, 2.0]}), path)
    with pytest.raises(DataUnavailable, match="column Date: dates within 292,000 years of 1970 are required"):
        parquet_file.rows(some_data(source="parquet", path=str(path), columns=("Close",)), tmp_path)


@pytest.mark.parametrize(
    "step", [timedelta(milliseconds=100), timedelta(microseconds=1), timedelta(milliseconds=999)]
)
def test_rows_within_a_second_are_told_apart(step: timedelta, tmp_path: Path) -> None:
    start = datetime(2024, 1, 2, 9, 30, tzinfo=UTC)
    moments = [start + n * step for n in range(40)]
    path = write_csv(
        tmp_path / "a.csv", [[each.isoformat(), str(100 + n)] for n, each in enumerate(moments)], ["Date", "Close"]
    )
    (one,) = csv_file.read(path, some_data(columns=("Close",)))
    assert one.features[:, 0].tolist() == [100 + n for n in range(40)]
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"Date": moments, "Close": [float(100 + n) for n in range(40)]}), table)
    (other,) = parquet_file.rows(some_data(source="parquet", path=str(table), columns=("Close",)), tmp_path)
    assert np.array_equal(one.dates, other.dates)


def test_an_hour_that_comes_twice_is_not_only_told_to_be_deleted(tmp_path: Path) -> None:
    hours = [datetime(2024, 11, 3, hour, tzinfo=UTC) for hour in (0, 1, 1, 2, 3)]
    path = write_csv(tmp_path / "a.csv", [[each.isoformat(), "1"] for each in hours], ["Date", "Close"])
    with pytest.raises(DataUnavailable, match=r"give times in UTC or with their offset where clocks were put back"):
        csv_file.read(path, some_data(columns=("Close",)))


@pytest.mark.parametrize(
    "name",
    [
        "date", "DATE", "Datetime", "timestamp", "time", "Day", "Date Time", "date_time", "TimeStamp ", "\ufeffDate",
        " Date", "", "Unnamed: 0", "index", "__index_level_0__",
    ],
)  # fmt: skip
def test_a_column_of_dates_may_go_by_another_name(name: str, tmp_path: Path) -> None:
    (one,) = csv_file.read(write_csv(tmp_path / "a.csv", csv_lines(30), [name, *COLUMNS]), some_data())
    (plain,) = csv_file.read(write_csv(tmp_path / "a.csv", csv_lines(30)), some_data())
    assert np.array_equal(one.dates, plain.dates)
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"Close": plain.target, name: plain.dates} if name[:2] == "__" else
                            {name: plain.dates, "Close": plain.target}), table)  # fmt: skip
    (other,) = parquet_file.rows(some_data(source="parquet", path=str(table), columns=("Close",)), tmp_path)
    assert np.array_equal(other.dates, plain.dates)


def test_date_itself_comes_first_and_of_others_only_one_can_be_meant(tmp_path: Path) -> None:
    header = ["Date", "time", *COLUMNS[1:]]
    (one,) = csv_file.read(write_csv(tmp_path / "a.csv", csv_lines(30), header), some_data(columns=COLUMNS[1:]))
    assert one.dates[0] == np.datetime64("2020-01-01")
    with pytest.raises(DataUnavailable, match=r"one column of dates is needed, found date, time; rename"):
        csv_file.read(
            write_csv(tmp_path / "a.csv", csv_lines(30), ["date", *header[1:]]), some_data(columns=COLUMNS[1:])
        )


def test_tickers_may_be_called_symbols(tmp_path: Path) -> None:
    lines = [[*line, "AB"[n % 2]] for n, line in enumerate(csv_lines(60))]
    found = csv_file.read(write_csv(tmp_path / "a.csv", lines, ["Date", *COLUMNS, "symbol"]), some_data())
    assert [(one.ticker, len(one)) for one in found] == [("A", 30), ("B", 30)]


@pytest.mark.parametrize("index", [[], [""], ["Unnamed: 0"], ["index"]])
def test_a_plain_table_is_told_what_it_lacks(index: list[str], tmp_path: Path) -> None:
    cells = [["5.1", "3.5", "setosa"] for _ in range(30)]
    rows = [[*([str(n)] * len(index)), *line] for n, line in enumerate(cells)]
    path = write_csv(tmp_path / "iris.csv", rows, [*index, "sepal length (cm)", "width", "species"])
    with pytest.raises(
        DataUnavailable,
        match=r"rows must have a date each.*found .*sepal length \(cm\), width, species; rename .* A plain table",
    ):
        csv_file.read(path, some_data(columns=("width",), target="width"))
    table = tmp_path / "iris.parquet"
    columns = {name: list(range(30)) for name in [*index, "width"]}
    pq.write_table(pa.table(columns), table)
    with pytest.raises(DataUnavailable, match=r"rows must have a date each.* A plain table without dates can't be"):
        parquet_file.rows(some_data(source="parquet", path=str(table), columns=("width",), target="width"), tmp_path)


@pytest.mark.parametrize("name", ["trade_date", "observation_date", "Datum", "ts"])
def test_a_column_that_holds_dates_by_a_name_of_its_own_is_pointed_at(name: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", csv_lines(30), [name, *COLUMNS])
    with pytest.raises(DataUnavailable, match=rf"rename the column of dates to Date \({name} looks like dates\)"):
        csv_file.read(path, some_data())
    table = tmp_path / "a.parquet"
    days = np.datetime64("2020-01-01") + np.arange(30)
    pq.write_table(pa.table({"Close": np.arange(30.0), name: days}), table)
    with pytest.raises(DataUnavailable, match=rf"rename the column of dates to Date \({name} looks like dates\)"):
        parquet_file.rows(some_data(source="parquet", path=str(table), columns=("Close",)), tmp_path)


def test_a_column_that_is_asked_for_is_not_taken_for_the_dates(tmp_path: Path) -> None:
    lines = [[line[0], str(n), *line[2:]] for n, line in enumerate(csv_lines(30))]
    path = write_csv(tmp_path / "a.csv", lines, ["timestamp", "time", *COLUMNS[1:]])
    (one,) = csv_file.read(path, some_data(columns=("time", "Close")))
    assert one.features[:, 0].tolist() == list(range(30))
    assert one.dates[1] == np.datetime64("2020-01-02")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_named(separator: str, tmp_path: Path) -> None:
    lines = [separator.join(["Date", *COLUMNS]), *(separator.join(line).replace(".", ",") for line in csv_lines(30))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(DataUnavailable, match=r"line 1: cells must be separated by commas, found (semi|tabs|bars)"):
        csv_file.read(tmp_path / "a.csv", some_data())


@pytest.mark.parametrize("twin", ["Close", " Close", "Close ", "\ufeffClose"])
def test_a_column_that_is_there_twice_is_refused_whatever_the_blanks(twin: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [[*line, "1"] for line in csv_lines(30)], ["Date", *COLUMNS, twin])
    with pytest.raises(DataUnavailable, match="column Close must be there once, found twice"):
        csv_file.read(path, some_data())
    table = tmp_path / "a.parquet"
    days, values = pa.array(np.datetime64("2020-01-01") + np.arange(30)), pa.array(np.arange(30.0))
    pq.write_table(pa.Table.from_arrays([days, values, values], ["Date", "Close", twin]), table)
    with pytest.raises(DataUnavailable, match="column Close must be there once, found twice"):
        parquet_file.rows(some_data(source="parquet", path=str(table), columns=("Close",)), tmp_path)


@pytest.mark.parametrize("twice", ["Date", "Ticker"])
def test_dates_and_tickers_are_there_once(twice: str, tmp_path: Path) -> None:
    lines = [[line[0], *line, "A", "A"] for line in csv_lines(30)]
    header = ["Date", "Date" if twice == "Date" else "x", *COLUMNS, "Ticker", "Ticker" if twice == "Ticker" else "y"]
    with pytest.raises(DataUnavailable, match=f"column {twice} must be there once, found twice"):
        csv_file.read(write_csv(tmp_path / "a.csv", lines, header), some_data())


def test_names_that_differ_in_capitals_are_two_columns(tmp_path: Path) -> None:
    lines = [[*line, "1"] for line in csv_lines(30)]
    path = write_csv(tmp_path / "a.csv", lines, ["Date", *COLUMNS, "close"])
    (one,) = csv_file.read(path, some_data(columns=("Close", "close")))
    assert one.features[0].tolist() == [float(lines[0][4]), 1]
    with pytest.raises(DataUnavailable, match=r"CLOSE missing; found Date.*\(capitals count: close\)"):
        csv_file.read(path, some_data(columns=("CLOSE",)))


@pytest.mark.parametrize("cell", ["1e400", "-1e309", "9" * 400])
def test_a_number_too_large_is_named_as_it_stands(cell: str, tmp_path: Path) -> None:
    lines = csv_lines(30)
    lines[4][2] = cell
    with pytest.raises(DataUnavailable, match=rf"line 6, column High: .* of at most 1.8e308 in size .* '{cell}'"):
        csv_file.read(write_csv(tmp_path / "a.csv", lines), some_data())


def test_a_file_whose_symbols_are_tickers_now_is_another_set_than_version_0_1_made(tmp_path: Path) -> None:
    lines = [[*line, "AB"[n % 2]] for n, line in enumerate(csv_lines(60))]
    path = write_csv(tmp_path / "a.csv", lines, ["Date", *COLUMNS, "symbol"])
    data = some_data(source="csv", path=str(path))
    assert csv_file.identity(data, tmp_path)["tickerColumn"] == "symbol"
    write_csv(path, lines, ["Date", *COLUMNS, "Ticker"])
    assert set(csv_file.identity(data, tmp_path)) == {"tickers", "sha256"}


def test_tickers_that_a_file_cannot_tell_apart_are_said(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "prices.csv", csv_lines(200))
    asked = some_data(source="csv", path=str(path), tickers=("A",))
    (said,) = kept(prepare(asked, tmp_path / "cache"))
    assert "data.tickers asks for A, but" in said
    assert "has no column Ticker" in said


@pytest.mark.parametrize("missing", [50, 300, 3000])
def test_a_gap_that_no_other_comes_near_is_said(missing: int) -> None:
    one = series(200)
    dates = one.dates.copy()
    dates[120:] += np.timedelta64(missing, "D")
    (said,) = [
        each
        for each in concerns([type(one)("A", dates, one.features[:, 1:], one.target)], some_data(columns=COLUMNS[1:]))
        if "missing" in each
    ]
    assert f"about {missing:,} rows are missing between 2020-04-29 and" in said


def gaps_of(dates: np.ndarray) -> list[str]:
    one = series(len(dates))
    told = concerns([replace(one, dates=dates, features=one.features[:, 1:])], some_data(columns=COLUMNS[1:]))
    return [each for each in told if "missing" in each]


@pytest.mark.parametrize("gaps", [2, 6, 12])
def test_of_many_gaps_the_longest_is_named_and_the_rest_counted(gaps: int) -> None:
    steps = np.ones(600, int)
    steps[50::40][:gaps] = 301
    steps[50] = 401
    (said,) = gaps_of(np.datetime64("2000-01-01") + np.cumsum(steps))
    assert "about 400 rows are missing between" in said
    assert f"the longest of {gaps} such gaps" in said


def test_a_gap_between_rows_of_less_than_a_second_is_counted_in_rows() -> None:
    steps = np.full(600, 100)
    steps[200] = 100 * 301
    (said,) = gaps_of(np.datetime64("2024-01-02T09:30", "us") + np.cumsum(steps).astype("timedelta64[ms]"))
    assert "about 300 rows are missing between 2024-01-02T09:30:20" in said


@pytest.mark.parametrize("days", [12, 40])
def test_nights_and_weekends_are_no_gaps(days: int) -> None:
    minutes = [
        np.datetime64("2024-01-01T09:30", "us") + np.timedelta64(1440 * day + minute, "m")
        for day in range(days)
        if day % 7 < 5
        for minute in range(60)
    ]
    assert gaps_of(np.array(minutes)) == []


def test_weekends_and_holidays_of_days_are_no_gaps() -> None:
    days = [day for day in range(600) if day % 7 < 5 and day % 100 > 5]
    assert gaps_of(np.datetime64("2001-01-01") + np.array(days)) == []


@pytest.mark.parametrize(("part", "rows"), [("valid", slice(145, 150)), ("test", slice(180, 190))])
@pytest.mark.parametrize("factor", [1e3, -1e6])
def test_a_part_far_outside_of_what_is_trained_on_is_said(part: str, rows: slice, factor: float) -> None:
    one = series(200)
    one.features[:, 0] = one.features[:, 1]
    one.features[rows, 2] *= factor
    (said,) = concerns([one], some_data(columns=COLUMNS))
    assert said.startswith(f"A, Low: {part} rows reach from")
    assert "far outside of what is trained on (1." in said


def test_a_part_of_a_single_class_is_said_of_a_table(tmp_path: Path) -> None:
    lines = csv_lines(200)
    for n, line in enumerate(lines[140:165]):
        line[4] = str(2 + n)
    data = some_data(source="csv", path=str(write_csv(tmp_path / "a.csv", lines)), task="Classification")
    assert "all 11 valid samples are of class 1" in kept(prepare(data, tmp_path / "cache"))


def labels(*each: int) -> np.ndarray:
    return np.array(each)


@pytest.mark.parametrize(
    ("train", "valid", "test", "said"),
    [
        (labels(0, 1, 1), labels(0, 1), labels(1, 0), []),
        (labels(0, 1), labels(1, 1), labels(0, 1), ["all 2 valid samples are of class 1"]),
        (labels(0, 0), labels(0, 0), labels(), ["all 2 train samples are of class 0",
                                                "all 2 valid samples are of class 0"]),
        (labels(0, 1), labels(0, 1, 2), labels(3, 3),
         ["class 2 of the valid samples is not among those to train on", "all 2 test samples are of class 3",
          "class 3 of the test samples is not among those to train on"]),
        (np.arange(9), labels(0, 1), np.arange(9), ["class 2, 3, 4, 5, 6 and 2 more is not among the valid samples"]),
        (labels(0, 1), labels(), labels(), []),
    ],
)  # fmt: skip
def test_classes_that_parts_do_not_share_are_said(
    train: np.ndarray, valid: np.ndarray, test: np.ndarray, said: list[str]
) -> None:
    # In two shards, as a large part is.
    parts = {"train": [train[:1], train[1:]], "valid": [valid[:1], valid[1:]], "test": [test] if len(test) else []}
    assert list(classes_apart(parts)) == said


def test_an_npz_that_gives_a_validation_part_of_one_class_is_said(tmp_path: Path) -> None:
    path = an_npz(tmp_path / "a.npz", X_val=np.zeros((4, 2, 1)), y_val=np.ones(4))
    data = some_data(source="npz", path=str(path), window=2, columns=("a",), task="Classification")
    assert kept(prepare(data, tmp_path / "cache")) == ["all 4 valid samples are of class 1"]


def test_no_more_than_ten_sentences_are_kept(tmp_path: Path) -> None:
    keep(tmp_path, map(str, range(10)))
    assert len(kept(tmp_path)) == 10
    keep(tmp_path, map(str, range(30)))
    assert kept(tmp_path) == [*map(str, range(10)), "and 20 more like these"]


def test_a_set_that_version_0_1_built_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = an_npz(tmp_path / "a.npz", dates=np.arange(3))
    data = some_data(
        source="npz", path=str(path), window=2, columns=("a",), task="Classification", valid_fraction=0.2
    )
    folder = prepare(data, tmp_path / "cache")
    told = kept(folder)
    for name in ("concerns.json", "stamps.json"):
        (folder / name).unlink()
    assert kept(prepare(data, tmp_path / "cache")) == told != []
    monkeypatch.setattr(npz_file, "read", lambda _: pytest.fail("was read again"))
    prepare(data, tmp_path / "cache")


def test_a_set_of_a_file_that_version_0_1_misread_is_refused(tmp_path: Path) -> None:
    path = an_npz(tmp_path / "a.npz", y_train=np.repeat([0, 1], 10))
    data = some_data(
        source="npz", path=str(path), window=2, columns=("a",), task="Classification", valid_fraction=0.2
    )
    twin = an_npz(tmp_path / "b.npz")
    built = prepare(data.model_copy(update={"path": str(twin)}), tmp_path / "other")
    name = f"npz-{hash_of(inputs_of(data, npz_file.identity(data, tmp_path)))[:16]}"
    shutil.copytree(built, tmp_path / "cache" / name)
    (tmp_path / "cache" / name / "concerns.json").unlink()
    with pytest.raises(DataUnavailable, match=r"y_train: the last data\.validFraction"):
        prepare(data, tmp_path / "cache")


def test_what_is_to_be_known_is_kept_beside_the_set_for_the_next_run(tmp_path: Path) -> None:
    lines = csv_lines(200)
    for line in lines[150:]:
        line[0] = str(np.datetime64(line[0]) + 400)
    data = some_data(source="csv", path=str(write_csv(tmp_path / "a.csv", lines)))
    for _ in range(2):
        (said,) = kept(prepare(data, tmp_path / "cache"))
        assert "rows are missing" in said
    assert kept(prepare(some_data(), tmp_path / "cache")) == []
