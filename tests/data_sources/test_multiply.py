"""The virtual multiple: the base to the bit, then noise that depends on the sample's number alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.dataset import Part
from trainer.data.multiply import SEED, X_SIGMA, Y_SIGMA, Multiplied
from trainer.data.noise import picks, quantiles, splitmix64


def part(count=50, window=6, features=5, dtype=np.float32):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, window, features)).astype(np.float32)
    y = rng.integers(0, 2, count).astype(dtype)
    return Part((x,), (y,), count, (window, features), np.dtype(dtype))


def test_the_generator_is_splitmix64():
    # The first outputs for seed 1234567 of Vigna's reference implementation, as published with it.
    states = (1234567 + np.arange(1, 6, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    assert splitmix64(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_once_is_the_base_to_the_bit():
    base = part()
    order = np.random.default_rng(1).permutation(50)
    x, y = Multiplied(base, 1).gather(order)
    assert x.tobytes() == base.x[0][order].tobytes()
    assert y.tobytes() == base.y[0][order].tobytes()


def test_the_first_fold_of_many_is_the_base_to_the_bit():
    base = part()
    x, y = Multiplied(base, 7).gather(np.arange(50))
    assert x.tobytes() == base.x[0].tobytes()
    assert y.tobytes() == base.y[0].tobytes()


@settings(max_examples=40)
@given(st.lists(st.integers(0, 349), min_size=1, max_size=150), st.randoms())
def test_a_sample_is_the_same_in_any_batch_and_order(indices, random):
    many = Multiplied(part(), 7)
    x, y = many.gather(np.array(indices))
    places = list(range(len(indices)))
    random.shuffle(places)
    for place in places[:10]:
        alone_x, alone_y = many.gather(np.array([indices[place]]))
        assert alone_x.tobytes() == x[place].tobytes()
        assert alone_y[0] == y[place]


def test_noise_does_not_depend_on_the_multiplier():
    base = part()
    indices = np.arange(50, 100)
    assert np.array_equal(Multiplied(base, 2).gather(indices)[0], Multiplied(base, 200).gather(indices)[0])


def test_copies_carry_noise_of_the_stated_size_on_x_and_y():
    base = part(200, 60, 5)
    many = Multiplied(base, 20)
    indices = np.arange(200, len(many))
    x, y = many.gather(indices)
    clean_x, clean_y = base.gather(indices % 200)
    assert np.std(x - clean_x) == pytest.approx(X_SIGMA, rel=0.003)
    assert np.std(y - clean_y) == pytest.approx(Y_SIGMA, rel=0.05)
    assert abs(np.mean(x - clean_x)) < 4 * X_SIGMA / np.sqrt(x.size)


def test_classes_are_never_disturbed():
    base = part(dtype=np.int64)
    _, y = Multiplied(base, 3).gather(np.arange(150))
    assert y.dtype == np.int64
    assert np.array_equal(y, np.tile(base.y[0], 3))


def test_noise_is_normal_and_independent():
    """Moments, Kolmogorov-Smirnov, and correlations between neighbouring values, samples and folds."""
    from scipy import stats

    z = quantiles(1.0)[picks(SEED, np.arange(4000), 300)].astype(np.float64)
    count = z.size
    assert abs(z.mean()) < 4 / np.sqrt(count)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / count)
    assert abs((z**3).mean()) < 4 * np.sqrt(15 / count)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / count)
    assert stats.kstest(z[:, ::7].ravel(), "norm").pvalue > 0.001
    for left, right in (
        (z[:, :-1], z[:, 1:]),  # neighbours, within a word and across words
        (z[:, :-4], z[:, 4:]),  # the same place in neighbouring words
        (z[:-1], z[1:]),  # the same place in neighbouring samples
        (z[:-845], z[845:]),  # the same place in the same base sample's next copy
        (z[:, :-1] ** 2 - 1, (z[:, 1:] ** 2 - 1) / 2),
    ):
        assert abs((left * right).mean()) < 4.5 / np.sqrt(left.size)


def test_every_place_of_the_table_is_equally_likely():
    from scipy import stats

    found = picks(SEED, np.arange(2000), 300)
    assert stats.chisquare(np.bincount(found.ravel() >> 8, minlength=256)).pvalue > 0.001
    assert stats.chisquare(np.bincount(found.ravel() & 0xFF, minlength=256)).pvalue > 0.001


def test_seeds_next_to_each_other_share_no_word():
    def words(seed):
        return set(map(tuple, picks(seed, np.arange(50), 300).reshape(-1, 4).tolist()))

    assert len(words(42)) == 50 * 75
    assert not words(42) & words(43)


def test_the_noise_is_pinned():
    """The same on every machine and in every version: results of a search depend on it."""
    assert picks(SEED, np.array([50, 10**9]), 6).tolist() == [
        [8728, 49458, 53771, 44141, 11451, 45054],
        [62044, 56174, 32212, 16076, 41136, 15323],
    ]
    assert quantiles(X_SIGMA)[[0, 8728, 65_535]].tolist() == [
        -0.08649925887584686,
        -0.02222931943833828,
        0.08649925887584686,
    ]


@pytest.mark.parametrize("index", [-1, 350])
def test_a_sample_beyond_the_set_is_an_error(index):
    with pytest.raises(IndexError, match=f"samples 0 to 349 exist, got {index}"):
        Multiplied(part(), 7).gather(np.array([index]))
