"""Intervals: known ones, how often they hold the truth, and where there is none."""

import math
import random
from collections.abc import Callable

import pytest

from trainer.benchmark import intervals
from trainer.benchmark.intervals import Estimate, Interval

# Student's sleep data (1908): the hours that two drugs added. The figures are those of R's t.test.
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def ends(estimate: Estimate | None) -> tuple[float, float]:
    assert estimate is not None
    assert estimate.interval is not None
    return estimate.ends


def skewed(rng: random.Random, n: int) -> list[float]:
    """Times with a mean of 1, as they are measured: a floor, and a long tail above it."""
    return [0.7 + rng.expovariate(1 / 0.3) for _ in range(n)]


def test_a_mean_has_students_interval() -> None:
    assert intervals.mean(FIRST).value == pytest.approx(0.75)
    assert ends(intervals.mean(FIRST)) == pytest.approx((-0.5297804, 2.0297804))


def test_the_interval_of_what_cannot_be_below_zero_ends_there() -> None:
    assert ends(intervals.mean(FIRST, 0.0)) == pytest.approx((0.0, 2.0297804))
    assert intervals.mean([1.0, 1.1], -5.0) == intervals.mean([1.0, 1.1])


def test_a_difference_has_welchs_interval() -> None:
    assert intervals.difference(FIRST, SECOND).value == pytest.approx(-1.58)
    assert ends(intervals.difference(FIRST, SECOND)) == pytest.approx((-3.3654832, 0.2054832))


def test_a_ratio_of_means_has_welchs_interval_of_the_logarithms() -> None:
    # Both means have a variance of a twelfth of their square, which makes 4 degrees of freedom; t from a table.
    reach = 2.776445 * math.sqrt(1 / 12 + 1 / 12)
    found = intervals.ratio([1.0, 2.0, 3.0], [10.0, 20.0, 30.0])
    assert found is not None
    assert found.value == pytest.approx(0.1)
    assert ends(found) == pytest.approx((0.1 * math.exp(-reach), 0.1 * math.exp(reach)), rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_intervals_of_skewed_times_hold_the_truth_as_often_as_they_say(n: int) -> None:
    rng = random.Random(n)
    held = dict.fromkeys(("mean", "difference", "ratio"), 0)
    for _ in range(400):
        a, b = skewed(rng, n), [2 * value for value in skewed(rng, n)]
        truths: dict[str, tuple[Estimate | None, float]] = {
            "mean": (intervals.mean(a), 1),
            "difference": (intervals.difference(a, b), -1),
            "ratio": (intervals.ratio(a, b), 0.5),
        }
        for name, (estimate, truth) in truths.items():
            low, high = ends(estimate)
            held[name] += low <= truth <= high
    # Of a mean alone, Student's t holds a little less than it says when times are skewed.
    assert held["mean"] >= 0.87 * 400
    assert held["difference"] >= 0.93 * 400
    assert held["ratio"] >= 0.93 * 400


def test_the_bootstrap_of_medians_holds_the_truth_too() -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(100):
        low, high = ends(intervals.ratio_of_medians(skewed(rng, 10), [2 * value for value in skewed(rng, 10)]))
        held += low <= 0.5 <= high
    assert held >= 90


def test_the_bootstrap_gives_the_same_interval_every_time() -> None:
    rng = random.Random(2)
    a, b = skewed(rng, 30), skewed(rng, 30)
    assert intervals.ratio_of_medians(a, b) == intervals.ratio_of_medians(a, b)


@pytest.mark.parametrize("ratio", [intervals.ratio, intervals.ratio_of_medians])
def test_there_is_no_ratio_of_what_is_not_above_zero(
    ratio: Callable[[list[float], list[float]], Estimate | None],
) -> None:
    assert ratio([1.0, 0.0], [1.0, 2.0]) is None
    assert ratio([1.0, 2.0], [-1.0, 2.0]) is None


def test_without_spread_or_with_one_value_there_is_a_figure_and_no_interval() -> None:
    for a, b in (([2.0] * 6, [1.0] * 6), ([2.0], [1.0, 1.5])):
        for found in (intervals.mean(a), intervals.difference(a, b), intervals.ratio(a, b)):
            assert found is not None
            assert found.interval is None
            assert found.ends == (found.value, found.value)
    medians = intervals.ratio_of_medians([2.0] * 6, [1.0] * 6)
    assert medians == Estimate(value=2.0)


def test_a_spread_on_one_side_is_enough_for_an_interval() -> None:
    low, high = ends(intervals.ratio([2.0] * 6, [1.0, 1.1, 1.2, 1.0, 0.9, 0.8]))
    assert low < 2 < high


def test_of_fewer_than_five_runs_a_ratio_of_medians_has_no_interval() -> None:
    assert intervals.ratio_of_medians([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]) == Estimate(value=1.0)


def test_an_interval_too_wide_for_numbers_is_none() -> None:
    found = intervals.ratio([1e-9, 1.0], [1e-9, 1.0])
    assert found is not None
    assert found.interval is None or found.interval.high < math.inf
    assert intervals.ratio([1e-300, 1.0], [1.0, 1e9]) is not None


def test_an_estimate_in_another_unit_keeps_its_interval() -> None:
    whole = Estimate(value=2.0, interval=Interval(low=1.0, high=4.0))
    assert whole.scaled(0.5) == Estimate(value=1.0, interval=Interval(low=0.5, high=2.0))
    assert Estimate(value=2.0).scaled(0.5) == Estimate(value=1.0)
