"""Windows, splits, scaling and targets: nothing straddles a part and nothing leaks into training."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.builders import csv_lines, series, some_data, write_csv
from trainer.data.build import prepare
from trainer.data.errors import DataUnavailable
from trainer.data.split import PARTS, split
from trainer.data.windows import cut

COLUMNS = ("a", "b", "c", "d", "e")


def windows_of(series_list, data):
    """Each part's x and y, whole."""
    windowed = cut(series_list, data)
    result = {}
    for part in PARTS:
        blocks = list(windowed.parts[part].blocks)
        x = np.concatenate([x for x, _ in blocks]) if blocks else np.empty((0, data.window, len(data.columns)))
        y = np.concatenate([y for _, y in blocks]) if blocks else np.empty(0)
        assert len(x) == len(y) == windowed.parts[part].count
        result[part] = (x, y)
    return result


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(3, 60), min_size=1, max_size=3),
    window=st.integers(1, 8),
    test_fraction=st.sampled_from([0.0, 0.1, 0.2, 0.35]),
    valid_fraction=st.sampled_from([0.0, 0.1, 0.25, 0.5]),
)
def test_no_window_straddles_parts_or_tickers(sizes, window, test_fraction, valid_fraction):
    data = some_data(
        columns=COLUMNS,
        target="e",
        window=window,
        normalize="None",
        test_fraction=test_fraction,
        valid_fraction=valid_fraction,
    )
    many = [series(rows, ticker=f"T{number}", seed=number) for number, rows in enumerate(sizes)]
    try:
        found = windows_of(many, data)
    except DataUnavailable:
        wanted = [True, valid_fraction > 0, test_fraction > 0]
        assert any(
            need and end - first <= window
            for rows in sizes
            for need, (first, end) in zip(wanted, map(split(rows, data).bounds, PARTS), strict=True)
        )
        return
    for part, (x, y) in found.items():
        place = 0
        for one in many:
            first, end = split(len(one), data).bounds(part)
            for start in range(first, end - window):
                # The first column is the row's number, so a window says which rows it has.
                assert x[place, :, 0].tolist() == list(range(start, start + window))
                assert np.array_equal(x[place], one.features[start : start + window].astype(np.float32))
                predicted = start + window
                assert first <= start
                assert predicted < end
                assert y[place] == np.float32(one.target[predicted] / one.target[predicted - 1] - 1)
                place += 1
        assert place == len(y)


def test_parts_are_the_last_rows_in_order_of_time():
    cut_at = split(1258, some_data(test_fraction=0.2, valid_fraction=0.1))
    assert [cut_at.bounds(part) for part in PARTS] == [(0, 905), (905, 1006), (1006, 1258)]


def part_bytes(folder, part):
    return [path.read_bytes() for path in sorted(folder.glob(f"{part}-*.npy"))]


@pytest.mark.parametrize("fields", [{}, {"task": "Classification"}, {"task": "Classification", "classes": 3}])
def test_changing_test_rows_changes_nothing_before_them(tmp_path, fields):
    lines = csv_lines(200)
    before = prepare(
        some_data(source="csv", path=str(write_csv(tmp_path / "a.csv", lines)), **fields), tmp_path / "cache"
    )
    for line in lines[160:]:
        line[1:] = [repr(float(cell) * 1e6) for cell in line[1:]]
    after = prepare(
        some_data(source="csv", path=str(write_csv(tmp_path / "a.csv", lines)), **fields), tmp_path / "cache"
    )
    assert before != after
    assert part_bytes(before, "train") == part_bytes(after, "train")
    assert part_bytes(before, "valid") == part_bytes(after, "valid")
    assert part_bytes(before, "test") != part_bytes(after, "test")


def test_changing_validation_rows_changes_nothing_in_training(tmp_path):
    lines = csv_lines(200)
    before = prepare(some_data(source="csv", path=str(write_csv(tmp_path / "a.csv", lines))), tmp_path / "cache")
    for line in lines[144:160]:
        line[1:] = [repr(float(cell) * 1e6) for cell in line[1:]]
    after = prepare(some_data(source="csv", path=str(write_csv(tmp_path / "a.csv", lines))), tmp_path / "cache")
    assert part_bytes(before, "train") == part_bytes(after, "train")
    assert part_bytes(before, "valid") != part_bytes(after, "valid")
    assert part_bytes(before, "test") == part_bytes(after, "test")


def test_each_ticker_is_scaled_by_its_own_training_rows():
    data = some_data(columns=COLUMNS, target="e", window=3)
    many = [series(100, "A", seed=1), series(50, "B", seed=2)]
    scalers = cut(many, data).scalers
    assert [one.ticker for one in scalers] == ["A", "B"]
    for one, scaler in zip(many, scalers, strict=True):
        rows = one.features[: split(len(one), data).train]
        assert scaler.mean == tuple(rows.mean(axis=0))
        assert scaler.deviation == tuple(rows.std(axis=0))
    x, _ = windows_of(many, data)["train"]
    rows = many[1].features[:36]
    assert np.allclose(x[69], ((rows - rows.mean(axis=0)) / rows.std(axis=0))[:3], atol=1e-6)


def test_a_constant_column_becomes_zero_and_is_not_divided_by_a_rounding_error():
    one = series(100)
    one.features[:, 1] = 0.1
    scaler = cut([one], some_data(columns=COLUMNS, target="e")).scalers[0]
    assert scaler.deviation[1] == 1
    x, _ = windows_of([one], some_data(columns=COLUMNS, target="e"))["train"]
    assert np.abs(x[:, :, 1]).max() < 1e-15


def test_two_classes_are_the_sign_of_the_return_and_no_change_is_class_0():
    one = series(40)
    one.target[:] = np.tile([1.0, 2.0, 2.0, 1.5], 10)
    data = some_data(columns=COLUMNS, target="e", task="Classification", window=1, valid_fraction=0, test_fraction=0)
    _, y = windows_of([one], data)["train"]
    assert y.dtype == np.int64
    assert y[:4].tolist() == [1, 0, 0, 0]


def test_more_classes_are_equally_full_quantiles_of_the_training_targets():
    data = some_data(columns=COLUMNS, target="e", task="Classification", classes=4, window=2)
    many = [series(300, "A", seed=1), series(200, "B", seed=2)]
    _, y = windows_of(many, data)["train"]
    counts = np.bincount(y, minlength=4)
    assert counts.max() - counts.min() <= 1
    assert len(cut(many, data).class_edges) == 3


def test_returns_that_repeat_too_often_for_the_classes_are_refused():
    one = series(100)
    one.target[:] = 1.0
    with pytest.raises(DataUnavailable, match=r"^data\.classes: 5 classes need as many distinct ranges of targets"):
        cut([one], some_data(columns=COLUMNS, target="e", task="Classification", classes=5))


def test_a_window_longer_than_a_part_says_what_there_is_and_what_fits():
    with pytest.raises(
        DataUnavailable,
        match=r"data\.window: 60 rows .* A has 144 train, 16 valid, 40 test rows; the largest window possible is 15;",
    ):
        cut([series(200)], some_data(columns=COLUMNS, target="e", window=60))


def test_a_part_too_small_for_any_window_says_so():
    with pytest.raises(DataUnavailable, match="no window fits"):
        cut([series(4)], some_data(columns=COLUMNS, target="e", window=60))


def test_a_target_of_zero_has_no_return():
    one = series(100)
    one.target[7] = 0
    with pytest.raises(DataUnavailable, match=r"e of A is 0 on 2020-01-08"):
        cut([one], some_data(columns=COLUMNS, target="e"))


def test_numbers_beyond_32_bits_are_refused_when_nothing_scales_them():
    one = series(100)
    one.features[3, 2] = 1e300
    with pytest.raises(DataUnavailable, match="must fit 32-bit numbers"):
        windows_of([one], some_data(columns=COLUMNS, target="e", normalize="None"))
