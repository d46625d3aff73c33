"""The points that Random draws: distinct, within their ranges, the same on every machine and for ever."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.experiment.expand import Trial, canonical, expand
from trainer.experiment.spec import Experiment
from unit.builders import an_experiment

RANDOM: dict[str, Any] = {
    "algorithm": "Random",
    "trials": 3,
    "seed": 7,
    "parameters": [
        {"name": "train.learningRate", "range": {"min": 1e-5, "max": 0.1, "scale": "Log"}},
        {"name": "model.hiddenSize", "range": {"min": 16, "max": 256}},
        {"name": "model.kind", "choices": ["MLP", "LSTM"]},
    ],
}


def ids(experiment: Experiment) -> list[str]:
    return [trial.id for trial in expand(experiment)]


def draws(**parameter: Any) -> list[Any]:
    """A thousand values drawn for one parameter."""
    experiment = an_experiment(algorithm="Random", trials=1000, parameters=[parameter])
    return [next(iter(trial.parameters.values())) for trial in expand(experiment)]


def test_random_points_are_distinct_and_the_same_for_the_same_seed() -> None:
    one, same, other = (an_experiment(**{**RANDOM, "trials": 200, "seed": seed}) for seed in (1, 1, 2))
    assert expand(one) == expand(same)
    assert len({canonical(trial.parameters) for trial in expand(one)}) == 200
    assert not set(ids(one)) & set(ids(other))


def test_more_draws_keep_the_first_ones() -> None:
    few, many = (an_experiment(**{**RANDOM, "trials": trials}) for trials in (10, 20))
    assert ids(many)[:10] == ids(few)


def test_random_draws_all_points_there_are() -> None:
    experiment = an_experiment(
        algorithm="Random",
        trials=12,
        parameters=[
            {"name": "model.layers", "range": {"min": 1, "max": 6}},
            {"name": "train.shuffle", "choices": [True, False]},
        ],
    )
    assert len({tuple(trial.parameters.values()) for trial in expand(experiment)}) == 12


@pytest.mark.parametrize("scale", ["Linear", "Log"])
def test_both_ends_of_a_range_of_whole_numbers_are_drawn(scale: str) -> None:
    seen = {
        trial.parameters["model.layers"]
        for seed in range(8)
        for trial in expand(
            an_experiment(
                algorithm="Random",
                trials=3,
                seed=seed,
                parameters=[{"name": "model.layers", "range": {"min": 2, "max": 5, "scale": scale}}],
            )
        )
    }
    assert seen == {2, 3, 4, 5}


def test_a_logarithmic_range_draws_evenly_over_orders_of_magnitude() -> None:
    values = draws(name="train.learningRate", range={"min": 1e-6, "max": 1e-2, "scale": "Log"})
    by_decade = [sum(10.0**-n <= value < 10.0 ** (1 - n) for value in values) for n in (6, 5, 4, 3)]
    assert all(200 <= count <= 300 for count in by_decade)


def test_a_linear_range_draws_evenly() -> None:
    values = draws(name="train.learningRate", range={"min": 1, "max": 3})
    by_quarter = [sum(low <= value < low + 0.5 for value in values) for low in (1, 1.5, 2, 2.5)]
    assert all(200 <= count <= 300 for count in by_quarter)


@given(
    st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.sampled_from(["Linear", "Log"]), st.integers(0, 2**31 - 1)
)  # fmt: skip
@settings(max_examples=100)
def test_every_draw_lies_in_its_range(one: float, other: float, scale: str, seed: int) -> None:
    low, high = sorted((one, other))
    if high <= low * 1.001:
        high = low * 2
    experiment = an_experiment(
        algorithm="Random",
        trials=5,
        seed=seed,
        parameters=[{"name": "train.learningRate", "range": {"min": low, "max": high, "scale": scale}}],
    )
    for trial in expand(experiment):
        assert low <= trial.training.train.learning_rate <= high
        assert trial.training.train.learning_rate == trial.parameters["train.learningRate"]


def test_a_range_whose_ends_have_many_digits_is_not_left_by_rounding() -> None:
    values = draws(name="model.dropout", range={"min": 0.12345649, "max": 0.12900051})
    assert min(values) >= 0.12345649
    assert max(values) <= 0.12900051


def test_of_a_range_with_too_few_values_each_is_drawn_once() -> None:
    experiment = an_experiment(
        algorithm="Random", trials=5, parameters=[{"name": "model.dropout", "range": {"min": 0.1, "max": 0.100002}}]
    )
    assert sorted(trial.parameters["model.dropout"] for trial in expand(experiment)) == [0.1, 0.100001, 0.100002]


def test_random_points_never_change() -> None:
    points = [trial.parameters for trial in expand(an_experiment(**RANDOM))]
    assert [list(point.values()) for point in points] == [
        [0.000197393, 52, "LSTM"],
        [1.9487e-05, 145, "MLP"],
        [1.70607e-05, 138, "MLP"],
    ]


@pytest.mark.slow
def test_ten_thousand_trials_expand_in_two_seconds() -> None:
    experiment = an_experiment(**{**RANDOM, "trials": 10_000})
    began = time.process_time()
    trials: list[Trial] = expand(experiment)
    assert time.process_time() - began < 2  # some 0.5 s on a machine at rest
    assert len({trial.id for trial in trials}) == 10_000
