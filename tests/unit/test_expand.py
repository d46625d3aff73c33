"""Which trials there are and what they are called. The ids here must never change: finished trials go by them."""

import hashlib
import json
import math
from typing import Any

import pytest

from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.expand import canonical, expand
from trainer.experiment.load import load
from trainer.experiment.spec import Experiment
from trainer.experiment.training import Training
from trainer.scheduling.workload import running_order
from unit.builders import GRID, a_document, an_experiment

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
UNUSUAL: dict[str, Any] = {
    "workers": 2,
    "parameters": [{"name": "data.path", "choices": ["/data/größe.csv"]}],
    "training": {
        "data": {"source": "csv", "path": "x", "columns": ["a b", "😀"], "validFraction": 0.25},
        "train": {"weightDecay": 1e-7, "learningRate": 1.0},
    },
}


def ids(experiment: Experiment) -> list[str]:
    return [trial.id for trial in expand(experiment)]


GOLDEN = {
    "the grid of the example": (
        an_experiment(),
        "395686d317 3b5ddef809 f7ca56ff1d de3012141c b2a86bbcc3 6d1930e104 e3de72d9bc e0b8b50990",
    ),
    "random points with repeats": (
        an_experiment(repeats=2, **RANDOM),
        "c95b465008 1071d479a4 af0699048e d935d38524 e9ab76ebcc 04d3a90770",
    ),
    "a scale test": (
        an_experiment(kind="ScaleTest", axes={"multipliers": [1, 200], "workers": [1, 2]}),
        "8de8c7261a 23811844c6 0373dca775 717f9cfc7c",
    ),
    "text, small numbers and two workers": (an_experiment(**UNUSUAL), "6e2527e440"),
}


@pytest.mark.parametrize(("experiment", "known"), GOLDEN.values(), ids=GOLDEN)
def test_ids_never_change(experiment: Experiment, known: str) -> None:
    assert " ".join(ids(experiment)[:8]) == known


def test_a_shuffled_order_never_changes() -> None:
    experiment = an_experiment(order="Shuffled", seed=3)
    order = [trial.index for trial in running_order(experiment, expand(experiment))]
    assert order == [6, 1, 11, 17, 13, 15, 3, 7, 10, 2, 14, 12, 0, 8, 16, 5, 9, 4]


@pytest.mark.parametrize("experiment", [one for one, _ in GOLDEN.values()], ids=GOLDEN)
def test_an_id_is_the_hash_of_kind_training_workers_and_repeat(experiment: Experiment) -> None:
    for trial in expand(experiment):
        document = {
            "kind": experiment.kind,
            "training": trial.training.document(sparse=True),
            "workers": trial.workers,
            "repeat": trial.repeat,
        }
        assert hashlib.sha256(canonical(document).encode()).hexdigest()[:10] == trial.id


@pytest.mark.parametrize("experiment", [one for one, _ in GOLDEN.values()], ids=GOLDEN)
def test_a_trials_training_is_what_a_file_with_its_values_would_say(experiment: Experiment) -> None:
    for trial in expand(experiment):
        document = experiment.spec.training.document()
        for path, value in trial.parameters.items():
            section, field = path.split(".")
            document[section][field] = value
        document["train"]["seed"] += trial.repeat
        assert trial.training == Training.model_validate_json(json.dumps(document))
        assert [type(value) for value in trial.training.train] == [
            type(value) for value in Training.model_validate_json(json.dumps(document)).train
        ]


SAME_IDS: dict[str, dict[str, Any]] = {
    "the order of running": {"order": "Shuffled"},
    "the seed of the order": {"seed": 9},
    "how many run at once": {"parallelTrials": 7},
    "budgets": {"maxFailedTrials": 0, "deadlineSeconds": 1},
    "the pod": {"pod": {"image": "x", "resources": {"limits": {"memory": "1Gi"}}}},
    "suspend and rerun": {"suspend": True, "rerun": 4},
    "the objective": {"objective": {"metric": "totalSeconds"}},
    "a field that a parameter sets": {"training": {"model": {"hiddenSize": 7}}},
    "defaults spelt out": {
        "training": {"train": {"seed": 0, "epochs": 20, "weightDecay": -0.0}, "data": {"source": "sp500"}}
    },
    "all defaults spelt out": {"training": Training().document()},
}


@pytest.mark.parametrize("spec", SAME_IDS.values(), ids=SAME_IDS)
def test_ids_do_not_depend_on(spec: dict[str, Any]) -> None:
    assert ids(an_experiment(**spec)) == ids(an_experiment())


def test_ids_do_not_depend_on_the_name_or_other_metadata() -> None:
    document = a_document(name="another")
    document["metadata"] |= {"uid": "7d7a", "namespace": "there", "generation": 3}
    assert ids(load(document)) == ids(an_experiment())


DIFFERENT_IDS: dict[str, dict[str, Any]] = {
    "a field of training": {"training": {"train": {"epochs": 21}}},
    "the seed of training": {"training": {"train": {"seed": 1}}},
    "the workers": {"workers": 2},
}


@pytest.mark.parametrize("spec", DIFFERENT_IDS.values(), ids=DIFFERENT_IDS)
def test_ids_depend_on(spec: dict[str, Any]) -> None:
    assert not set(ids(an_experiment(**spec))) & set(ids(an_experiment()))


def test_the_kind_is_part_of_an_id() -> None:
    search = an_experiment(parameters=[{"name": "data.multiplier", "choices": [1, 10]}])
    test = an_experiment(kind="ScaleTest", axes={"multipliers": [1, 10]})
    assert [trial.training for trial in expand(search)] == [trial.training for trial in expand(test)]
    assert not set(ids(search)) & set(ids(test))


def test_a_choice_more_keeps_the_ids_of_the_others() -> None:
    rates, sizes, layers = GRID
    more = an_experiment(parameters=[rates, {**sizes, "choices": [16, 32, 64, 128]}, layers])
    assert set(ids(an_experiment())) < set(ids(more))


def test_parameters_and_choices_in_another_order_have_the_same_ids() -> None:
    turned = [{**parameter, "choices": parameter["choices"][::-1]} for parameter in reversed(GRID)]  # type: ignore[index]
    assert ids(an_experiment(parameters=turned)) != ids(an_experiment())
    assert set(ids(an_experiment(parameters=turned))) == set(ids(an_experiment()))


def test_a_grid_is_listed_with_the_last_parameter_fastest() -> None:
    trials = expand(an_experiment())
    points = [list(trial.parameters.values()) for trial in trials]
    assert points[:3] == [[0.0001, 32, 1], [0.0001, 32, 2], [0.0001, 64, 1]]
    assert [trial.index for trial in trials] == list(range(18))
    assert trials[3].name == "0003-de3012141c"


def test_repeats_share_a_point_and_shift_the_seed() -> None:
    trials = expand(an_experiment(repeats=3, training={"train": {"seed": 5}}))
    assert [trial.training.train.seed for trial in trials[:4]] == [5, 6, 7, 5]
    assert [trial.repeat for trial in trials[:4]] == [0, 1, 2, 0]
    assert [trial.point for trial in trials[:4]] == [0, 0, 0, 1]
    assert trials[0].parameters == trials[2].parameters
    assert len(set(ids(an_experiment(repeats=3)))) == 54


def test_repeats_shift_the_seed_that_a_parameter_sets() -> None:
    trials = expand(an_experiment(repeats=2, parameters=[{"name": "train.seed", "choices": [0, 1]}]))
    assert [trial.training.train.seed for trial in trials] == [0, 1, 1, 2]
    assert len({trial.id for trial in trials}) == 4


def test_the_first_repeat_is_the_trial_of_a_search_without_repeats() -> None:
    assert ids(an_experiment(repeats=3))[::3] == ids(an_experiment())


def test_a_scale_test_measures_every_size_with_every_worker_count() -> None:
    trials = expand(an_experiment(kind="ScaleTest", axes={"multipliers": [1, 10], "workers": [1, 4]}))
    cells = [(trial.workers, trial.training.data.multiplier) for trial in trials]
    assert cells == [(1, 1), (1, 10), (4, 1), (4, 10)]


def test_points_that_make_no_training_are_all_named() -> None:
    experiment = an_experiment(
        parameters=[
            {"name": "model.kind", "choices": ["MLP", "Transformer"]},
            {"name": "model.hiddenSize", "choices": [30, 64, 66]},
            {"name": "data.source", "choices": ["sp500", "csv"]},
        ],
        repeats=2,
    )
    with pytest.raises(InvalidExperiment) as refusal:
        expand(experiment)
    assert len(refusal.value.mistakes) == 8
    here = 'spec.parameters: must fit each other, got model.kind "Transformer", model.hiddenSize 30, data.source'
    heads = "heads must divide hiddenSize, got heads 4 and hiddenSize 30"
    assert refusal.value.mistakes[3:5] == (
        f'{here} "sp500": {heads}',
        f'{here} "csv": path is required with source csv, got none; {heads}',
    )


def test_of_very_many_such_points_a_hundred_are_named() -> None:
    experiment = an_experiment(
        parameters=[
            {"name": "data.source", "choices": ["csv"]},
            {"name": "model.hiddenSize", "choices": list(range(1, 61))},
            {"name": "train.epochs", "choices": [1, 2]},
        ]
    )
    with pytest.raises(InvalidExperiment) as refusal:
        expand(experiment)
    assert len(refusal.value.mistakes) == 101
    assert refusal.value.mistakes[-1].endswith("got 20 more points that do not")


def test_trials_share_the_sections_that_do_not_vary() -> None:
    trials = expand(an_experiment())
    assert len({id(trial.training.data) for trial in trials}) == 1
    assert len({id(trial.training.model) for trial in trials}) == 6


def test_every_trial_runs_once_in_a_shuffled_order() -> None:
    experiment = an_experiment(order="Shuffled", seed=1)
    trials = expand(experiment)
    order = running_order(experiment, trials)
    assert order != trials
    assert sorted(order, key=lambda trial: trial.index) == trials
    assert running_order(an_experiment(), trials) == trials


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1.0, "a": -0.0}, '{"a":0,"b":1}'),
        ([1e-5, 1e16, 0.1, True, None, "é"], '[1e-05,10000000000000000,0.1,true,null,"\\u00e9"]'),
        (({"x": (1.5,)},), '[{"x":[1.5]}]'),
    ],
)
def test_canonical_json_has_one_spelling(value: Any, text: str) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_canonical_json_has_no_spelling_for_what_is_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(value)
