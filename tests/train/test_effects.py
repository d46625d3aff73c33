"""Which fields make no difference, and when, is held against the trainer: the same data set, the same figures."""

from pathlib import Path
from typing import Any

import pytest

from train.builders import a_training, dataset_of, losses, train_alone
from trainer.experiment.doubts import EFFECTS
from trainer.experiment.training import Training
from trainer.training.loop import Result

SGD = {"train": {"optimizer": "SGD"}}
TRANSFORMER = {"model": {"kind": "Transformer", "hiddenSize": 8}}
CLASSES = {"data": {"task": "Classification"}}
# Of each field: another value than its default, a training in which it makes no difference and one in which it does.
TRAINED: dict[str, tuple[Any, dict[str, Any], dict[str, Any] | None]] = {
    "train.momentum": (0.5, {}, SGD),
    "model.heads": (2, {}, TRANSFORMER),
    "evaluate.threshold": (0.9, {}, CLASSES),
    "data.classes": (3, {}, CLASSES),
    "train.batchPer": ("Worker", {}, None),  # with several workers: tests of ranks
    "train.learningRateScaling": ("Linear", {}, None),
    "data.period": ("1y", {}, None),  # these need their sources: tests of data
    "data.interval": ("1h", {}, None),
    "data.tickers": (["A"], {}, None),
    "data.path": ("x.csv", {}, None),
    "data.rows": (200, {}, {}),
    "data.seed": (3, {}, {}),
    "data.target": ("Open", {}, {}),
    "data.testFraction": (0.3, {}, {}),
}


def with_field(path: str, value: Any, sections: dict[str, Any]) -> Training:
    section, _, name = path.partition(".")
    changed = {**sections, section: {**sections.get(section, {}), name: value}}
    return a_training(**changed)


def figures(training: Training, cache: Path) -> tuple[str, list[float], Any]:
    result: Result = train_alone(training, cache)
    return dataset_of(training, cache).manifest.hash, losses(result.progress.history), result.valid


def without_effect() -> list[str]:
    return [path for path in TRAINED if not EFFECTS[path].when(a_training(**TRAINED[path][1]), 1)]


def test_every_field_but_kafkas_is_held_against_the_trainer() -> None:
    rest = {path for path in EFFECTS if path not in TRAINED}
    training = a_training()
    assert all("only data.source kafka reads it" in EFFECTS[path].else_why for path in rest)
    assert not any(EFFECTS[path].when(training, 1) for path in rest)


@pytest.mark.parametrize("path", without_effect())
def test_where_a_field_makes_no_difference_the_figures_are_the_same_to_the_bit(path: str, cache: Path) -> None:
    value, sections, _ = TRAINED[path]
    assert figures(a_training(**sections), cache) == figures(with_field(path, value, sections), cache)


@pytest.mark.parametrize("path", [path for path, (*_, effective) in TRAINED.items() if effective is not None])
def test_where_a_field_makes_a_difference_the_figures_differ(path: str, cache: Path) -> None:
    value, _, sections = TRAINED[path]
    assert sections is not None
    changed = with_field(path, value, sections)
    assert EFFECTS[path].when(changed, 1)
    assert figures(a_training(**sections), cache) != figures(changed, cache)
