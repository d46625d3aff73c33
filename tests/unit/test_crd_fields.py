"""What the CRDs must have for the API server and for people: bounds, no defaults, sentences, columns that exist.

They are generated from the models (tests/repo/test_generated.py); tests/cluster/test_admission.py asks an API server.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLURALS = ("hyperparamsearches", "scaletests")
Schema = dict[str, Any]


@cache
def version(plural: str) -> Schema:
    document = yaml.safe_load((ROOT / "crds" / f"{plural}.yaml").read_text(encoding="utf-8"))
    (only,) = document["spec"]["versions"]
    return dict(only)


def schema(plural: str) -> Schema:
    return dict(version(plural)["schema"]["openAPIV3Schema"])


def below(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """`node` and every schema in it, with their paths."""
    yield path, node
    for name, field in node.get("properties", {}).items():
        yield from below(field, f"{path}.{name}")
    if "items" in node:
        yield from below(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from below(node["additionalProperties"], f"{path}{{}}")


EVERYTHING = [(plural, path, node) for plural in PLURALS for path, node in below(schema(plural), "")]
FIELDS = [(path, node) for _, path, node in EVERYTHING if path and not path.endswith(("[]", "{}"))]


def test_every_field_has_a_sentence() -> None:
    for path, node in FIELDS:
        if not path.startswith(".metadata"):
            assert re.match(r"[A-Z`].*\.$", node.get("description", "")), path
            assert "{experiment}" not in node["description"], path


def test_a_default_ends_the_sentence_and_stands_nowhere_else() -> None:
    said = dict(FIELDS)
    assert not [path for _, path, node in EVERYTHING if "default" in node]
    assert said[".spec.parallelTrials"]["description"].endswith(" Default 1.")  # of the second kind
    assert said[".spec.training.train.shuffle"]["description"].endswith(" Default true.")
    assert said[".spec.training.data.columns"]["description"].endswith(" Default [Open, High, Low, Close, Volume].")
    assert said[".spec.pod.env"]["items"]["properties"]["value"]["description"] == "Its value. Default empty."
    assert "Default" not in said[".spec.training.data.tickers"]["description"]


def test_lists_are_atomic_and_bounded_but_for_conditions() -> None:
    for _, path, node in EVERYTHING:
        if node.get("type") == "array":
            assert node["maxItems"] > 0, path
            assert node["x-kubernetes-list-type"] == ("map" if path == ".status.conditions" else "atomic"), path


def test_free_values_are_scalars_since_deeply_nested_ones_cannot_be_read() -> None:
    free = [
        (path, node)
        for _, path, node in EVERYTHING
        if "x-kubernetes-preserve-unknown-fields" in node and not {"items", "additionalProperties"} & node.keys()
    ]
    ends = {path for path, _ in free if not path.startswith(".spec.program.settings")}
    assert ends == {
        ".spec.parameters[].when{}[]", ".spec.points[].parameters{}",
        ".spec.parameters[].choices[]", ".status.trials[].parameters{}", ".status.summary.best.parameters{}",
        ".status.summary.groups[].fields{}", ".status.summary.groups[].best.parameters{}",
        ".status.summary.leaders[].parameters{}",
    }  # fmt: skip
    for path, node in free:
        sizes = {word: node.get(word) for word in ("minItems", "maxItems", "minProperties", "maxProperties")}
        assert sizes == {"minItems": 1, "maxItems": 0, "minProperties": 1, "maxProperties": 0}, path


def test_every_other_value_has_a_type() -> None:
    for _, path, node in EVERYTHING:
        free = {"x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"} & node.keys()
        assert ("type" in node) is not bool(free), path


def test_no_value_that_a_field_takes_is_too_long_to_be_a_choice() -> None:
    searches = {path: node for plural, path, node in EVERYTHING if plural == "hyperparamsearches"}
    longest = max(node.get("maxLength", 0) for path, node in searches.items() if path.startswith(".spec.training"))
    assert searches[".spec.parameters[].choices[]"]["maxLength"] == longest


def test_a_summary_may_hold_nulls_and_lack_fields_that_an_older_operator_does_not_know() -> None:
    summary = dict(below(schema("scaletests")["properties"]["status"]["properties"]["summary"], ""))
    assert not [path for path, node in summary.items() if "required" in node]
    assert summary[".timing"]["nullable"]
    assert summary[".scale.cells[].limitBytes"]["nullable"]
    assert "nullable" not in summary[".counts"]


@pytest.mark.parametrize("plural", PLURALS)
def test_columns_show_fields_that_exist(plural: str) -> None:
    known = {path for path, _ in below(schema(plural), "")}
    for column in version(plural)["additionalPrinterColumns"]:
        path = re.sub(r"\[\?\(.*\)\]", "[]", column["jsonPath"])
        assert path in known | {".metadata.creationTimestamp"}


def test_the_columns_are_those_that_users_were_promised() -> None:
    def columns(plural: str) -> list[str]:
        return [c["name"].upper() for c in version(plural)["additionalPrinterColumns"] if not c.get("priority")]

    assert columns("hyperparamsearches") == ["STATUS", "DONE", "RUNNING", "FAILED", "BEST", "SPEEDUP", "AGE"]
    assert columns("scaletests") == ["STATUS", "DONE", "LARGEST", "OOM", "AGE"]
