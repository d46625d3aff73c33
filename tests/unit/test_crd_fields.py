"""Compares crds/ with the models field by field: an experiment that one takes and the other refuses is a trap.

Also asks what `kubectl explain` and `kubectl get` are made of: a sentence for every field, columns that exist.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from trainer.experiment.spec import Name, Scalar, ScaleTestSpec, SearchSpec
from trainer.experiment.summary import Summary

ROOT = Path(__file__).parents[2]
KINDS: dict[str, type[BaseModel]] = {"hyperparamsearches": SearchSpec, "scaletests": ScaleTestSpec}
Schema = dict[str, Any]


@cache
def crd(plural: str) -> Schema:
    document: Schema = yaml.safe_load((ROOT / "crds" / f"{plural}.yaml").read_text(encoding="utf-8"))
    return document


def version(plural: str) -> Schema:
    (only,) = crd(plural)["spec"]["versions"]
    return dict(only)


def schema(plural: str) -> Schema:
    return dict(version(plural)["schema"]["openAPIV3Schema"]["properties"])


def below(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """`node` and every schema in it, with their paths."""
    yield path, node
    for name, field in node.get("properties", {}).items():
        yield from below(field, f"{path}.{name}")
    if "items" in node:
        yield from below(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from below(node["additionalProperties"], f"{path}{{}}")


# What the models say, in the words of a schema.


def bounds_of(annotation: Any, metadata: list[Any]) -> tuple[Any, dict[str, Any]]:
    """A type without its annotations and `| None`, and what they say about its values."""
    found: dict[str, Any] = {}

    def note(items: Any) -> None:
        for item in items:
            if isinstance(item, FieldInfo):
                note(item.metadata)
            for rule in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern"):
                if getattr(item, rule, None) is not None:
                    found[rule] = getattr(item, rule)

    note(metadata)
    kind = annotation
    while True:
        if get_origin(kind) is Annotated:
            kind, *more = get_args(kind)
            note(more)
        elif get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind):
            (kind,) = (option for option in get_args(kind) if option is not NoneType)
        else:
            return kind, found


def modelled(kind: Any, bounds: dict[str, Any]) -> Schema:
    """The schema of a value, without those of the values in it."""
    if get_origin(kind) is Literal:
        return {"type": "string", "enum": list(get_args(kind))}
    if kind == Scalar:
        return {"any scalar": True}
    if kind is bool:
        return {"type": "boolean"}
    if kind in (int, float):
        numbers: Schema = {"type": "integer" if kind is int else "number"}
        for rule, word, exclusive in (("ge", "minimum", False), ("gt", "minimum", True),
                                      ("le", "maximum", False), ("lt", "maximum", True)):  # fmt: skip
            if rule in bounds:
                numbers[word] = bounds[rule]
                if exclusive:
                    numbers[f"exclusive{word.capitalize()}"] = True
        return numbers
    plain = kind if isinstance(kind, type) else get_origin(kind)
    word, fewest, most = {
        str: ("string", "minLength", "maxLength"),
        tuple: ("array", "minItems", "maxItems"),
        dict: ("object", "minProperties", "maxProperties"),
    }.get(plain, ("object", "", ""))
    found: Schema = {"type": word}
    for rule, name in (("min_length", fewest), ("max_length", most), ("pattern", "pattern")):
        if rule in bounds:
            found[name] = bounds[rule]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        found["required"] = {field.alias for field in kind.model_fields.values() if field.is_required()}
    return found


def modelled_fields(kind: Any, bounds: dict[str, Any], path: str) -> Iterator[tuple[str, Schema]]:
    """A value's schema and those of all values in it, with their paths. Free-form ones end with themselves."""
    yield path, modelled(kind, bounds)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for field in kind.model_fields.values():
            yield from modelled_fields(*bounds_of(field.annotation, field.metadata), f"{path}.{field.alias}")
    elif get_origin(kind) is tuple:
        yield from modelled_fields(*bounds_of(get_args(kind)[0], []), f"{path}[]")
    elif get_origin(kind) is dict and get_args(kind)[1] is not JsonValue:
        yield from modelled_fields(*bounds_of(get_args(kind)[1], []), f"{path}{{}}")


# What the CRDs say, in the same words.


def written(node: Schema) -> Schema:
    if "x-kubernetes-preserve-unknown-fields" in node:
        return {"any scalar": True}
    if "x-kubernetes-int-or-string" in node:
        # A quantity: whole numbers count as text, as they do to Kubernetes.
        assert node["minimum"] == 0
        node = {"type": "string", **{word: node[word] for word in ("maxLength", "pattern")}}
    bounds = {
        "enum",
        "pattern",
        *(f"{end}{of}" for end in ("min", "max") for of in ("Length", "Items", "Properties")),
    }
    bounds |= {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    found = {word: value for word, value in node.items() if word in bounds}
    if "properties" in node:
        found["required"] = set(node.get("required", []))
    return found


def free_form(path: str) -> bool:
    """Whether the models take any mapping where the CRDs name its fields."""
    return path.endswith((".affinity", ".tolerations[]"))


@pytest.mark.parametrize("plural", KINDS)
def test_the_crd_has_the_fields_of_the_model_and_no_others(plural: str) -> None:
    ours = {
        path
        for path, _ in below(schema(plural)["spec"], "spec")
        if not re.search(r"(affinity|tolerations\[\])\.", path)
    }
    theirs = {path for path, _ in modelled_fields(KINDS[plural], {}, "spec")}
    assert ours == theirs


@pytest.mark.parametrize("plural", KINDS)
def test_every_field_of_the_crd_has_the_type_and_bounds_of_the_model(plural: str) -> None:
    ours = dict(below(schema(plural)["spec"], "spec"))
    theirs = dict(modelled_fields(KINDS[plural], {}, "spec"))
    for path, expected in theirs.items():
        found = written(ours[path])
        if free_form(path):
            found.pop("required")
        assert (path, found) == (path, expected)


@pytest.mark.parametrize("plural", KINDS)
def test_the_name_has_the_bounds_of_the_model(plural: str) -> None:
    assert schema(plural)["metadata"]["properties"]["name"] == modelled(*bounds_of(Name, []))


@pytest.mark.parametrize("plural", KINDS)
def test_no_value_that_a_field_takes_is_too_long_to_be_a_choice(plural: str) -> None:
    training = schema(plural)["spec"]["properties"]["training"]
    longest = max(node.get("maxLength", 0) for _, node in below(training, "training"))
    for path, node in below(schema(plural)["spec"], "spec"):
        if path.endswith("choices[]"):
            assert node["maxLength"] == longest


@pytest.mark.parametrize("plural", KINDS)
def test_free_values_are_scalars_since_deeply_nested_ones_cannot_be_read(plural: str) -> None:
    for path, node in below(version(plural)["schema"]["openAPIV3Schema"], ""):
        if "x-kubernetes-preserve-unknown-fields" in node:
            sizes = {word: node.get(word) for word in ("minItems", "maxItems", "minProperties", "maxProperties")}
            assert (path, sizes) == (path, {"minItems": 1, "maxItems": 0, "minProperties": 1, "maxProperties": 0})


# What people read.


@pytest.mark.parametrize("plural", KINDS)
def test_every_field_has_a_sentence(plural: str) -> None:
    for part in ("spec", "status"):
        for path, node in below(schema(plural)[part], part):
            if path.endswith(("[]", "{}")):
                continue
            assert re.match(r"[A-Z`].*\.$", node.get("description", "")), path


def described(model: type[BaseModel], path: str) -> Iterator[tuple[str, FieldInfo]]:
    for field in model.model_fields.values():
        here = f"{path}.{field.alias}"
        yield here, field
        kind, _ = bounds_of(field.annotation, field.metadata)
        if get_origin(kind) is tuple:
            kind, here = get_args(kind)[0], f"{here}[]"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from described(kind, here)


def default_of(field: FieldInfo) -> str:
    """The sentence that ends a field's description; the schema itself must have no defaults."""
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel) or value in ({}, ()):
        return ""
    if isinstance(value, tuple):
        return f" Default [{', '.join(map(str, value))}]."
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f" Default {text or 'empty'}."


@pytest.mark.parametrize("plural", KINDS)
def test_sentences_are_those_of_the_model_and_end_with_the_default(plural: str) -> None:
    ours = dict(below(schema(plural)["spec"], "spec"))
    for path, field in described(KINDS[plural], "spec"):
        text = ours[path]["description"]
        assert text.startswith(field.description or ""), path
        assert text.endswith(default_of(field)), path


@pytest.mark.parametrize("plural", KINDS)
def test_no_default_stands_in_the_schema(plural: str) -> None:
    for path, node in below(version(plural)["schema"]["openAPIV3Schema"], ""):
        assert "default" not in node, path


@pytest.mark.parametrize("plural", KINDS)
def test_lists_are_atomic_and_bounded_but_for_conditions(plural: str) -> None:
    for path, node in below(version(plural)["schema"]["openAPIV3Schema"], ""):
        if node.get("type") == "array":
            assert node["maxItems"] > 0, path
            assert node["x-kubernetes-list-type"] == ("map" if path == ".status.conditions" else "atomic"), path


@pytest.mark.parametrize("plural", KINDS)
def test_columns_show_fields_that_exist(plural: str) -> None:
    known = {path for path, _ in below({"properties": schema(plural)}, "")}
    for column in version(plural)["additionalPrinterColumns"]:
        path = re.sub(r"\[\?\(.*\)\]", "[]", column["jsonPath"])
        assert path in known | {".metadata.creationTimestamp"}


def test_the_columns_are_those_that_users_were_promised() -> None:
    def columns(plural: str) -> list[str]:
        return [c["name"].upper() for c in version(plural)["additionalPrinterColumns"] if not c.get("priority")]

    assert columns("hyperparamsearches") == ["STATUS", "DONE", "RUNNING", "FAILED", "BEST", "SPEEDUP", "AGE"]
    assert columns("scaletests") == ["STATUS", "DONE", "LARGEST", "OOM", "AGE"]


@pytest.mark.parametrize("plural", KINDS)
def test_status_has_room_for_all_of_a_summary(plural: str) -> None:
    ours = {
        path: node for path, node in below(schema(plural)["status"], "status") if path.startswith("status.summary")
    }
    theirs = {path for path, _ in modelled_fields(Summary, {}, "status.summary")}
    assert set(ours) == theirs
    for path, field in described(Summary, "status.summary"):
        assert ours[path].get("nullable", False) == (NoneType in get_args(field.annotation)), path


def test_what_both_kinds_have_is_described_alike() -> None:
    search, scaletest = (schema(plural)["spec"]["properties"] for plural in KINDS)
    for name in sorted(search.keys() & scaletest.keys() - {"parallelTrials"}):
        assert search[name] == scaletest[name]
