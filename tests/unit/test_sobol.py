"""Sobol's points: those of scipy before they are scrambled, evenly spread after, the same on every machine."""

import math
import random
import statistics
from collections import Counter
from itertools import combinations, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from trainer.experiment.algorithms import sobol

Point = tuple[float, ...]
seeds = st.integers(0, 2**32)


def points(dimensions: int, seed: int, count: int, first: int = 0) -> list[Point]:
    return list(islice(sobol.shares(dimensions, seed), first, first + count))


def cells(there: list[Point], sides: tuple[int, ...]) -> Counter[tuple[int, ...]]:
    """How many points each cell has where the first dimensions are cut into 2**side equal parts."""
    return Counter(tuple(int(share * 2**side) for share, side in zip(point, sides, strict=False)) for point in there)


def test_before_scrambling_the_points_of_all_32_dimensions_are_those_of_scipy() -> None:
    columns = [sobol.directions(dimension) for dimension in range(32)]
    ours = list(islice(sobol.in_gray_order(columns, [0] * 32), 4096))
    theirs = qmc.Sobol(32, scramble=False, bits=32).random(4096)
    assert ours == [tuple(point) for point in theirs.tolist()]


@pytest.mark.parametrize("dimension", range(32))
def test_each_direction_number_has_its_last_digit_where_the_next_one_goes_on(dimension: int) -> None:
    last = [number & -number for number in sobol.directions(dimension)]
    assert last == [2**digit for digit in reversed(range(32))]


@given(seeds, st.integers(0, 8), st.integers(0, 3))
@settings(max_examples=60)
def test_each_part_of_every_dimension_holds_one_point(seed: int, m: int, block: int) -> None:
    there = points(32, seed, 2**m, first=block * 2**m)
    for coordinates in zip(*there, strict=True):
        assert sorted(int(share * 2**m) for share in coordinates) == list(range(2**m))


@given(seeds, st.integers(0, 9), st.integers(0, 3))
@settings(max_examples=60)
def test_each_rectangle_of_the_first_two_dimensions_holds_one_point(seed: int, m: int, block: int) -> None:
    there = points(2, seed, 2**m, first=block * 2**m)
    for across in range(m + 1):
        found = cells(there, (across, m - across))
        assert (len(found), set(found.values())) == (2**m, {1})


@given(seeds)
@settings(max_examples=20)
def test_scrambling_leaves_every_pair_of_dimensions_as_balanced_as_it_was(seed: int) -> None:
    columns = [sobol.directions(dimension) for dimension in range(6)]
    plain = list(islice(sobol.in_gray_order(columns, [0] * 6), 64))
    scrambled = points(6, seed, 64)
    for one, other in combinations(range(6), 2):
        for across in range(7):
            before, after = (
                cells([(point[one], point[other]) for point in there], (across, 6 - across))
                for there in (plain, scrambled)
            )
            assert sorted(before.values()) == sorted(after.values())


@given(seeds)
@settings(max_examples=20)
def test_the_first_1024_points_lie_one_in_each_of_the_halves_of_ten_dimensions(seed: int) -> None:
    found = cells(points(10, seed, 1024), (1,) * 10)
    assert (len(found), set(found.values())) == (1024, {1})


def test_every_coordinate_is_from_0_to_below_1() -> None:
    assert all(0 <= share < 1 for seed in range(20) for point in points(32, seed, 500) for share in point)
    largest = [[2**digit for digit in range(32)]]
    assert next(sobol.in_gray_order(largest, [2**32 - 1])) == (1 - 2**-32,)


def test_the_points_of_a_seed_never_change() -> None:
    assert points(3, 0, 2) == [
        (0.9097462543286383, 0.06227958248928189, 0.9675402534194291),
        (0.34948893054388463, 0.9518590802326798, 0.018765586195513606),
    ]
    assert points(3, 7, 1, first=3) == [(0.9442638198379427, 0.16568555473349988, 0.8673974869307131)]
    assert points(32, 2**31, 1, first=1000)[0][29:] == (0.01748868334107101, 0.16000713524408638, 0.633638296276331)


def test_a_seed_gives_the_same_points_whatever_else_is_drawn() -> None:
    one, other = sobol.shares(4, 5), sobol.shares(4, 5)
    assert [next(one) for _ in range(50)] == points(4, 5, 50)
    random.seed(1)
    assert [next(other) for _ in range(50)] == points(4, 5, 50)


def test_fewer_dimensions_have_the_coordinates_of_the_first_of_more() -> None:
    assert [point[:3] for point in points(32, 11, 100)] == points(3, 11, 100)


def test_seeds_and_dimensions_share_no_coordinates() -> None:
    shares = [share for seed in range(50) for point in points(32, seed, 8) for share in point]
    assert len(set(shares)) == len(shares)


def test_a_smooth_function_is_integrated_better_than_by_random_draws() -> None:
    def error(there: list[Point]) -> float:
        """Of the mean of a product of exponentials, whose integral over eight dimensions is 1."""
        each = (math.prod(math.exp(share - 0.5) / (2 * math.sinh(0.5)) for share in point) for point in there)
        return abs(statistics.fmean(each) - 1)

    for seed in range(10):
        rng = random.Random(seed)
        drawn = [tuple(rng.random() for _ in range(8)) for _ in range(1024)]
        assert error(points(8, seed, 1024)) < error(drawn) / 2


@pytest.mark.parametrize("dimensions", [-1, 0, 33])
def test_other_than_1_to_32_dimensions_are_refused_at_once(dimensions: int) -> None:
    with pytest.raises(ValueError, match=f"must have 1 to 32 dimensions, got {dimensions}$"):
        sobol.shares(dimensions, 0)
