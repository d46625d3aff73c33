"""Turns a file, or an object read from the API server, into an experiment, or names every mistake in it.

A mistake reads `<yaml path>: <rule>, got <value>`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.experiment.agreement import disagreements
from trainer.experiment.error_messages import Finding, findings, nearest, show, step
from trainer.experiment.errors import InvalidExperiment, UserError
from trainer.experiment.spec import Experiment, HyperparamSearch, ScaleTest
from trainer.experiment.yaml_text import MAX_BYTES, MAX_VALUES, parse

KINDS: dict[str, type[HyperparamSearch] | type[ScaleTest]] = {
    "HyperparamSearch": HyperparamSearch,
    "ScaleTest": ScaleTest,
}
_MAX_DEPTH = 32
_EXACT = 2**53  # larger whole numbers are not the same in every JSON reader
_MOST_MISTAKES = 100  # nobody reads more, and wording thousands takes seconds


def read(path: Path) -> Experiment:
    """The experiment in the file at `path`.

    Raises:
        UserError: the file can't be read, or isn't a valid experiment.
    """
    return read_whole(path)[1]


def read_whole(path: Path) -> tuple[dict[str, Any], Experiment]:
    """The document in the file at `path`, whose metadata may say more than an experiment keeps, and the experiment.

    Raises:
        UserError: the file can't be read, or isn't a valid experiment.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidExperiment([f"{path}: must have at most {MAX_BYTES} bytes, got {path.stat().st_size}"])
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: must be UTF-8 text, got byte {error.object[error.start]:#x}") from error
    try:
        document = parse(text)
        return document, load(document)
    except InvalidExperiment as error:
        raise InvalidExperiment([f"{path}: {mistake}" for mistake in error.mistakes]) from error


def read_ours(path: Path) -> Experiment:
    """As `read`, for what needs Trialrun's trainer and its data.

    Raises:
        UserError: also where it runs a program.
    """
    experiment = read(path)
    if experiment.spec.program is not None:
        raise UserError(
            f"{path}: spec.training is required here, got spec.program, whose data and model only the program knows"
        )
    return experiment


def load(source: str | Mapping[str, Any]) -> Experiment:
    """An experiment from YAML text or from an object of the API server.

    Raises:
        InvalidExperiment: with all mistakes found.
    """
    document = parse(source) if isinstance(source, str) else source
    if not isinstance(document, Mapping):
        raise InvalidExperiment([f"the file: must be a mapping with apiVersion, kind and spec, got {show(document)}"])
    reading = _Reading()
    plain = reading.document(document)
    mistakes = reading.findings
    kind = plain.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        guess = nearest(str(kind), KINDS)
        mistakes.append(Finding("kind", f"must be one of {', '.join(KINDS)}{guess}, got {show(kind)}"))
        kind = next((name for name in KINDS if name in guess), None)
    experiment: Experiment | None = None
    if kind is not None:
        try:
            experiment = KINDS[kind].model_validate_json(json.dumps(plain))
        except ValidationError as error:
            mistakes += islice(findings(KINDS[kind], error), _MOST_MISTAKES + 1)
        if isinstance(spec := plain.get("spec"), dict):
            mistakes += disagreements(kind, spec)
    if mistakes or experiment is None:
        raise InvalidExperiment(_told(mistakes))
    return experiment


def _told(mistakes: Iterable[Finding]) -> list[str]:
    """One sentence for each path: what was found later at the same place only follows from the first."""
    first: dict[str, Finding] = {}
    for mistake in mistakes:
        first.setdefault(mistake.path, mistake)
    said = [str(mistake) for mistake in sorted(first.values(), key=_place)]
    if len(said) > _MOST_MISTAKES:
        said[_MOST_MISTAKES:] = [f"the file: has more mistakes than these {_MOST_MISTAKES}"]
    return said


def _place(mistake: Finding) -> list[tuple[int, str]]:
    """Sorts paths with [2] before [10]."""
    parts = re.split(r"\[([0-9]+)\]", mistake.path)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]


class _Reading:
    """Makes of a document what the API server would give back, and notes what no JSON reader would take.

    What it notes becomes null: the rules that come after have nothing to say about that.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._values = 0

    def document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document without what only the API server writes."""
        wanted = {key: value for key, value in document.items() if key != "status"}
        if isinstance(metadata := wanted.get("metadata"), Mapping):
            wanted["metadata"] = {key: value for key, value in metadata.items() if key != "managedFields"}
        return self._mapping(wanted, "", 0)

    def plain(self, value: Any, path: str, depth: int) -> Any:
        """`value` with whole floats as integers and -0.0 as 0.

        Raises:
            InvalidExperiment: it holds more values than an experiment can.
        """
        self._values += 1
        if self._values > MAX_VALUES:
            raise InvalidExperiment([f"{path}: must stand in a file of at most {MAX_VALUES} values"])
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            return self._number(value, path)
        if not isinstance(value, Mapping | list | tuple):
            self._wrong(path, f"must be text, a number, true or false, got {show(value)}")
            return None
        if depth > _MAX_DEPTH:
            self._wrong(path, f"must be nested at most {_MAX_DEPTH} deep, got more")
            return None
        if isinstance(value, Mapping):
            return self._mapping(value, path, depth)
        return [self.plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]

    def _mapping(self, mapping: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        plain = {}
        for key, value in mapping.items():
            if not isinstance(key, str):
                self._wrong(path, f"must have text as keys, got {show(key)}; put it in quotes")
            elif self._text(key, path) is not None:
                plain[key] = self.plain(value, step(path, key), depth + 1)
        return plain

    def _text(self, value: str, path: str) -> str | None:
        if "\0" in value or _is_half_a_character(value):
            self._wrong(path, f"must be text of Unicode characters other than NUL, got {show(value)}")
            return None
        return value

    def _number(self, value: int | float, path: str) -> int | float | None:
        if isinstance(value, float) and not math.isfinite(value):
            self._wrong(path, f"must be a finite number, got {value}")
            return None
        if abs(value) > _EXACT:
            self._wrong(path, f"must lie within ±2^53, got {show(value)}")
            return None
        return int(value) if value == int(value) else value

    def _wrong(self, path: str, says: str) -> None:
        self.findings.append(Finding(path, says))


def _is_half_a_character(text: str) -> bool:
    """Whether `text` holds a surrogate, which no encoding takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
