"""Statistics of figures as large and as small as floats are, beside exact arithmetic in fractions."""

import itertools
import json
import math
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainer.benchmark import intervals
from trainer.benchmark.box_plot import BoxPlot, box_plot, quantile
from trainer.benchmark.intervals import Estimate, Welch, by_means, by_ranks, hedges_g
from trainer.benchmark.suite import Suite
from trainer.experiment import moments

MOST, LEAST = sys.float_info.max, math.ulp(0.0)
BEYOND = Fraction(MOST) + Fraction(math.ulp(MOST)) / 2  # from here on there is no nearest float
FAR = [0.0, -0.0, LEAST, -LEAST, 3 * LEAST, 1e-310, 2.3e-308, 1e-200, 1e-160, -1e-155, 1.0, -1.5, 1e154, 1e200, 1e308]
FAR += [MOST, -MOST, MOST / 2]
ABOVE_ZERO = [LEAST, 3 * LEAST, 1e-310, 2.3e-308, 1e-200, 1e-160, 1.0, 1.5, 1e154, 1e200, 1e308, MOST, MOST / 2]
# Anything from the least to the largest float, and often the ends of the range.
any_figure = st.one_of(st.sampled_from(FAR), st.floats(allow_nan=False, allow_infinity=False))
above_zero = st.one_of(st.sampled_from(ABOVE_ZERO), st.floats(LEAST, MOST))
some = st.lists(any_figure, min_size=1, max_size=12)
two_or_more = st.lists(any_figure, min_size=2, max_size=12)
two_or_more_above_zero = st.lists(above_zero, min_size=2, max_size=12)

CASES = [
    [MOST] * 3,
    [1e308, 1.7e308, 1e308],
    [MOST, -MOST],
    [MOST, -MOST, LEAST],
    [LEAST] * 5,
    [LEAST, 3 * LEAST],
    [1e-170, 2e-170, 4e-170],
    [-0.0, 0.0],
    [-0.0, -0.0, -0.0],
    [1e-310, 1e308, 1.0],
    [0.1] * 7,
    [7.0],
]


def exact_mean(values: Sequence[float]) -> Fraction:
    return sum(map(Fraction, values), Fraction()) / len(values)


def exact_variance(values: Sequence[float]) -> Fraction:
    mean = exact_mean(values)
    return sum(((Fraction(value) - mean) ** 2 for value in values), Fraction()) / (len(values) - 1)


def exact_quantile(values: Sequence[float], share: Fraction) -> Fraction:
    ordered = sorted(map(Fraction, values))
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def fits(exact: Fraction) -> bool:
    """Whether a float is near: neither is it beyond the largest, nor is 0 the nearest though it isn't 0."""
    return exact == 0 or Fraction(LEAST) / 2 < abs(exact) < BEYOND


def near(found: float, exact: Fraction, units: int = 1) -> bool:
    """Whether a float is that, but for so many units in its last place."""
    return math.isfinite(found) and abs(Fraction(found) - exact) <= units * Fraction(math.ulp(found))


def finite(document: object) -> bool:
    """Whether all numbers of a document are: NaN and infinities have no JSON."""
    json.dumps(document, allow_nan=False)
    return True


def with_cases(test: Callable[..., None]) -> Callable[..., None]:
    for case in CASES:
        test = example(case)(test)
    return test


@settings(max_examples=150)
@given(some)
@with_cases
def test_a_mean_is_the_exact_one_and_lies_between_the_least_and_the_greatest(values: list[float]) -> None:
    found = moments.mean(values)
    assert near(found, exact_mean(values))
    assert min(values) <= found <= max(values)


@settings(max_examples=150)
@given(two_or_more)
def test_a_variance_and_a_deviation_are_the_exact_ones_or_there_is_none(values: list[float]) -> None:
    exact = exact_variance(values)
    variance, deviation = moments.variance(values), moments.deviation(values)
    assert (variance is not None) == fits(exact)
    if variance is not None:
        assert variance >= 0
        assert near(variance, exact)
    if deviation is not None:  # within a unit: the square of the next float on either side encloses the variance
        assert max(0, Fraction(deviation) - Fraction(math.ulp(deviation))) ** 2 <= exact
        assert (Fraction(deviation) + Fraction(math.ulp(deviation))) ** 2 >= exact
        assert (deviation == 0) == (len({*values}) == 1)
    else:
        assert exact > Fraction(MOST) ** 2 * (1 - Fraction(1, 2**52)) or exact <= (Fraction(LEAST) / 2) ** 2


@pytest.mark.parametrize(
    ("values", "variance", "deviation"),
    [
        ([1e200, 3e200], None, math.sqrt(2) * 1e200),  # of which the variance is 2e400
        ([1e-200, 3e-200], None, math.sqrt(2) * 1e-200),
        ([MOST, -MOST], None, None),
        ([5.0] * 4, 0.0, 0.0),
        ([-0.0, 0.0], 0.0, 0.0),
        ([LEAST, LEAST], 0.0, 0.0),
        ([7.0], None, None),
    ],
)
def test_a_deviation_is_there_also_where_the_variance_has_no_float(
    values: list[float], variance: float | None, deviation: float | None
) -> None:
    box = box_plot(values)
    assert box.variance == variance
    assert box.deviation == (None if deviation is None else pytest.approx(deviation, rel=1e-15))


@settings(max_examples=150)
@given(some, st.sampled_from([Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)]))
def test_a_quartile_is_the_exact_one(values: list[float], share: Fraction) -> None:
    found, exact = quantile(sorted(values), float(share)), exact_quantile(values, share)
    assert min(values) <= found <= max(values)
    # Rounded thrice, at most by a unit of the greatest that takes part.
    greatest = max((abs(value) for value in values), default=0.0)
    assert abs(Fraction(found) - exact) <= 2 * Fraction(math.ulp(greatest))


@settings(max_examples=150)
@given(some)
@with_cases
def test_a_box_plot_is_in_order_and_its_outliers_are_those_beyond_the_exact_fences(values: list[float]) -> None:
    box = box_plot(values)
    assert box.min <= box.q1 <= box.median <= box.q3 <= box.max
    assert box.min <= box.low_whisker <= box.high_whisker <= box.max
    iqr = Fraction(box.q3) - Fraction(box.q1)
    for found, exact in (
        (box.iqr, iqr),
        (box.low_fence, Fraction(box.q1) - Fraction(3, 2) * iqr),
        (box.high_fence, Fraction(box.q3) + Fraction(3, 2) * iqr),
    ):
        assert near(found, exact) if found is not None else abs(exact) >= BEYOND
    low = -math.inf if box.low_fence is None else box.low_fence
    high = math.inf if box.high_fence is None else box.high_fence
    assert list(box.outliers) == sorted(value for value in values if not low <= value <= high)
    assert finite(box.document())
    assert BoxPlot.model_validate_json(box.model_dump_json(by_alias=True)) == box


@pytest.mark.parametrize("values", [[-0.0], [-0.0, 0.0], [0.0, -0.0, -0.0]])
def test_minus_zero_is_zero_in_every_figure(values: list[float]) -> None:
    box = box_plot(values)
    figures = (box.mean, box.min, box.q1, box.median, box.q3, box.max, box.low_whisker, box.high_whisker)
    assert {math.copysign(1, figure) for figure in figures} == {1}
    suite = Suite("x")
    suite.add("a", *values)
    assert {math.copysign(1, value) for value in suite.samples["a"].values} == {1}


@settings(max_examples=60)
@given(two_or_more)
@with_cases
def test_the_interval_of_a_mean_holds_it_and_reaches_as_far_as_students_t_says(values: list[float]) -> None:
    if len(values) < 2:
        assert intervals.mean(values).interval is None
        return
    found = intervals.mean(values)
    assert near(found.value, exact_mean(values))
    if found.interval is None:
        reach = Fraction(t(len(values) - 1)) ** 2 * exact_variance(values) / len(values)
        assert reach <= Fraction(LEAST) ** 2 or reach > (Fraction(MOST) / 3) ** 2 or max(map(abs, values)) > MOST / 4
        return
    low, high = found.interval.low, found.interval.high
    assert low <= found.value <= high
    square = Fraction(t(len(values) - 1)) ** 2 * exact_variance(values) / len(values)
    for end in (low, high):
        reached = abs(Fraction(end) - exact_mean(values))
        allowed = 2 * Fraction(max(math.ulp(end), math.ulp(found.value)))
        assert max(0, reached - allowed) ** 2 <= square * (1 + Fraction(1, 10**12))
        assert (reached + allowed) ** 2 >= square * (1 - Fraction(1, 10**12))


def t(freedom: float) -> float:
    return float(intervals.scipy_stats().t.ppf(0.975, freedom))


@settings(max_examples=150)
@given(two_or_more, two_or_more)
@example([0.0, -1.0], [MOST, MOST])  # beyond the largest float by so little that it is the nearest
def test_a_difference_of_means_is_the_exact_one_and_so_is_its_p(a: list[float], b: list[float]) -> None:
    exact = exact_mean(a) - exact_mean(b)
    found = intervals.difference(a, b)
    assert (found is not None) == (abs(exact) < BEYOND)
    if found is not None:
        assert near(found.value, exact)
        assert finite(found.document())
    errors = exact_variance(a) / len(a), exact_variance(b) / len(b)
    p = Welch.difference(a, b).p()
    assert (p is None) == (sum(errors) == 0)
    if p is not None:
        freedom = sum(errors) ** 2 / (errors[0] ** 2 / (len(a) - 1) + errors[1] ** 2 / (len(b) - 1))
        assert Welch.difference(a, b).freedom == pytest.approx(float(freedom), rel=1e-12)
        assert p == pytest.approx(as_t_says(exact**2 / sum(errors), float(freedom)), rel=1e-9, abs=1e-300)


def as_t_says(square: Fraction, freedom: float) -> float:
    """The two-sided p of a t whose square this is."""
    root = math.inf if square > Fraction(MOST) else math.sqrt(square)
    return 2 * float(intervals.scipy_stats().t.sf(root, freedom))


@settings(max_examples=150)
@given(two_or_more_above_zero, two_or_more_above_zero)
@example([LEAST, LEAST], [MOST, MOST])
@example([MOST, MOST], [LEAST, LEAST])
@example([LEAST, 3 * LEAST], [LEAST, LEAST])
@example([1e-310, 2e-310], [1e-310, 3e-310])
@example([1e-170, 2e-170], [1e-170, 3e-170])
def test_a_ratio_of_means_is_the_exact_one_and_never_lost_to_zero(a: list[float], b: list[float]) -> None:
    exact = exact_mean(a) / exact_mean(b)
    found = intervals.ratio(a, b)
    assert (found is not None) == fits(exact)
    if found is not None:
        assert found.value > 0
        assert near(found.value, exact)
        assert 0 < found.ends[0] <= found.value * (1 + 1e-12)
        assert found.value * (1 - 1e-12) <= found.ends[1] < math.inf
        varies = len({*a}) > 1 or len({*b}) > 1
        assert varies or found.interval is None
    p = by_means(a, b)
    assert p is None or 0 <= p <= 1
    assert (p is None) == (len({*a}) == len({*b}) == 1)


@pytest.mark.parametrize("unit", [LEAST, 1e-310, 1e-200, 1e-160, 1e160, 1e200, 1e305])
def test_a_ratio_and_its_interval_are_the_same_in_whatever_unit_the_figures_are(unit: float) -> None:
    a, b = [3.0, 4.0, 5.0], [64.0, 72.0, 70.0]
    scaled = [[value * unit for value in values] for values in (a, b)]
    other, plain = intervals.ratio(*scaled), intervals.ratio(a, b)
    assert other is not None
    assert plain is not None
    assert [other.value, *other.ends] == pytest.approx([plain.value, *plain.ends], rel=1e-9)
    assert by_means(*scaled) == pytest.approx(by_means(a, b))
    assert hedges_g(*scaled) == pytest.approx(hedges_g(a, b))


@settings(max_examples=100)
@given(two_or_more, two_or_more)
def test_hedges_g_is_a_number_with_the_sign_of_the_difference_or_there_is_none(
    a: list[float], b: list[float]
) -> None:
    found = hedges_g(a, b)
    spread = exact_variance(a) + exact_variance(b)
    if found is None:
        square = None if spread == 0 else (exact_mean(a) - exact_mean(b)) ** 2 / spread
        assert square is None or square > Fraction(MOST) or square < Fraction(LEAST)
    else:
        assert math.isfinite(found)
        assert (found > 0) - (found < 0) == (exact_mean(a) > exact_mean(b)) - (exact_mean(a) < exact_mean(b))


@settings(max_examples=60)
@given(two_or_more, two_or_more)
def test_ranks_count_which_of_two_figures_is_greater_however_far_apart_they_are(
    a: list[float], b: list[float]
) -> None:
    u, p = by_ranks(a, b)
    assert u == sum((x > y) + 0.5 * (x == y) for x, y in itertools.product(a, b))
    assert 0 <= p <= 1


@pytest.mark.slow
@settings(max_examples=15)  # each bootstraps
@given(st.lists(above_zero, min_size=5, max_size=8), st.lists(above_zero, min_size=5, max_size=8))
@example([LEAST] * 4 + [MOST], [1.0, 2.0, 3.0, 4.0, 5.0])
@example([1e308, 1.2e308, 1.4e308, 1.6e308, MOST], [1e308, 1e308, 1.1e308, 1.3e308, MOST])
@example([LEAST, 2 * LEAST, 3 * LEAST, 4 * LEAST, 5 * LEAST], [LEAST, 2 * LEAST, 3 * LEAST, 3 * LEAST, 7 * LEAST])
def test_a_ratio_of_medians_is_the_exact_one_in_an_interval_of_finite_ends(a: list[float], b: list[float]) -> None:
    exact = exact_quantile(a, Fraction(1, 2)) / exact_quantile(b, Fraction(1, 2))
    found = intervals.ratio_of_medians(a, b)
    assert (found is not None) == fits(exact)
    if found is not None:
        assert near(found.value, exact)
        assert 0 < found.ends[0] <= found.ends[1] < math.inf
        lowest, highest = (Fraction(one) / Fraction(other) for one, other in ((min(a), max(b)), (max(a), min(b))))
        assert lowest * (1 - Fraction(1, 2**50)) <= Fraction(found.ends[0]) or found.interval is None
        assert Fraction(found.ends[1]) <= highest * (1 + Fraction(1, 2**50)) or found.interval is None


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-300, 1e300])
def test_a_ratio_of_medians_has_its_interval_in_whatever_unit_the_figures_are(unit: float) -> None:
    a, b = [3.0, 4.0, 5.0, 4.5, 3.5, 4.1], [6.0, 7.0, 6.5, 8.0, 7.5, 6.1]
    scaled = intervals.ratio_of_medians(*([value * unit for value in values] for values in (a, b)))
    plain = intervals.ratio_of_medians(a, b)
    assert plain is not None
    assert plain.interval is not None
    assert scaled is not None
    assert [scaled.value, *scaled.ends] == pytest.approx([plain.value, *plain.ends], rel=1e-12)


def a_suite(unit: float) -> Suite:
    suite = Suite("x")
    suite.add("a", *(unit * value for value in (1.0, 1.1, 1.2, 1.05, 1.3)))
    suite.add("b", *(unit * value for value in (1.6, 1.7, 1.65, 1.75, 1.55)))
    return suite


@pytest.mark.slow
@pytest.mark.parametrize("unit", [LEAST * 2**30, 1e-300, 1e-170, 1e170, 1e299, 1e308])
def test_a_suite_of_figures_of_any_size_ranks_compares_and_draws_as_one_of_common_ones(
    unit: float, tmp_path: Path
) -> None:
    extreme, common = a_suite(unit).findings(), a_suite(1.0).findings()
    assert [each.name for each in extreme.treatments] == [each.name for each in common.treatments]
    assert [each.differs for each in extreme.treatments] == [None, True]
    (there,), (here,) = extreme.comparison.pairs, common.comparison.pairs
    assert there.means.p == pytest.approx(here.means.p, rel=1e-6)
    assert there.cliffs_delta == here.cliffs_delta
    assert finite(extreme.document())
    path = tmp_path / "suite.json"
    a_suite(unit).export(path)
    assert Suite.imported(path) == a_suite(unit)
    assert len(a_suite(unit).draw(tmp_path)) == (0 if unit == 1e308 else 2)
    assert max(map(len, a_suite(unit).text().splitlines())) < 200


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, "1.5", None, True])
def test_what_is_no_finite_number_is_refused_with_a_sentence(value: float) -> None:
    suite = Suite("x")
    with pytest.raises(ValueError, match=r"^avro: a result must be a finite number, got ") as refusal:
        suite.add("avro", 1.0, value)
    assert "\n" not in str(refusal.value)
    assert suite.samples == {}
    with pytest.raises(ValueError, match="a box plot must have one or more finite values, got "):
        box_plot([1.0, value])


def test_there_is_no_interval_of_a_single_figure_however_large() -> None:
    for value in (MOST, LEAST, 0.0, -0.0):
        assert intervals.mean([value]) == Estimate(value=value)
        assert intervals.difference([value], [1.0, 2.0]) is not None
