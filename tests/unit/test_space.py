"""The points of a space: how many there are, which values lie inside, and how algorithms go through them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.experiment.algorithms import draws, grid, sobol
from trainer.experiment.expand import expand, planned, samples
from trainer.experiment.space import counts, holds, key, size
from trainer.experiment.spec import HyperparamSearch, SearchSpec
from unit.builders import an_experiment

RATE = {"name": "lr", "range": {"min": 0.001, "max": 0.1, "scale": "Log"}}
STEPS = {"name": "width", "range": {"min": 8, "max": 32, "step": 8}}
KIND = {"name": "kind", "choices": ["a", "b", True]}
ONLY_A = {"name": "heads", "choices": [1, 2, 4], "when": {"kind": "a"}}


def a_spec(*parameters: dict[str, Any], **more: Any) -> SearchSpec:
    search = an_experiment(
        objective={"metric": "loss", "direction": "Minimize"},
        parameters=list(parameters),
        program={"command": ["true"]},
        **{"algorithm": "Random", "trials": 5} | more,
    )
    assert isinstance(search, HyperparamSearch)
    return search.spec


@pytest.mark.parametrize(
    ("parameters", "there"),
    [
        ([STEPS], 4),
        ([STEPS, KIND], 12),
        ([KIND, ONLY_A], 5),
        ([KIND, ONLY_A, STEPS], 20),
        ([RATE], 100),
        ([KIND, ONLY_A | {"when": {"kind": ["a", "b"]}}], 7),
    ],
)
def test_points_are_counted(parameters: list[dict[str, Any]], there: int) -> None:
    spec = a_spec(*parameters)
    assert size(spec, 100) == there
    assert size(spec, 3) == 3
    if there < 100:
        assert len(list(grid.points(spec))) == there


def test_a_space_of_whole_numbers_is_counted_where_the_field_takes_no_others() -> None:
    search = an_experiment(
        algorithm="Random", trials=9, parameters=[{"name": "model.layers", "range": {"min": 1, "max": 3}}]
    )
    assert isinstance(search, HyperparamSearch)
    assert size(search.spec, 100) == 3
    assert sorted(trial.parameters["model.layers"] for trial in expand(search)) == [1, 2, 3]


def test_values_inside() -> None:
    spec = a_spec(RATE, STEPS, KIND)
    rate, steps, kind = spec.parameters
    assert holds(spec, rate, 0.01)
    assert not holds(spec, rate, 0.2)
    assert not holds(spec, rate, "0.01")
    assert holds(spec, steps, 16)
    assert not holds(spec, steps, 17)
    assert holds(spec, kind, True)
    assert not holds(spec, kind, 1)


@given(
    algorithm=st.sampled_from([draws, sobol]),
    seed=st.integers(0, 1000),
    parameters=st.permutations([RATE, STEPS, KIND]).map(lambda some: [*some, ONLY_A]),
)
def test_drawn_points_are_distinct_inside_and_the_same_again(
    algorithm: Any, seed: int, parameters: list[dict[str, Any]]
) -> None:
    spec = a_spec(*parameters, seed=seed)
    first = [point for point, _ in zip(algorithm.points(spec), range(30), strict=False)]
    assert first == [point for point, _ in zip(algorithm.points(spec), range(30), strict=False)]
    assert len({key(point) for point in first}) == 30
    for point in first:
        for parameter in spec.parameters:
            assert (parameter.name in point) == counts(parameter, point)
            assert parameter.name not in point or holds(spec, parameter, point[parameter.name])


@pytest.mark.parametrize("algorithm", [draws, sobol])
def test_a_small_space_is_gone_through_to_its_end(algorithm: Any) -> None:
    spec = a_spec(STEPS, KIND, ONLY_A)
    assert {key(point) for point in algorithm.points(spec)} == {key(point) for point in grid.points(spec)}


@pytest.mark.parametrize("algorithm", ["Random", "Sobol"])
def test_known_points_come_first_and_count(algorithm: str) -> None:
    known = [{"parameters": {"width": 16, "lr": 0.05}}]
    search = an_experiment(
        objective={"metric": "loss", "direction": "Minimize"},
        program={"command": ["true"]},
        algorithm=algorithm,
        trials=4,
        parameters=[RATE, STEPS],
        points=known,
    )
    trials = expand(search)
    assert list(trials[0].parameters.items()) == [("lr", 0.05), ("width", 16)]
    without = an_experiment(
        objective={"metric": "loss", "direction": "Minimize"},
        program={"command": ["true"]},
        algorithm=algorithm,
        trials=3,
        parameters=[RATE, STEPS],
    )
    assert [trial.id for trial in trials[1:]] == [trial.id for trial in expand(without)]


def test_a_grid_does_not_try_a_known_point_again() -> None:
    search = an_experiment(
        parameters=[{"name": "model.layers", "choices": [1, 2, 3]}], points=[{"parameters": {"model.layers": 3}}]
    )
    assert [trial.parameters["model.layers"] for trial in expand(search)] == [3, 1, 2]


def test_a_learning_search_has_the_points_that_were_suggested() -> None:
    search = an_experiment(
        algorithm="TPE", trials=9, repeats=2, parameters=[{"name": "model.dropout", "range": {"min": 0, "max": 0.5}}]
    )
    assert expand(search) == []
    assert planned(search) == 9
    assert isinstance(search, HyperparamSearch)
    assert len(samples(search)) > 10
    trials = expand(search, [{"model.dropout": 0.25}, {"model.dropout": 0.125}])
    assert [(trial.index, trial.point, trial.repeat) for trial in trials] == [
        (0, 0, 0),
        (1, 0, 1),
        (2, 1, 0),
        (3, 1, 1),
    ]
