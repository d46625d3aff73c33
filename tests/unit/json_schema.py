"""Judges a value by the part of JSON Schema, draft 2020-12, that the schema of experiment files uses."""

import re
from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]

TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: TYPES["number"](value) and float(value).is_integer(),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
# Of each word with a limit: the type that it is about, and whether a value keeps it.
LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("number", lambda value, limit: value >= limit),
    "maximum": ("number", lambda value, limit: value <= limit),
    "exclusiveMinimum": ("number", lambda value, limit: value > limit),
    "exclusiveMaximum": ("number", lambda value, limit: value < limit),
    "minLength": ("string", lambda value, limit: len(value) >= limit),
    "maxLength": ("string", lambda value, limit: len(value) <= limit),
    "pattern": ("string", lambda value, limit: re.search(limit.replace("$", r"\Z"), value) is not None),
    "minItems": ("array", lambda value, limit: len(value) >= limit),
    "maxItems": ("array", lambda value, limit: len(value) <= limit),
    "minProperties": ("object", lambda value, limit: len(value) >= limit),
    "maxProperties": ("object", lambda value, limit: len(value) <= limit),
    "required": ("object", lambda value, limit: set(limit) <= set(value)),
}
SILENT = {"$schema", "$comment", "$defs", "title", "description", "default", "format"}


def mistakes(schema: Schema, value: Any) -> list[str]:
    """`path: word` of each mistake; none where `value` is valid."""
    return list(_mistakes(schema, schema, value, ""))


def _mistakes(root: Schema, node: Schema, value: Any, path: str) -> Iterator[str]:
    def fits(option: Schema) -> bool:
        return next(_mistakes(root, option, value, path), None) is None

    for word, said in node.items():
        if word == "$ref":
            yield from _mistakes(root, root["$defs"][said.removeprefix("#/$defs/")], value, path)
        elif word == "allOf":
            for option in said:
                yield from _mistakes(root, option, value, path)
        elif word == "if":
            if fits(said):
                yield from _mistakes(root, node["then"], value, path)
        elif word in ("properties", "items", "additionalProperties", "propertyNames"):
            yield from _below(root, node, word, value, path)
        elif word not in SILENT | {"then"} and not _keeps(word, said, value, fits):
            yield f"{path}: {word}"


def _keeps(word: str, said: Any, value: Any, fits: Callable[[Schema], bool]) -> bool:
    if word in LIMITS:
        kind, keeps = LIMITS[word]
        return not TYPES[kind](value) or keeps(value, said)
    if word == "type":
        return any(TYPES[kind](value) for kind in ([said] if isinstance(said, str) else said))
    if word in ("anyOf", "oneOf"):
        fitting = sum(map(fits, said))
        return fitting == 1 if word == "oneOf" else fitting > 0
    return value in {"enum": said, "const": [said]}[word]


def _below(root: Schema, node: Schema, word: str, value: Any, path: str) -> Iterator[str]:
    if word == "items" and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _mistakes(root, node[word], item, f"{path}[{i}]")
    for name, item in value.items() if word != "items" and isinstance(value, dict) else ():
        if word == "propertyNames":
            yield from _mistakes(root, node[word], name, f"{path}.{name}")
        elif word == "properties" and name in node[word]:
            yield from _mistakes(root, node[word][name], item, f"{path}.{name}")
        elif word == "additionalProperties" and name not in node.get("properties", {}):
            if node[word] is False:
                yield f"{path}.{name}: {word}"
            elif node[word] is not True:
                yield from _mistakes(root, node[word], item, f"{path}.{name}")
