"""Loading: one meaning for a file and for the object read back from an API server."""

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from trainer.experiment.errors import InvalidExperiment, UserError
from trainer.experiment.expand import expand
from trainer.experiment.load import load, read
from trainer.experiment.progress import ProgressReport
from trainer.experiment.section import WORDS
from trainer.experiment.spec import HyperparamSearch, ScaleTest, SearchSpec
from unit.builders import a_document, an_experiment

GOOD: dict[str, dict[str, Any]] = {
    "a time needs no validation set": {
        "objective": {"metric": "totalSeconds"},
        "training": {"data": {"validFraction": 0}},
    },
    "an npz file may bring its own validation set": {
        "training": {"data": {"source": "npz", "path": "/x.npz", "validFraction": 0}}
    },
    "a parameter's fractions count, not those of training": {
        "parameters": [{"name": "data.validFraction", "choices": [0.1, 0.2]}],
        "training": {"data": {"validFraction": 0}},
    },
    "whole numbers in place of floats": {"parameters": [{"name": "train.learningRate", "choices": [1, 2]}]},
    "whole floats in place of whole numbers": {"repeats": 2.0, "training": {"train": {"epochs": 3.0}}},
    "a quantity that is a number": {"pod": {"resources": {"limits": {"cpu": 2}}}},
    "all draws that there are": {
        "algorithm": "Random",
        "trials": 3,
        "parameters": [{"name": "model.layers", "range": {"min": 1, "max": 3}}],
    },
    "more draws than there are points": {
        "algorithm": "Random",
        "trials": 7,
        "parameters": [{"name": "model.layers", "range": {"min": 1, "max": 3}}],
    },
    "points on steps, whatever their last digit": {
        "parameters": [{"name": "model.dropout", "range": {"min": 0, "max": 0.5, "step": 0.1}}],
        "points": [{"parameters": {"model.dropout": 0.1 + 0.2}}, {"parameters": {"model.dropout": 0.5}}],
    },
    "points of a parameter that counts, and of one that doesn't": {
        "parameters": [
            {"name": "train.optimizer", "choices": ["SGD", "Adam"]},
            {"name": "train.momentum", "choices": [0.5, 0.9], "when": {"train.optimizer": ["SGD"]}},
        ],
        "points": [
            {"parameters": {"train.momentum": 0.9, "train.optimizer": "SGD"}},
            {"parameters": {"train.optimizer": "Adam"}},
        ],
    },
    "a target at the end of what a metric can be": {"objective": {"metric": "validR2"}, "budget": {"target": 1}},
    "a program's accuracy in percent": {
        "objective": {"metric": "validAccuracy"},
        "parameters": [{"name": "lr", "choices": [1, 2]}],
        "program": {"command": ["./train.sh"]},
        "budget": {"target": 95},
        "constraints": [{"metric": "validF1", "atLeast": 50}],
    },
    "a cost of what a limit allocates": {
        "budget": {"maxCost": 2},
        "prices": {"gpuHour": 1},
        "pod": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
    },
    "as many repeats as run at once": {"repeats": 4, "earlyStopping": {"rule": "Median"}},
    "a first rung before the last epoch of some trials": {
        "parameters": [{"name": "train.epochs", "choices": [1, 20]}],
        "earlyStopping": {"rule": "ASHA", "minStep": 19, "reduction": 2},
    },
    "a constraint on what every task has": {
        "objective": {"metric": "totalSeconds"},
        "parameters": [{"name": "data.task", "choices": ["Regression", "Classification"]}],
        "constraints": [{"metric": "dataSeconds", "atMost": 5}, {"metric": "peakMemoryBytes", "atMost": 10**9}],
    },
    "the largest seeds": {"repeats": 2, "training": {"train": {"seed": 2**31 - 2}}},
}


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD)
def test_what_is_right_is_taken(spec: dict[str, Any]) -> None:
    assert expand(load(a_document(**spec)))


def test_minus_zero_is_zero() -> None:
    zero, minus = (an_experiment(training={"model": {"dropout": value}}) for value in (0.0, -0.0))
    assert math.copysign(1, minus.spec.training.model.dropout) == 1
    assert [trial.id for trial in expand(minus)] == [trial.id for trial in expand(zero)]


TEXT = """
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {name: sp500-grid}
spec:
  objective: {metric: validMse}
  parameters:
    - {name: train.learningRate, choices: [1e-4, 1e-3, 1.0]}
    - {name: model.hiddenSize, choices: [0x20, 64]}
  training:
    train: {epochs: 2e1, weightDecay: -0.0, momentum: 0.0, seed: 0}
  parallelTrials: 1_8
"""


def as_the_api_server_gives_it_back() -> dict[str, Any]:
    """What TEXT becomes on a cluster: whole floats are integers, and the server has added what is its own."""
    return {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "HyperparamSearch",
        "metadata": {
            "name": "sp500-grid", "namespace": "default", "uid": "7d7a2c52-0f5c-4a0e-9c4e-2f8e0e7c9a11",
            "generation": 2, "resourceVersion": "12345", "creationTimestamp": "2025-01-01T00:00:00Z",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}, "labels": {"a": "b"},
            "managedFields": [{"manager": "kubectl", "fieldsV1": nested(60), "time": "2025-01-01T00:00:00Z"}],
        },
        "spec": {
            "objective": {"metric": "validMse"},
            "parameters": [
                {"name": "train.learningRate", "choices": [0.0001, 0.001, 1]},
                {"name": "model.hiddenSize", "choices": [32, 64]},
            ],
            "training": {"train": {"epochs": 20, "weightDecay": 0, "momentum": 0, "seed": 0}},
            "parallelTrials": 18,
        },
        "status": {"summary": {"best": {"value": math.inf}}, "conditions": [nested(60)]},
    }  # fmt: skip


def nested(depth: int) -> dict[str, Any]:
    return {"x": nested(depth - 1)} if depth else {}


def test_a_file_and_the_object_read_back_are_the_same_experiment_with_the_same_ids() -> None:
    there = as_the_api_server_gives_it_back()
    before = copy.deepcopy(there)
    ours, theirs = load(TEXT), load(there)
    assert ours.spec == theirs.spec
    assert ours.name == theirs.name
    assert expand(ours) == expand(theirs)
    assert there == before


def test_a_file_that_was_got_from_a_cluster_loads_too() -> None:
    there = as_the_api_server_gives_it_back()
    assert load(yaml.safe_dump(there)) == load(json.dumps(there)) == load(there)


def test_a_loaded_experiment_says_itself_again() -> None:
    experiment = load(TEXT)
    assert load(experiment.document()) == experiment
    assert load(experiment.document(sparse=True)) == experiment


@pytest.mark.parametrize("earlier", ["runs/a", "../a", "hps", "hps/a-1", "./sct/a", "scts/a", "/data/hps/A"])
def test_a_warm_start_is_from_a_folder_or_from_a_search_of_the_cluster(earlier: str) -> None:
    spec = an_experiment(algorithm="TPE", trials=3, warmStart=earlier).spec
    assert isinstance(spec, SearchSpec)
    assert spec.warm_start == earlier


def test_every_pattern_of_the_models_has_words() -> None:
    found: set[str] = set()

    def look(node: Any) -> None:
        if isinstance(node, dict):
            found.update([node["pattern"]] if isinstance(node.get("pattern"), str) else [])
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for value in node:
                look(value)

    kinds: list[type[BaseModel]] = [HyperparamSearch, ScaleTest, ProgressReport]
    for kind in kinds:
        look(kind.model_json_schema())
    assert found == set(WORDS)


def test_a_file_is_read_and_its_mistakes_name_it(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(TEXT, encoding="utf-8")
    assert read(file) == load(TEXT)
    file.write_text(TEXT.replace("1_8", "0"), encoding="utf-8")
    with pytest.raises(InvalidExperiment) as refusal:
        read(file)
    assert refusal.value.mistakes == (f"{file}: spec.parallelTrials: must be >= 1, got 0",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"a: \xff", "must be UTF-8 text, got byte 0xff"),
        (b"#" * 1_000_001, "must have at most 1000000 bytes, got 1000001"),
        (b"", "the file is empty"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_of_the_users(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    file = tmp_path / "search.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=f"^{re.escape(f'{file}: {sentence}')}"):
        read(file)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read(tmp_path)
