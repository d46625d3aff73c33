"""Turns a file, or an object read from the API server, into an experiment, or names every mistake in it.

A mistake reads `<yaml path>: <rule>, got <value>`.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.experiment.agreement import disagreements
from trainer.experiment.errors import InvalidExperiment, UserError
from trainer.experiment.sentences import nearest, sentences, show
from trainer.experiment.spec import Experiment, HyperparamSearch, ScaleTest
from trainer.experiment.yaml_text import parse

KINDS: dict[str, type[HyperparamSearch] | type[ScaleTest]] = {
    "HyperparamSearch": HyperparamSearch,
    "ScaleTest": ScaleTest,
}
_MAX_BYTES = 1_000_000  # the API server takes no larger object either
_MAX_DEPTH = 32
_EXACT = 2**53  # larger whole numbers are not the same in every JSON reader


def read(path: Path) -> Experiment:
    """The experiment in the file at `path`.

    Raises:
        UserError: the file can't be read, or isn't a valid experiment.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InvalidExperiment([f"{path}: must have at most {_MAX_BYTES} bytes, got {path.stat().st_size}"])
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: must be UTF-8 text, got byte {error.object[error.start]:#x}") from error
    try:
        return load(text)
    except InvalidExperiment as error:
        raise InvalidExperiment([f"{path}: {mistake}" for mistake in error.mistakes]) from error


def load(source: str | Mapping[str, Any]) -> Experiment:
    """An experiment from YAML text or from an object of the API server.

    Raises:
        InvalidExperiment: with all mistakes found.
    """
    document = parse(source) if isinstance(source, str) else source
    if not isinstance(document, Mapping):
        raise InvalidExperiment([f"the file: must be a mapping with apiVersion, kind and spec, got {show(document)}"])
    mistakes: list[str] = []
    plain = {key: _plain(value, key, mistakes) for key, value in document.items() if key != "status"}
    if not isinstance(kind := plain.get("kind"), str) or kind not in KINDS:
        names = ", ".join(KINDS)
        hint = nearest(str(kind), KINDS)
        raise InvalidExperiment([f"kind: must be one of {names}{hint}, got {show(kind)}", *mistakes])
    experiment: Experiment | None = None
    try:
        experiment = KINDS[kind].model_validate_json(json.dumps(plain))
    except ValidationError as error:
        mistakes += sentences(KINDS[kind], error)
    if isinstance(spec := plain.get("spec"), dict):
        known = {mistake.partition(":")[0] for mistake in mistakes}
        mistakes += [m for m in disagreements(kind, spec) if m.partition(":")[0] not in known]
    if mistakes or experiment is None:
        raise InvalidExperiment(sorted(dict.fromkeys(mistakes)))
    return experiment


def _plain(value: Any, path: str, mistakes: list[str], depth: int = 0) -> Any:
    """`value` with whole floats as integers and -0.0 as 0: as the API server would give it back."""
    if depth > _MAX_DEPTH:
        mistakes.append(f"{path}: must be nested at most {_MAX_DEPTH} deep")
        return None
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{path}.{k}", mistakes, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}[{i}]", mistakes, depth + 1) for i, item in enumerate(value)]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        if not math.isfinite(value):
            mistakes.append(f"{path}: must be a finite number, got {value}")
            return 0
        if abs(value) > _EXACT:
            mistakes.append(f"{path}: must lie within ±2^53, got {value}")
            return 0
        return int(value) if value == int(value) else value
    mistakes.append(f"{path}: must be text, a number, true or false, got {show(value)}")
    return None
