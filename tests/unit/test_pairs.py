"""Pairs of treatments: known tests, corrections and effect sizes, and what few or equal values allow."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.meta_analysis import effectsize_smd

from trainer.benchmark.findings import Comparison, Pair, Sample, compare
from trainer.benchmark.intervals import (
    by_means,
    by_ranks,
    cliffs_delta,
    hedges_g,
    least_by_ranks,
    magnitude,
    ratio,
)

# Student's sleep data (1908).
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
# Permeability constants of Hollander and Wolfe (1973), page 69.
TERM = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
EARLIER = [1.15, 0.88, 0.90, 0.74, 1.21]

values = st.lists(st.floats(0.5, 10), min_size=2, max_size=12)


def samples(*of: list[float]) -> list[Sample]:
    return [Sample(treatment=f"t{i}", values=tuple(found)) for i, found in enumerate(of)]


def pair(a: list[float], b: list[float]) -> Pair:
    """The pair in which `a` is measured by `b`."""
    (found,) = compare(samples(b, a)).pairs
    return found


def test_mann_and_whitneys_test_is_exact_for_few_values_as_in_hollander_and_wolfe() -> None:
    found = pair(TERM, EARLIER)
    assert found.u == 35
    assert found.ranks.p == pytest.approx(0.2544, abs=1e-4)  # twice the one-sided 0.1272


def test_mann_and_whitneys_test_of_students_sleep_data_is_that_of_r() -> None:
    found = pair(FIRST, SECOND)
    assert found.u == 25.5
    assert found.ranks.p == pytest.approx(0.06933, abs=1e-5)


def test_welchs_test_of_students_sleep_data_is_that_of_r() -> None:
    found = pair(FIRST, SECOND)  # some of whose values are below zero, so it is by the difference
    assert found.means.p == pytest.approx(0.07939, abs=1e-5)
    assert found.ratio is None


def test_a_ratio_of_means_has_welchs_p_of_the_logarithms() -> None:
    # With 2 degrees of freedom t has a closed form: p = 1 - t / sqrt(2 + t²). Both variances of the mean are a ninth.
    a, b = [1.0, 2.0], [10.0, 20.0]
    t = math.log(10) / math.sqrt(2 / 9)
    assert pair(a, b).means.p == pytest.approx(1 - t / math.sqrt(2 + t**2))


@given(values, values)
def test_an_interval_that_leaves_out_one_is_a_p_below_five_in_a_hundred(a: list[float], b: list[float]) -> None:
    estimate, p = ratio(a, b), by_means(a, b)
    assert estimate is not None
    if estimate.interval is not None and p is not None and abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (not estimate.interval.low <= 1 <= estimate.interval.high)


@pytest.mark.parametrize("n", [3, 30])
def test_equal_treatments_with_skewed_times_are_told_apart_no_oftener_than_they_may(n: int) -> None:
    rng = random.Random(n)

    def times() -> list[float]:
        return [0.7 + rng.expovariate(1 / 0.3) for _ in range(n)]

    found = [(by_means(a, b), by_ranks(a, b)[1]) for a, b in ((times(), times()) for _ in range(400))]
    assert sum(means is not None and means < 0.05 for means, _ in found) <= 0.08 * 400
    assert sum(ranks < 0.05 for _, ranks in found) <= 0.08 * 400


def test_where_nothing_varies_ranks_decide() -> None:
    found = pair([0.5, 0.5, 0.5], [1.5, 1.5, 1.5])
    assert found.means == found.ranks
    assert found.means.p == pytest.approx(0.1)


def test_equal_values_among_few_still_get_an_exact_p() -> None:
    # Of the six ways to deal 1 1 2 2 to two treatments, two are as clear as this one.
    assert pair([1.0, 1.0], [2.0, 2.0]).ranks.p == pytest.approx(1 / 3)


def test_treatments_without_any_difference_have_a_p_of_one_and_no_effect() -> None:
    found = pair([2.0, 2.0, 2.0], [2.0, 2.0])
    assert (found.means.p, found.ranks.p, found.cliffs_delta, found.hedges_g) == (1, 1, 0, None)
    assert not found.differs


def test_holms_correction_is_for_all_pairs() -> None:
    rng = random.Random(0)
    found = compare(samples(*([rng.gauss(0.4 * i, 1) for _ in range(12)] for i in range(4)))).pairs
    for chances in ([each.means for each in found], [each.ranks for each in found]):
        corrected = 0.0
        for left, each in zip(range(6, 0, -1), sorted(chances, key=lambda each: each.p), strict=True):
            corrected = max(corrected, min(1.0, left * each.p))
            assert each.corrected == pytest.approx(corrected)
            assert each.differs == (corrected < 0.05)
        assert {each.differs for each in chances} == {True, False}


@pytest.mark.parametrize(
    ("n", "m", "least"), [(2, 2, 2 / 6), (3, 3, 2 / 20), (4, 4, 2 / 70), (5, 3, 2 / 56), (8, 8, 2 / 12870)]
)
def test_values_that_do_not_overlap_have_the_least_p_there_is(n: int, m: int, least: float) -> None:
    assert least_by_ranks(n, m) == pytest.approx(least)
    found = pair([10.0 + i for i in range(n)], [1.0 + i for i in range(m)])
    assert found.ranks.p == pytest.approx(least)
    assert (found.cliffs_delta, found.magnitude) == (1, "large")


@given(values, values)
def test_cliffs_delta_counts_which_of_two_values_is_greater(a: list[float], b: list[float]) -> None:
    counted = sum((x > y) - (x < y) for x, y in itertools.product(a, b)) / (len(a) * len(b))
    u = sum((x > y) + 0.5 * (x == y) for x, y in itertools.product(a, b))
    assert cliffs_delta(u, len(a), len(b)) == pytest.approx(counted, abs=1e-12)


def test_cliffs_delta_of_a_pair_is_that_of_its_values() -> None:
    assert pair(TERM, EARLIER).cliffs_delta == pytest.approx((35 - 15) / 50)


@pytest.mark.parametrize(
    ("delta", "word"),
    [(0.0, "negligible"), (-0.146, "negligible"), (0.2, "small"), (-0.4, "medium"), (0.48, "large")],
)
def test_a_delta_has_a_word_by_its_size(delta: float, word: str) -> None:
    assert magnitude(delta) == word


def test_hedges_g_is_that_of_statsmodels_but_for_its_rounded_factor() -> None:
    # Exact: the gammas of 9 and 8.5 make the factor 0.957653 for 18 degrees of freedom.
    assert hedges_g(FIRST, SECOND) == pytest.approx(-0.83218 * 0.957653, abs=1e-5)
    theirs, _ = effectsize_smd(0.75, 1.789010, 10, 2.33, 2.002249, 10)
    assert hedges_g(FIRST, SECOND) == pytest.approx(float(theirs), abs=1e-3)


@pytest.mark.slow
@settings(max_examples=10)  # each bootstraps twice
@given(values, values)
def test_the_sides_of_a_pair_can_be_swapped(a: list[float], b: list[float]) -> None:
    there, back = pair(a, b), pair(b, a)
    assert there.means.p == pytest.approx(back.means.p)
    assert there.ranks.p == pytest.approx(back.ranks.p)
    assert there.cliffs_delta == pytest.approx(-back.cliffs_delta)
    assert there.ratio is not None
    assert back.ratio is not None
    assert there.ratio.value == pytest.approx(1 / back.ratio.value)
    assert there.ratio.ends == pytest.approx([1 / end for end in back.ratio.ends[::-1]])


def test_of_more_than_eight_treatments_all_pairs_are_tested_and_those_with_the_best_listed() -> None:
    found = compare(samples(*([1.0 + 0.1 * i, 1.1 + 0.1 * i] for i in range(9))))
    assert found.tested == 36
    assert [(each.a, each.b) for each in found.pairs] == [(f"t{i}", "t0") for i in range(1, 9)]


def test_what_ran_once_is_compared_with_nothing() -> None:
    assert compare(samples([1.0], [2.0, 3.0])) == Comparison(tested=0, pairs=())
    assert compare(samples([1.0], [2.0, 3.0], [4.0, 5.0])).between("t2", "t1") is not None
