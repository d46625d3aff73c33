"""The schema for editors takes every valid file and refuses the invalid ones whose mistake a schema can see."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from trainer.commands.schema import schema, text
from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.load import KINDS
from trainer.experiment.yaml_text import parse
from unit.builders import a_document
from unit.test_corpus import EXAMPLES, INVALID, ROOT, VALID

SCHEMA = schema()
VALIDATOR = Draft202012Validator(SCHEMA)
# Python's `$` matches before a last newline; an editor's does not.
SEEN_BY_EDITORS_ALONE = {"name-with-a-newline"}


def mistakes(document: Any) -> list[str]:
    """Each mistake as the path of the value that has it and the word of the schema that it breaks."""
    return [f"{error.json_path.removeprefix('$')}: {error.validator}" for error in VALIDATOR.iter_errors(document)]


def whole(value: Any) -> Any:
    """With whole floats as integers, as `load` and a schema see them."""
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def seen_by_a_schema(document: Any) -> bool:
    """Whether the models refuse a document for a single field, and not for what several say together."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind not in KINDS:
        return True
    try:
        KINDS[kind].model_validate_json(json.dumps(whole(document)))
    except ValidationError as error:
        return any(problem["type"] != "value_error" for problem in error.errors())
    return False


def has_no_json(document: Any) -> bool:
    """Whether it holds NaN or an infinity, which are numbers to a schema."""
    try:
        json.dumps(document, allow_nan=False)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("file", VALID + EXAMPLES, ids=lambda file: file.stem)
def test_a_valid_file_has_no_mistake(file: Path) -> None:
    assert mistakes(parse(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_a_file_has_a_mistake_where_a_field_does_not_fit_its_model(file: Path) -> None:
    try:
        document = parse(file.read_text(encoding="utf-8"))
    except InvalidExperiment:  # no YAML, so nothing that a schema could judge
        return
    if not has_no_json(document) and seen_by_a_schema(document) and file.stem not in SEEN_BY_EDITORS_ALONE:
        assert mistakes(document)


def test_mistakes_are_put_down_to_the_field_that_has_them() -> None:
    document = a_document(repeats=0, paralelTrials=2, training={"train": {"learningRate": 0, "optimizer": "Adan"}})
    assert sorted(mistakes(document)) == [
        ".spec.repeats: minimum",
        ".spec.training.train.learningRate: exclusiveMinimum",
        ".spec.training.train.optimizer: enum",
        ".spec: additionalProperties",
    ]


@pytest.mark.parametrize(
    ("parameter", "fits"),
    [
        ({"choices": [1, 0.5, "MLP", True]}, True), ({"choices": [1], "range": None}, True),
        ({"range": {"min": 1, "max": 2}}, True), ({}, False), ({"choices": [[1]]}, False),
        ({"choices": [None]}, False), ({"choices": None, "range": None}, False),
        ({"choices": [1], "range": {"min": 1, "max": 2}}, False),
    ],
)  # fmt: skip
def test_a_parameter_has_scalars_as_choices_or_a_range(parameter: dict[str, Any], fits: bool) -> None:
    found = mistakes(a_document(parameters=[{"name": "model.layers"} | parameter]))
    assert (found == []) is fits


def test_a_quantity_may_be_a_whole_number() -> None:
    for amount, fits in ((2, True), ("500m", True), (0.5, False), (-1, False), ("1 GB", False)):
        found = mistakes(a_document(pod={"resources": {"limits": {"cpu": amount}}}))
        assert (found == []) is fits, amount


def test_it_has_the_defaults_and_nothing_for_the_api_server_only() -> None:
    train = SCHEMA["$defs"]["Train"]
    assert train["additionalProperties"] is False
    assert train["properties"]["epochs"]["default"] == 20
    assert train["properties"]["epochs"]["description"] == "Passes over the training set."
    assert train["properties"]["optimizer"]["enum"] == ["Adam", "AdamW", "SGD"]
    assert not [word for word in ("x-kubernetes", "x-trialrun", "nullable") if word in text()]


def test_it_is_printed_without_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; from trainer.__main__ import main; main(['schema'])"
    printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == (ROOT / "docs/experiment.schema.json").read_text(encoding="utf-8")
