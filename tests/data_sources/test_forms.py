"""The forms of features and targets: what they are of each row, where they have none, and what they leave alone."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.builders import series, some_data
from data_sources.test_windows import COLUMNS, windows_of
from trainer.data.build import hash_of, inputs_of
from trainer.data.errors import DataUnavailable
from trainer.data.split import split
from trainer.data.windows import cut, next_targets, with_features
from trainer.experiment.training import Data

values = st.one_of(st.floats(-1e300, 1e300), st.sampled_from([0.0, 5e-324, -5e-324, 1.7e308, -1.7e308]))
positive = st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=30)


def of(target: list[float], **fields: Any) -> Any:
    """A series with this target, and data that predicts it."""
    one = series(len(target))
    one.target[:] = target
    return one, some_data(columns=COLUMNS, target="e", **fields)


def change(earlier: float, later: float) -> float:
    larger = max(abs(earlier), abs(later))
    return later / larger - earlier / larger if larger else 0.0


@settings(max_examples=60)
@given(column=st.lists(values, min_size=2, max_size=20))
def test_a_change_is_the_difference_by_the_larger_of_the_two_whatever_their_signs(column: list[float]) -> None:
    one = series(len(column))
    one.features[:, 2] = column
    found = with_features(one, some_data(columns=COLUMNS, target="e", features="Changes")).features[:, 2]
    assert found[0] == 0
    assert found[1:].tolist() == [change(a, b) for a, b in itertools.pairwise(column)]
    assert (np.abs(found) <= 2).all()
    rises = [(b > a) - (b < a) for a, b in itertools.pairwise(column)]
    # Two values may be so close that their shares of the larger are the same number.
    assert all(np.sign(each) in (0, rise) for each, rise in zip(found[1:], rises, strict=True))


@settings(max_examples=40)
@given(target=positive)
def test_returns_their_sizes_and_differences_are_those_of_neighbouring_rows(target: list[float]) -> None:
    pairs = list(itertools.pairwise(target))
    returns = [b / a - 1 for a, b in pairs]
    assert next_targets(*of(target)).tolist() == returns
    assert next_targets(*of(target, predict="AbsoluteReturn")).tolist() == [abs(each) for each in returns]
    assert next_targets(*of(target, predict="Difference")).tolist() == [b - a for a, b in pairs]


@pytest.mark.parametrize("predict", ["Return", "AbsoluteReturn"])
@pytest.mark.parametrize(
    "target", [[-3.0, -2.0, -1.0], [-1.0, 1.0, 2.0], [1.0, 0.0, 1.0], [1.0, 2.0, 0.0], [2.0, 1.0, -1.0]]
)
def test_a_return_of_values_that_are_not_positive_throughout_is_refused(target: list[float], predict: str) -> None:
    with pytest.raises(
        DataUnavailable, match=r"above 0 throughout, but e of .* is -?[0-9]+ on .*predict: Difference"
    ):
        next_targets(*of(target, predict=predict))


@pytest.mark.parametrize("target", [[-3.0, -2.0, -1.0], [-1.0, 1.0, 3.0], [0.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
def test_a_series_that_only_rises_is_up_throughout_by_its_difference(target: list[float]) -> None:
    one, data = of(target, predict="Difference", task="Classification", window=1, valid_fraction=0, test_fraction=0)
    _, y = windows_of([one], data)["train"]
    assert y.tolist() == [1, 1]


def test_two_classes_of_a_size_part_at_its_median() -> None:
    fields = {"task": "Classification", "window": 1, "valid_fraction": 0, "test_fraction": 0}
    one, data = of([1, 1.1, 1.0, 1.5, 1.4, 3, 1, 1.01, 1.02, 9], predict="AbsoluteReturn", **fields)
    _, y = windows_of([one], data)["train"]
    assert sorted(y.tolist()) == [0] * 5 + [1] * 4


FRACTIONS = st.sampled_from([0.0, 0.1, 0.2, 0.35])


@settings(max_examples=60)
@given(
    rows=st.integers(40, 90), window=st.integers(1, 12), other=st.integers(1, 12), valid=FRACTIONS, test=FRACTIONS,
    features=st.sampled_from(["Values", "Changes"]),
)  # fmt: skip
def test_with_lookback_past_every_row_of_a_part_is_predicted_whatever_the_window(
    rows: int, window: int, other: int, valid: float, test: float, features: str
) -> None:
    one = series(rows)
    targets = []
    for size in (window, other):
        fields = {
            "columns": COLUMNS,
            "target": "e",
            "valid_fraction": valid,
            "test_fraction": test,
            "normalize": "None",
        }
        data = some_data(window=size, lookback="Past", features=features, **fields)
        found = windows_of([one], data)
        for part in ("valid", "test"):
            first, end = split(rows, data).bounds(part)
            x, y = found[part]
            assert (
                y.tolist()
                == (one.target[first:end] / one.target[first - 1 : end - 1] - 1).astype(np.float32).tolist()
            )
            if features == "Values":  # the first column is the row's number
                assert [row[-1][0] for row in x.tolist()] == list(range(first - 1, end - 1))
        targets.append([found[part][1].tolist() for part in ("valid", "test")])
        # What is trained on is as without it: no window of it reaches a row of validation.
        within = windows_of([one], data.model_copy(update={"valid_fraction": 0.0, "test_fraction": 0.0}))["train"]
        assert np.array_equal(found["train"][0], within[0][: len(found["train"][0])])
        if features == "Values" and len(found["train"][0]):
            assert found["train"][0][:, :, 0].max() < split(rows, data).train - 1
    assert targets[0] == targets[1]


@pytest.mark.parametrize("features", ["Values", "Changes"])
def test_validation_targets_do_not_depend_on_the_features(features: str) -> None:
    data = some_data(columns=COLUMNS, target="e", window=4)
    plain, other = (
        windows_of([series(90)], data),
        windows_of([series(90)], data.model_copy(update={"features": features})),
    )
    for part in ("valid", "test"):
        assert np.array_equal(plain[part][1], other[part][1])


def test_changes_leave_out_the_first_row_of_each_ticker_only() -> None:
    data = some_data(columns=COLUMNS, target="e", window=4, features="Changes")
    plain = cut([series(90, "A"), series(60, "B")], data.model_copy(update={"features": "Values"}))
    found = cut([series(90, "A"), series(60, "B")], data)
    assert plain.parts["train"].count - found.parts["train"].count == 2
    assert plain.parts["valid"].count == found.parts["valid"].count


@pytest.mark.parametrize("level", [0.1, 1.1e6, -3.3e-5])
@pytest.mark.parametrize("rounding", [0, 1, 3])
def test_a_column_constant_but_for_rounding_is_not_scaled_by_it(level: float, rounding: int) -> None:
    one = series(100)
    one.features[:, 1] = level + np.arange(100) % 2 * rounding * np.spacing(level)
    x, _ = windows_of([one], some_data(columns=COLUMNS, target="e"))["train"]
    assert np.abs(x[:, :, 1]).max() < 1e-8


@pytest.mark.parametrize("spread", [1e-9, 1e-12])
def test_a_column_that_varies_by_more_than_rounding_is_scaled(spread: float) -> None:
    one = series(100)
    one.features[:, 1] = 1000 * (1 + np.arange(100) % 2 * spread)
    x, _ = windows_of([one], some_data(columns=COLUMNS, target="e"))["train"]
    assert np.abs(x[:, :, 1]).max() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("fields", [{}, {"features": "Values"}, {"predict": "Return"}, {"lookback": "Part"}])
def test_sets_that_use_no_new_field_keep_their_names(fields: dict[str, str]) -> None:
    data = Data(source="synthetic", **fields)
    told = inputs_of(data, {"rows": 1258})
    assert set(told["data"]) == {"columns", "window", "task", "normalize", "validFraction", "target", "testFraction"}
    assert hash_of(told)[:16] == hash_of(inputs_of(Data(source="synthetic"), {"rows": 1258}))[:16]


@pytest.mark.parametrize("field", [{"features": "Changes"}, {"predict": "Difference"}, {"lookback": "Past"}])
def test_sets_that_use_a_new_field_have_another_name(field: dict[str, str]) -> None:
    plain, other = (inputs_of(Data(source="synthetic", **fields), {}) for fields in ({}, field))
    assert hash_of(plain) != hash_of(other)
