"""Reads YAML text as kubectl does, so that a file means the same here and on a cluster.

kubectl converts YAML to JSON with go-yaml v2, whose plain scalars differ from PyYAML's: `1e-4` and `0o17` are
numbers, `1:30` and `2024-01-01` are text, `y` is true. The rules below are those of its `resolve.go`.
"""

import math
import re
from typing import Any

import yaml

from trainer.experiment.errors import InvalidExperiment

_WORDS: dict[str, Any] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_SIXTY_FOUR_BITS = range(-(2**63), 2**64)


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar: None, bool, int, float or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if not text or text[0] not in "+-.0123456789":
        return text
    # Underscores group digits, but not in a number that begins with its decimal point.
    digits = text if text.startswith(".") else text.replace("_", "")
    if match := _INTEGER.match(digits):
        sign, *by_base = match.groups()
        base, number = next((b, n) for b, n in zip((16, 2, 8, 10), by_base, strict=True) if n is not None)
        integer = int(sign + number, base)
        if integer in _SIXTY_FOUR_BITS:
            return integer
    if _FLOAT.match(digits):
        number = float(digits)
        # Go refuses a number too large for a float, which leaves it text.
        return text if math.isinf(number) else number
    return text


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with kubectl's scalars, and no key twice in a mapping."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012
        "<": [("tag:yaml.org,2002:merge", re.compile(r"^<<$"))]
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping with text keys."""
        self.flatten_mapping(node)
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key must be text, got {key!r}; put it in quotes", key_node.start_mark
                )
            if key in mapping:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice in one mapping", key_node.start_mark
                )
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping

    def construct_plain(self, node: yaml.ScalarNode) -> Any:
        """A scalar without a tag of its own."""
        return plain_scalar(node.value) if node.style is None else node.value


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_plain)


def parse(text: str) -> Any:
    """The one document in `text`.

    Raises:
        InvalidExperiment: it isn't YAML, or holds no document or several.
    """
    try:
        documents = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidExperiment([f"not YAML: {_sentence(error)}"]) from error
    if not documents:
        raise InvalidExperiment(["the file is empty; `python -m trainer init` writes one to start from"])
    if len(documents) > 1:
        raise InvalidExperiment([f"holds {len(documents)} documents; a file is one experiment, so give each a file"])
    return documents[0]


def _sentence(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or error.context}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)
