"""Words pydantic's findings as sentences: where, the rule, what was found, the nearest valid name."""

import difflib
import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

# A choice is a union; pydantic names the branch it tried in the location.
_UNION_BRANCHES = ("bool", "int", "float", "str")


def sentences(model: type[BaseModel], error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        location = tuple(part for part in problem["loc"] if part not in _UNION_BRANCHES)
        path = _path(location)
        kind, value = problem["type"], problem["input"]
        if kind == "missing":
            yield f"{path}: is required"
        elif kind == "extra_forbidden":
            hint = nearest(str(location[-1]), _fields_at(model, location[:-1]))
            yield f"{path}: no such field{hint}, got {show(value)}"
        elif kind == "value_error":
            yield f"{path}: {problem['ctx']['error']}, got {show(value)}"
        else:
            yield f"{path}: {rule(problem)}, got {show(value)}"


def rule(problem: Any) -> str:
    kind, ctx = problem["type"], problem.get("ctx", {})
    rules = {
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "finite_number": "must be a finite number",
        "bool_type": "must be true or false",
        "string_type": "must be text; put it in quotes",
        "model_type": "must be a mapping",
        "dict_type": "must be a mapping",
        "tuple_type": "must be a list",
        "list_type": "must be a list",
        "literal_error": "must be one of {expected}",
        "greater_than": "must be > {gt}",
        "greater_than_equal": "must be >= {ge}",
        "less_than": "must be < {lt}",
        "less_than_equal": "must be <= {le}",
        "too_short": "must have at least {min_length} items, or entries",
        "too_long": "must have at most {max_length} items, or entries",
        "string_too_short": "must have at least {min_length} characters",
        "string_too_long": "must have at most {max_length} characters",
        "string_pattern_mismatch": "must match {pattern}",
    }
    if kind in rules:
        expected = str(ctx.get("expected", "")).replace("'", "").replace(" or ", ", ")
        return rules[kind].format(**{**ctx, "expected": expected}).replace("items, or entries", "entries")
    return str(problem["msg"])


def _path(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".") or "the file"


def _fields_at(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """The names of the fields that the mapping at `location` may have."""
    for part in location:
        models = [m for m in _models(model) if issubclass(m, BaseModel)]
        if isinstance(part, int) or not models:
            continue
        by_alias = {field.alias or name: field for name, field in models[0].model_fields.items()}
        if part not in by_alias:
            return []
        model = by_alias[str(part)].annotation
    return [f.alias or n for m in _models(model) for n, f in m.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in get_args(annotation) for model in _models(argument)]


def nearest(name: str, known: Any) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]}?)" if matches else ""


def show(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
