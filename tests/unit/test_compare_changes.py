"""What was changed between the files of runs: a row for each path, however each file was written."""

from typing import Any

import pytest

from trainer.experiment.entries import Entries
from trainer.experiment.expand import expand
from trainer.experiment.load import load
from trainer.report.compare import changes, side
from unit.builders import a_document, a_record, an_experiment

LR = {"name": "train.learningRate", "choices": [0.001, 0.01]}
PROGRAM = {"program": {"command": ["python", "train.py"], "settings": {"lr": 0.3}}}
ACCURACY = {"objective": {"metric": "accuracy", "direction": "Maximize"}}


def changed(*specs: dict[str, Any]) -> dict[str, tuple[str | None, ...]]:
    return changes([side("x", an_experiment(**spec), Entries()) for spec in specs])


def test_a_file_written_shorter_or_under_another_name_is_no_change() -> None:
    whole = {"objective": {"metric": "validMse", "direction": "Minimize"}, "training": {"train": {"epochs": 20}}}
    assert changed({}, whole | {"repeats": 1, "name": "other"}) == {}
    applied = a_document() | {"metadata": {"name": "x", "namespace": "team", "uid": "1234", "generation": 3}}
    assert changes([side("x", load(each), Entries()) for each in (a_document(), applied)]) == {}


def test_each_field_that_differs_is_a_row_with_the_value_of_each_side() -> None:
    found = changed(
        {},
        {"training": {"model": {"kind": "LSTM"}}, "repeats": 5},
        {"pod": {"resources": {"limits": {"memory": "1Gi"}}}},
    )
    assert found == {
        "training.model.kind": ("MLP", "LSTM", "MLP"),
        "repeats": ("1", "5", "1"),
        "pod.resources.limits.memory": (None, None, "1Gi"),
    }


def test_a_parameter_is_one_row_also_where_another_side_has_one_value_of_it() -> None:
    more = LR | {"choices": [0.001, 0.01, 0.1]}
    hidden = {"name": "model.hiddenSize", "choices": [8, 16]}
    assert changed({"parameters": [LR]}, {"parameters": [more, hidden]}) == {
        "parameters.train.learningRate": ("0.001, 0.01", "0.001, 0.01, 0.1"),
        "parameters.model.hiddenSize": ("fixed at 64", "8, 16"),
    }
    x = [{"name": "x", "choices": [1]}]
    assert changed(
        {**PROGRAM, **ACCURACY, "parameters": x},
        {**PROGRAM, **ACCURACY, "parameters": [*x, {"name": "lr", "choices": [0.1, 0.2]}]},
    ) == {"parameters.lr": ("fixed at 0.3", "0.1, 0.2")}


def test_what_training_says_of_a_field_that_both_vary_does_not_count() -> None:
    assert changed({"parameters": [LR]}, {"parameters": [LR], "training": {"train": {"learningRate": 0.5}}}) == {}


def test_ranges_steps_and_conditions_are_readable() -> None:
    def of(**parameter: Any) -> dict[str, Any]:
        optimizer = {"name": "optimizer", "choices": ["sgd", "adam"]}
        return {**PROGRAM, **ACCURACY, "algorithm": "Random", "trials": 2, "parameters": [optimizer, parameter]}

    found = changed(
        of(name="lr", range={"min": 1e-4, "max": 0.1, "scale": "Log"}),
        of(name="lr", range={"min": 0, "max": 1, "step": 0.5}),
        of(name="lr", choices=[0.1], when={"optimizer": ["sgd"]}),
    )
    assert found == {
        "parameters.lr": ("0.0001 to 0.1, log", "0.0 to 1.0 in steps of 0.5", "0.1, when optimizer is sgd, else 0.3")
    }


def test_a_program_in_place_of_our_trainer_is_told_without_a_training_that_nobody_runs() -> None:
    other = {
        **PROGRAM,
        "objective": {"metric": "validMse", "direction": "Minimize"},
        "parameters": [{"name": "x", "choices": [1]}],
    }
    found = changed({}, other)
    assert found["program.command"] == (None, "python train.py")
    assert not [path for path in found if path.startswith("training.")], "it has defaults alone"
    trained = {"training": {"model": {"kind": "LSTM"}}}
    assert changed(trained, {}, other)["training.model.kind"] == ("LSTM", "MLP", None)
    assert "training.train.epochs" not in changed(trained, other)


@pytest.mark.parametrize("name", ["API_KEY", "WANDB_TOKEN"])
def test_secrets_are_not_shown(name: str) -> None:
    def of(value: str) -> dict[str, Any]:
        return {"pod": {"env": [{"name": name, "value": value}]}}

    (path,), (values,) = zip(*changed(of("correct-horse-1"), of("battery-staple-2"), {}).items(), strict=True)
    assert path == f"pod.env.{name}"
    assert values == ("***", "***", None)


def test_content_that_records_tell_otherwise_is_a_row() -> None:
    experiment = an_experiment(parameters=[LR])

    def of(*hashes: str) -> Any:
        told = zip(expand(experiment), hashes, strict=True)
        return side("x", experiment, Entries([a_record(trial, evidence={"data": each}) for trial, each in told]))

    assert changes([of("a", "a"), of("b", "c")]) == {"content of the data": ("a", "2 different, b and others")}
    assert changes([of("a", "a"), side("x", experiment, Entries())]) == {}
