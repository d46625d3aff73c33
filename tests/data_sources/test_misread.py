"""Input that would be passed over or read as something else is told instead."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_sources.builders import COLUMNS, csv_lines, series, some_data, write_csv
from trainer.data.build import prepare
from trainer.data.concerns import concerns, kept
from trainer.data.errors import DataUnavailable
from trainer.data.sources import csv_file, npz_file, parquet_file


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
    ],
)  # fmt: skip
def test_a_key_that_looks_like_samples_and_is_none_is_refused(key: str, meant: str, tmp_path: Path) -> None:
    path = an_npz(tmp_path / "a.npz", **{key: np.zeros((4, 2, 1))})
    with pytest.raises(DataUnavailable, match=rf"a\.npz: {key}: keys of samples are X_train") as refused:
        read_npz(path)
    assert f"did you mean {meant}" in str(refused.value)


@pytest.mark.parametrize("key", ["dates", "feature_names", "meta", "window"])
def test_a_key_that_does_not_look_like_samples_is_let_be(key: str, tmp_path: Path) -> None:
    assert read_npz(an_npz(tmp_path / "a.npz", **{key: np.arange(3)})).parts["train"].count == 16


@pytest.mark.parametrize("alone", ["X_val", "y_val", "mu", "sd"])
def test_half_of_a_pair_is_refused(alone: str, tmp_path: Path) -> None:
    array = np.zeros((4, 2, 1)) if alone == "X_val" else np.zeros(4) if alone == "y_val" else np.ones(1)
    with pytest.raises(DataUnavailable, match=rf"{alone}: .* belong together"):
        read_npz(an_npz(tmp_path / "a.npz", **{alone: array}))


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


@pytest.mark.parametrize("cell", ["1577836800", "1577836800000", "43831", "2020", "01/02/2020", "2.1.2020"])
def test_a_number_or_an_ambiguous_date_is_no_date(cell: str, tmp_path: Path) -> None:
    lines = csv_lines(30)
    lines[4][0] = cell
    with pytest.raises(DataUnavailable, match=r"line 6, column Date: a date such as 2024-01-31 is required"):
        csv_file.read(write_csv(tmp_path / "a.csv", lines), some_data())


def test_dates_without_dashes_are_dates(tmp_path: Path) -> None:
    lines = [[line[0].replace("-", ""), *line[1:]] for line in csv_lines(30)]
    (one,) = csv_file.read(write_csv(tmp_path / "a.csv", lines), some_data())
    assert one.dates[0] == np.datetime64("2020-01-01")


@pytest.mark.parametrize(
    "dates", [[20200101 + n for n in range(28)], [1.5e9 + n for n in range(28)], [43831 + n for n in range(28)]]
)
def test_numbers_are_no_dates_in_parquet(dates: list[float], tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"Date": dates, "Close": [1.0 + n for n in range(28)]}), path)
    with pytest.raises(DataUnavailable, match=r"column Date: dates, timestamps or text .* got numbers"):
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
    with pytest.raises(DataUnavailable, match=r"where clocks were put back, give times in UTC or with their offset"):
        csv_file.read(path, some_data(columns=("Close",)))


@pytest.mark.parametrize("name", ["date", "DATE", "Datetime", "timestamp", "time", "Day", "", "__index_level_0__"])
def test_a_column_of_dates_may_go_by_another_name(name: str, tmp_path: Path) -> None:
    (one,) = csv_file.read(write_csv(tmp_path / "a.csv", csv_lines(30), [name, *COLUMNS]), some_data())
    (plain,) = csv_file.read(write_csv(tmp_path / "a.csv", csv_lines(30)), some_data())
    assert np.array_equal(one.dates, plain.dates)
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({name: plain.dates, "Close": plain.target}), table)
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


def test_a_plain_table_is_told_what_it_lacks(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "iris.csv", [["5.1", "3.5", "setosa"]] * 30, ["sepal length (cm)", "width", "species"]
    )
    with pytest.raises(
        DataUnavailable, match=r"rows must have a date each.*found sepal length \(cm\), width, species"
    ):
        csv_file.read(path, some_data(columns=("width",), target="width"))


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
    assert f"about {missing + 1:,} rows are missing between 2020-04-29 and" in said


def test_nights_and_weekends_are_no_gaps() -> None:
    minutes = [
        np.datetime64("2024-01-01T09:30") + np.timedelta64(1440 * day + minute, "m")
        for day in range(12)
        if day % 7 < 5
        for minute in range(60)
    ]
    one = series(len(minutes))
    told = concerns(
        [type(one)("A", np.array(minutes), one.features[:, 1:], one.target)], some_data(columns=COLUMNS[1:])
    )
    assert [each for each in told if "missing" in each] == []


@pytest.mark.parametrize(("part", "rows"), [("valid", slice(145, 150)), ("test", slice(180, 190))])
@pytest.mark.parametrize("factor", [1e3, -1e6])
def test_a_part_far_outside_of_what_is_trained_on_is_said(part: str, rows: slice, factor: float) -> None:
    one = series(200)
    one.features[:, 0] = one.features[:, 1]
    one.features[rows, 2] *= factor
    (said,) = concerns([one], some_data(columns=COLUMNS))
    assert said.startswith(f"A, Low: {part} rows reach from")
    assert "far outside of what is trained on (1." in said


def test_a_part_of_a_single_class_is_said() -> None:
    one = series(200)
    one.features[:, 0] = 1
    one.target[144:161] = np.arange(2, 19)
    told = list(concerns([one], some_data(columns=COLUMNS, task="Classification", target="Close")))
    assert any("targets of the valid part are of class 1" in each for each in told)


def test_what_is_to_be_known_is_kept_beside_the_set_for_the_next_run(tmp_path: Path) -> None:
    lines = csv_lines(200)
    for line in lines[150:]:
        line[0] = str(np.datetime64(line[0]) + 400)
    data = some_data(source="csv", path=str(write_csv(tmp_path / "a.csv", lines)))
    for _ in range(2):
        (said,) = kept(prepare(data, tmp_path / "cache"))
        assert "rows are missing" in said
    assert kept(prepare(some_data(), tmp_path / "cache")) == []
