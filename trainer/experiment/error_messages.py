"""Words pydantic's findings as sentences: where, the rule, what was found, the nearest valid name."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from trainer.experiment.section import WORDS

Document = TypeVar("Document", bound=BaseModel)

# A choice is a union; pydantic names the branch it tried at the end of the location.
_SCALARS = ("bool", "int", "float", "str")
_SIMPLE = re.compile(r"[A-Za-z0-9_./-]{1,100}")
_LONGEST_GUESS = 100

_RULES = {
    "missing": "is required",
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
    "enum": "must be one of {expected}",
    "greater_than": "must be > {gt}",
    "greater_than_equal": "must be >= {ge}",
    "less_than": "must be < {lt}",
    "less_than_equal": "must be <= {le}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
}


class Finding(NamedTuple):
    """A mistake at a path of the file; `says` is the rule and what was found."""

    path: str
    says: str

    def __str__(self) -> str:
        return f"{self.path or 'the file'}: {self.says}"


def decoded(model: type[Document], line: str | bytes, what: str) -> Document:
    """The document of `model` that a line of JSON holds.

    Raises:
        ValueError: it holds no such thing, called `what`; says where, the rule and what was found.
    """
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        raise ValueError(f"not {what}: {next(sentences(model, error))}") from error


def sentences(model: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """What `error` found wrong with a document of `model`, a sentence for each."""
    return map(str, findings(model, error))


def findings(model: type[BaseModel], error: ValidationError) -> Iterator[Finding]:
    """What `error` found, once for each path."""
    told: set[str] = set()
    for problem in error.errors(include_url=False):
        location = problem["loc"]
        says = ""
        if problem["type"] == "too_short" and len(problem["input"]) >= problem["ctx"]["min_length"]:
            continue  # pydantic doesn't count entries that are mistaken themselves
        if location[-1:] == ("[key]",):
            location = location[:-2]
            says = f"{rule(problem)} in a key, got {show(problem['input'])}"
        elif len(location) > 2 and location[-1] in _SCALARS and location[-3] in ("choices", "parameters"):
            location = location[:-1]
            if str(problem["type"]).endswith("_type"):
                says = f"must be text, a number, true or false, got {show(problem['input'])}"
        path = ""
        for part in location:
            path = step(path, part)
        if path not in told:
            told.add(path)
            yield Finding(path, says or _says(model, location, problem))


def _says(model: type[BaseModel], location: tuple[int | str, ...], problem: Any) -> str:
    kind = problem["type"]
    if kind == "missing":
        return rule(problem)
    if kind == "value_error":  # of `Section.disagreement`, which says what it got
        return str(problem["ctx"]["error"])
    if kind == "extra_forbidden":
        hint = nearest(str(location[-1]), _fields_at(model, location[:-1]))
        return f"no such field{hint}, got {show(problem['input'])}"
    return f"{rule(problem)}, got {show(problem['input'])}"


def rule(problem: Any) -> str:
    """The rule that a problem of pydantic's breaks."""
    kind, ctx = problem["type"], problem.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return WORDS[ctx["pattern"]]
    if kind not in _RULES:
        return str(problem["msg"])
    said = {name: f"{value:g}" if isinstance(value, float) else value for name, value in ctx.items()}
    if "expected" in ctx:
        said["expected"] = ctx["expected"].replace("'", "").replace(" or ", ", ")
    text = _RULES[kind].format(**said)
    return re.sub(r"\b1 entries$", "1 entry", re.sub(r"\b1 characters$", "1 character", text))


def step(path: str, part: int | str) -> str:
    """`path` and one more step down."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    if not _SIMPLE.fullmatch(part):
        return f"{path}[{show(part)}]"
    return f"{path}.{part}" if path else part


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


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name most like `name`, or nothing."""
    if len(name) > _LONGEST_GUESS:
        return ""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f" (did you mean {matches[0]}?)" if matches else ""


def show(value: Any) -> str:
    """A value as the file could say it, on one line, cut after 80 characters."""
    if isinstance(value, str) and len(value) > 80:
        value = value[:81]
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[:81])
    return text if len(text) <= 80 else f"{text[:77]}..."
