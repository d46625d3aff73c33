"""Box plots: quartiles, fences, outliers and moments, beside numpy's and beside figures worked out elsewhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.benchmark.box_plot import BoxPlot, box_plot, quantile

# Student's sleep data (1908), first drug. The figures are those that R prints for it.
SLEEP = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
finite = st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=60)


def test_the_quartiles_and_moments_of_students_sleep_data_are_those_of_r() -> None:
    box = box_plot(SLEEP)
    assert (box.n, box.min, box.max) == (10, -1.6, 3.7)
    assert (box.q1, box.median, box.q3) == (pytest.approx(-0.175), pytest.approx(0.35), pytest.approx(1.7))
    assert (box.mean, box.variance) == (pytest.approx(0.75), pytest.approx(3.200556, abs=1e-6))
    assert box.deviation == pytest.approx(1.78901, abs=1e-5)


def test_outliers_lie_beyond_the_fences_and_whiskers_reach_to_the_last_value_within() -> None:
    box = box_plot([2, 3, 3, 4, 4, 5, 5, 6, 11, -4])
    assert (box.q1, box.q3, box.iqr) == (3.0, 5.0, 2.0)
    assert (box.low_fence, box.high_fence) == (0.0, 8.0)
    assert (box.low_whisker, box.high_whisker, box.outliers) == (2.0, 6.0, (-4.0, 11.0))


def test_a_value_on_a_fence_is_no_outlier() -> None:
    box = box_plot([3, 3, 5, 5, 8, 0])
    assert (box.low_fence, box.high_fence, box.outliers) == (0.0, 8.0, ())


def test_one_value_has_no_variance_and_equal_values_have_none_to_speak_of() -> None:
    one = box_plot([0.1])
    assert (one.n, one.median, one.variance, one.deviation, one.outliers) == (1, 0.1, None, None, ())
    assert box_plot([0.1] * 7).variance == 0


@given(finite, st.sampled_from([0.25, 0.5, 0.75]))
def test_quartiles_are_numpys_to_the_bit(values: list[float], share: float) -> None:
    assert quantile(sorted(values), share) == np.quantile(values, share)


@given(finite)
def test_every_value_is_within_the_whiskers_or_an_outlier(values: list[float]) -> None:
    box = box_plot(values)
    within = [value for value in values if box.low_whisker <= value <= box.high_whisker]
    assert len(within) + len(box.outliers) == box.n == len(values)
    assert box.min <= box.low_whisker <= box.high_whisker <= box.max


@given(finite)
def test_the_order_of_values_does_not_matter_and_json_keeps_every_bit(values: list[float]) -> None:
    box = box_plot(values)
    assert box_plot(values[::-1]) == box
    assert BoxPlot.model_validate_json(box.model_dump_json(by_alias=True)) == box


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_nothing_and_what_is_not_finite_has_no_box(values: list[float]) -> None:
    with pytest.raises(ValueError, match="one or more finite values"):
        box_plot(values)
