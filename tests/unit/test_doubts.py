"""What a new experiment is refused for, though every field of it is valid."""

from typing import Any

import pytest

from trainer.experiment.doubts import doubts
from trainer.experiment.expand import expand
from unit.builders import an_experiment


def doubts_of(*parameters: dict[str, Any], **spec: Any) -> list[str]:
    experiment = an_experiment(parameters=list(parameters) or [a("model.layers", 1, 2)], **spec)
    return doubts(experiment, expand(experiment))


def a(name: str, *choices: Any) -> dict[str, Any]:
    return {"name": name, "choices": list(choices)}


CSV = {"data": {"source": "csv", "path": "a.csv"}}
CLASSES = {"data": {"task": "Classification", "classes": 3}}
LOSS = {"metric": "validLogLoss"}


@pytest.mark.parametrize(
    ("parameter", "training", "why"),
    [
        (a("train.momentum", 0.0, 0.5), {}, "only train.optimizer SGD has momentum"),
        (a("train.momentum", 0.0, 0.5), {"train": {"optimizer": "AdamW"}}, "only train.optimizer SGD has momentum"),
        (a("model.heads", 1, 2), {}, "only model.kind Transformer has heads"),
        (a("model.heads", 1, 2), {"model": {"kind": "LSTM"}}, "only model.kind Transformer has heads"),
        (a("evaluate.threshold", 0.4, 0.5), {}, "only Classification with two classes has a threshold"),
        (a("evaluate.threshold", 0.4, 0.5), CLASSES, "only Classification with two classes has a threshold"),
        (a("data.classes", 2, 3), {}, "only data.task Classification has classes"),
        (a("data.period", "1y", "2y"), CSV, "only data.source sp500 and yfinance read it"),
        (a("data.interval", "1d", "1h"), {}, "only data.source yfinance reads it"),
        (a("data.rows", 100, 200), {}, "only data.source synthetic reads it"),
        (a("data.seed", 1, 2), {}, "only data.source synthetic reads it"),
        (a("data.path", "a.csv", "b.csv"), {}, "only data.source csv and parquet and npz read it"),
        (a("data.warmupMessages", 0, 10), {}, "only data.source kafka reads it"),
        (a("data.compression", "None", "Gzip"), {}, "only data.source kafka reads it"),
        (a("data.target", "Close", "Open"), {"data": {"source": "npz", "path": "a.npz"}}, "read it"),
        (a("train.batchPer", "Global", "Worker"), {}, "with one worker both are the same"),
        (a("train.learningRateScaling", "None", "Linear"), {}, "with one worker there is nothing to scale"),
    ],
)
def test_a_parameter_without_effect_is_named_with_the_reason(
    parameter: dict[str, Any], training: dict[str, Any], why: str
) -> None:
    objective = LOSS if "Classification" in str(training) else {"metric": "validMse"}
    (said,) = doubts_of(a("model.layers", 1, 2), parameter, training=training, objective=objective)
    assert said.startswith(f"spec.parameters[1]: must make a difference, but {parameter['name']} makes none here")
    assert why in said
    assert said.endswith("leave the parameter out")


@pytest.mark.parametrize(
    ("parameter", "training", "spec"),
    [
        (a("train.momentum", 0.0, 0.5), {"train": {"optimizer": "SGD"}}, {}),
        (a("model.heads", 1, 2), {"model": {"kind": "Transformer"}}, {}),
        (
            a("evaluate.threshold", 0.4, 0.5),
            {"data": {"task": "Classification"}},
            {"objective": {"metric": "validF1"}},
        ),
        (a("data.classes", 2, 3), {"data": {"task": "Classification"}}, {"objective": LOSS}),
        (a("data.period", "1y", "2y"), {}, {}),
        (a("data.rows", 100, 200), {"data": {"source": "synthetic"}}, {}),
        (a("data.path", "a.csv", "b.csv"), {"data": {"source": "csv", "path": "a.csv"}}, {}),
        (a("train.batchPer", "Global", "Worker"), {}, {"workers": 2}),
        (a("train.learningRateScaling", "None", "Linear"), {}, {"workers": 2}),
        (a("train.threads", 1, 2), {}, {}),
        (a("train.seed", 0, 1), {}, {}),
    ],
)
def test_a_parameter_with_an_effect_is_fine(
    parameter: dict[str, Any], training: dict[str, Any], spec: dict[str, Any]
) -> None:
    assert doubts_of(parameter, training=training, **spec) == []


def test_points_that_are_the_same_training_are_counted_and_every_reason_named() -> None:
    (said,) = doubts_of(
        a("train.optimizer", "Adam", "SGD"),
        a("train.momentum", 0.0, 0.5, 0.9),
        a("model.kind", "MLP", "Transformer"),
        a("model.heads", 2, 4),
    )
    # Of 24 trials Adam has 3 momenta for each of MLP (2 heads) and Transformer: 12 differ from all before them.
    assert "but 12 of 24 trials are the same training as another (trial 1 as 0, " in said
    assert "train.momentum makes no difference there, as only train.optimizer SGD has momentum" in said
    assert "model.heads makes no difference there, as only model.kind Transformer has heads" in said


def test_a_mixed_search_without_such_points_is_fine() -> None:
    assert len(doubts_of(a("train.optimizer", "Adam", "SGD"), a("model.heads", 4))) == 1
    assert doubts_of(a("train.optimizer", "Adam", "SGD"), a("train.weightDecay", 0.0, 0.1)) == []


@pytest.mark.parametrize(
    ("seeds", "repeats", "same"),
    [((0, 1), 3, 2), ((0, 1, 2), 2, 2), ((0, 10), 3, 0), ((5, 7), 3, 1), ((0, 1), 1, 0), ((3, 2, 1, 0), 4, 9)],
)
def test_seeds_beside_repeats_that_are_the_same_training_are_counted(
    seeds: tuple[int, ...], repeats: int, same: int
) -> None:
    found = doubts_of(a("train.seed", *seeds), repeats=repeats)
    assert [f"{same} of {len(seeds) * repeats} trials are the same" in each for each in found] == [True] * (same > 0)
    assert all(each.startswith("spec.repeats: must be 1 where train.seed is a parameter") for each in found)


@pytest.mark.parametrize(
    ("metric", "direction", "task"),
    [
        ("validR2", "Minimize", "Regression"), ("validMse", "Maximize", "Regression"),
        ("validMae", "Maximize", "Regression"), ("validAccuracy", "Minimize", "Classification"),
        ("validF1", "Minimize", "Classification"), ("validLogLoss", "Maximize", "Classification"),
        ("trainSeconds", "Maximize", "Regression"), ("totalSeconds", "Maximize", "Regression"),
    ],
)  # fmt: skip
def test_a_direction_against_the_metrics_nature_is_refused(metric: str, direction: str, task: str) -> None:
    training = {"data": {"task": task}}
    (said,) = doubts_of(objective={"metric": metric, "direction": direction}, training=training)
    assert said.startswith("spec.objective.direction: must be M")
    assert f"for {metric}, got {direction}" in said
    other = {"Minimize": "Maximize", "Maximize": "Minimize"}[direction]
    for fine in ({"metric": metric}, {"metric": metric, "direction": other}):
        assert doubts_of(objective=fine, training=training) == []


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("./a.csv", "a.csv"),
        ("b//a.csv", "b/a.csv"),
        ("b/../a.csv", "a.csv"),
        ("b/./a.csv", "b/a.csv"),
        ("a.csv/", "a.csv"),
    ],
)
def test_another_spelling_of_a_path_is_refused(path: str, plain: str) -> None:
    assert doubts_of(training={"data": {"source": "csv", "path": path}}) == [
        f"spec.training.data.path: must be written as {plain}, got {path}; another spelling gives trials other ids"
    ]
    assert doubts_of(training={"data": {"source": "csv", "path": plain}}) == []


def test_two_spellings_among_choices_are_the_same_training() -> None:
    found = doubts_of(a("data.path", "a.csv", "./a.csv"), training={"data": {"source": "csv", "path": "a.csv"}})
    assert found[0].startswith("spec.parameters[0].choices[1]: must be written as a.csv")
    assert "1 of 2 trials are the same training as another" in found[1]


def test_a_column_that_stands_twice_is_refused() -> None:
    (said,) = doubts_of(training={"data": {"columns": ["Close", "Open", "Close"]}})
    assert said == "spec.training.data.columns: must name a column once, got Close 2 times"


def test_a_scale_test_has_paths_to_doubt_and_no_points() -> None:
    test = an_experiment(kind="ScaleTest", training={"data": {"source": "csv", "path": "./a.csv"}})
    assert len(doubts(test, expand(test))) == 1
