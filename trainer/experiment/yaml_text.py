"""Reads YAML text as kubectl does, so that a file means the same here and on a cluster.

kubectl converts YAML to JSON with go-yaml v2, whose plain scalars differ from PyYAML's: `1e-4` and `0o17` are
numbers, `1:30` and `2024-01-01` are text, `y` is true. The rules below are those of its `resolve.go`. Both stand on
libyaml, hence `CSafeLoader`: the parser in Python refuses tabs that kubectl takes.

Where kubectl guesses, or drops what was written, this refuses: a key twice in a mapping, a key that is not text, a
tag it does not know, a merge that would replace the keys before it.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from trainer.experiment.errors import InvalidExperiment

MAX_BYTES = 1_000_000  # the API server takes no larger object either
MAX_VALUES = 10_000  # a search of 32 parameters with 64 choices each has some 2,500
MAX_DEPTH = 64  # `load` allows less, and says where

_WORDS: dict[str, Any] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]{0,19}))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# A number that begins with its decimal point goes straight to Go's ParseFloat, which wants digits on both sides of _.
_POINT_FIRST = re.compile(r"\.[0-9](_?[0-9])*([eE][-+]?[0-9](_?[0-9])*)?")
_SIXTY_FOUR_BITS = range(-(2**63), 2**64)

_TAG = "tag:yaml.org,2002:"
# The types that a tag lets a scalar have; `!` alone says text.
_TAGGED: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "null": (type(None),),
}


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar: None, bool, int, float or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if not text or text[0] not in "+-.0123456789":
        return text
    if text[0] == ".":
        return _finite(text.replace("_", ""), text) if _POINT_FIRST.fullmatch(text) else text
    digits = text.replace("_", "")
    if match := _INTEGER.fullmatch(digits):
        sign, *by_base = match.groups()
        base, number = next((b, n) for b, n in zip((16, 2, 8, 10), by_base, strict=True) if n is not None)
        integer = int(sign + number, base)
        if integer in _SIXTY_FOUR_BITS:
            return integer
    return _finite(digits, text) if _FLOAT.fullmatch(digits) else text


def _finite(digits: str, text: str) -> float | str:
    # Go refuses a number too large for a float, which leaves it text.
    number = float(digits)
    return text if math.isinf(number) else number


def parse(text: str) -> Any:
    """The one document in `text`.

    Raises:
        InvalidExperiment: it isn't YAML, is too large, or holds no document or several.
    """
    if len(text) > MAX_BYTES:
        raise InvalidExperiment([f"must have at most {MAX_BYTES} bytes, got {len(text)} characters"])
    try:
        documents = [document for document in _Documents(text).read() if document is not None]
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise InvalidExperiment([f"not YAML: {_sentence(error)}"]) from error
    if not documents:
        raise InvalidExperiment(["the file is empty; `python -m trainer init` writes one to start from"])
    if len(documents) > 1:
        raise InvalidExperiment([f"holds {len(documents)} documents; a file is one experiment, so give each a file"])
    return documents[0]


class _Documents:
    """Builds values from libyaml's events as they come, so that a hostile text ends early.

    `_anchors` holds a value and how many values it is made of; None while it is being built.
    """

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._values = 0

    def read(self) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if event.version not in (None, (1, 1)):
                    raise _refused(event, "kubectl reads YAML 1.1 only; leave the %YAML line out")
                self._anchors = {}
                yield self._value(next(self._events), 0)

    def _value(self, event: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise _refused(event, "it is nested too deeply")
        before = self._values
        self._count(event, 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            _require_tag(event, "seq")
            value = [self._value(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)]
        else:
            _require_tag(event, "map")
            value = self._mapping(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._values - before
        return value

    def _alias(self, event: yaml.AliasEvent) -> Any:
        if event.anchor not in self._anchors:
            raise _refused(event, f"no anchor &{event.anchor} stands before the alias")
        known = self._anchors[event.anchor]
        if known is None:
            raise _refused(event, f"the anchor &{event.anchor} contains itself")
        value, size = known
        self._count(event, size)
        return value

    def _mapping(self, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        merged: set[str] = set()
        for event in self._until(yaml.MappingEndEvent):
            if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
                for key, value in self._merge(next(self._events), depth).items():
                    if key in mapping:
                        raise _refused(event, f"the merge would replace the key {key!r}; put << first, and only once")
                    mapping[key] = value
                    merged.add(key)
                continue
            key = self._key(event, depth)
            if key in mapping and key not in merged:
                raise _refused(event, f"the key {key!r} stands twice in one mapping")
            merged.discard(key)
            mapping[key] = self._value(next(self._events), depth + 1)
        return mapping

    def _key(self, event: Any, depth: int) -> str:
        key = self._value(event, depth + 1)
        if not isinstance(key, str):
            said = event.value if isinstance(event, yaml.ScalarEvent) else type(key).__name__
            raise _refused(event, f"a key must be text, got {said}; put it in quotes")
        return key

    def _merge(self, event: Any, depth: int) -> dict[str, Any]:
        value = self._value(event, depth + 1)
        parts = value if isinstance(value, list) else [value]
        merged: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, dict):
                raise _refused(event, "<< must merge a mapping or a list of mappings")
            merged = part | merged  # of several, the first that has a key gives it
        return merged

    def _until(self, end: type[yaml.Event]) -> Iterator[Any]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _count(self, event: Any, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise _refused(event, f"more than {MAX_VALUES} values, aliases counted in full")


def _scalar(event: yaml.ScalarEvent) -> Any:
    tag: str | None = event.tag
    if tag is None:
        return plain_scalar(event.value) if event.implicit[0] else event.value
    name = tag.removeprefix(_TAG)
    if name in ("!", "str"):
        return event.value
    if name not in _TAGGED or not tag.startswith(_TAG):
        raise _refused(event, f"the tag {_shown(tag)} is not known here; leave it out")
    value = plain_scalar(event.value)
    if type(value) not in _TAGGED[name]:
        raise _refused(event, f"{event.value!r} cannot have the tag {_shown(tag)}")
    return float(value) if name == "float" else value


def _require_tag(event: Any, name: str) -> None:
    if event.tag not in (None, _TAG + name):
        raise _refused(event, f"the tag {_shown(event.tag)} does not fit here; leave it out")


def _shown(tag: str) -> str:
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag


def _refused(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _sentence(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        said = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
        begun = error.context_mark
        return f"{said} {error.context}, begun in line {begun.line + 1}" if error.context and begun else said
    if isinstance(error, yaml.reader.ReaderError):
        code = error.character if isinstance(error.character, int) else ord(error.character[:1])
        return f"the character {code:#04x} at offset {error.position} is not allowed"
    if isinstance(error, UnicodeEncodeError):
        return f"the character {ord(error.object[error.start]):#x} at offset {error.start} is not allowed"
    return " ".join(str(error).split())
