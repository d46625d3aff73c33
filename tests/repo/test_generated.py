"""What is generated from the models is what they say, and a field added to one appears everywhere by one command."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.training import Data

ROOT = Path(__file__).parents[2]
CRDS = ("crds/hyperparamsearches.yaml", "crds/scaletests.yaml")
GENERATED = (*CRDS, "docs/reference.md", "docs/experiment.schema.json")
Done = subprocess.CompletedProcess[str]


def generate(root: Path, *options: str) -> Done:
    """What `make generate` runs, in the repository at `root`."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.generate", *options],
        cwd=root,
        env=os.environ | {"PYTHONPATH": f".{os.pathsep}operator"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources of what is generated, and what is."""
    for folder in ("trainer", "operator", "scripts", "crds"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "docs").mkdir()
    for name in GENERATED:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def add_a_field(root: Path) -> None:
    module = root / "trainer/experiment/training.py"
    text = module.read_text(encoding="utf-8")
    first = "    epochs: Count"
    assert text.count(first) == 1
    ours = '    slow_epochs: Annotated[int, Field(ge=0)] = Field(7, description="Epochs of a slow start.")\n'
    module.write_text(text.replace(first, ours + first), encoding="utf-8")


def fields_of_train(root: Path, name: str) -> dict[str, Any]:
    (version,) = yaml.safe_load((root / name).read_text(encoding="utf-8"))["spec"]["versions"]
    node: Any = version["schema"]["openAPIV3Schema"]
    for step in ("spec", "training", "train"):
        node = node["properties"][step]
    found: dict[str, Any] = node["properties"]
    return found


def test_the_files_are_what_the_models_say() -> None:
    done = generate(ROOT, "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_reference_lists_each_field_and_each_objective_once() -> None:
    text = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    tables = dict(re.findall(r"<!-- generated: ([\w ]+) -->\n(.*?)<!-- end -->", text, re.DOTALL))
    objectives = re.findall(r"`(\w+)`", tables.pop("objectives"))
    assert sorted(objectives) == sorted(OBJECTIVES)
    del tables["changes"]
    for table in tables.values():
        fields = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
        assert fields
        assert len(fields) == len({*fields})


def test_the_reference_lists_the_values_of_a_field_that_has_only_some() -> None:
    rows = (ROOT / "docs/reference.md").read_text(encoding="utf-8").splitlines()
    for field, values in (
        ("data.interval", get_args(Data.model_fields["interval"].annotation)),
        ("train.precision", ("Float32", "Float64")),
        ("objective.direction", ("Minimize", "Maximize")),
    ):
        (row,) = (row for row in rows if row.startswith(f"| `{field}` |"))
        assert row.endswith(f" One of {', '.join(f'`{value}`' for value in values)}. |")


def test_the_reference_says_which_fields_may_change_as_the_api_server_does() -> None:
    text = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    rows = [[set(re.findall(r"`(\w+)`", cell)) for cell in row.split("|")[2:5]] for row in text.splitlines()
            if re.match(r"\| (both kinds|HyperparamSearch|ScaleTest) \| `", row)]  # fmt: skip
    both, *own = rows
    for name, of_kind in zip(CRDS, own, strict=True):
        may, grow, never = (ours | theirs for ours, theirs in zip(both, of_kind, strict=True))
        (version,) = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))["spec"]["versions"]
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        messages = {"fixed": "cannot change", "grows": "cannot fall"}
        found = {
            change: {rule["fieldPath"][1:] for rule in spec["x-kubernetes-validations"] if message in rule["message"]}
            for change, message in messages.items()
        }
        assert (found["fixed"], found["grows"]) == (never, grow)
        assert may | grow | never == set(spec["properties"])


def test_a_field_added_to_a_model_appears_in_crds_reference_and_schema_by_one_command(copy: Path) -> None:
    add_a_field(copy)
    done = generate(copy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"wrote {name}" for name in GENERATED]
    for name in CRDS:
        assert fields_of_train(copy, name)["slowEpochs"] == {
            "description": "Epochs of a slow start. Default 7.", "type": "integer", "minimum": 0
        }  # fmt: skip
    row = "| `train.slowEpochs` | `7` | Epochs of a slow start. |"
    assert row in (copy / "docs/reference.md").read_text(encoding="utf-8").splitlines()
    schema = json.loads((copy / "docs/experiment.schema.json").read_text(encoding="utf-8"))
    assert schema["$defs"]["Train"]["properties"]["slowEpochs"] == {
        "description": "Epochs of a slow start.", "type": "integer", "minimum": 0, "default": 7
    }  # fmt: skip
    assert generate(copy, "--check").returncode == 0


def test_a_file_that_is_not_what_the_models_say_is_named(copy: Path) -> None:
    add_a_field(copy)
    done = generate(copy, "--check")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"{name} is not what the models say: run make generate" for name in GENERATED]
    assert "slowEpochs" not in (copy / "docs/reference.md").read_text(encoding="utf-8")
