"""What a trial tells step by step, as lines of JSON: a program's reports, by `trialrun.py`, or our epochs."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from trainer.experiment.error_messages import sentences
from trainer.experiment.record import MAX_ERROR_CHARACTERS, Environment, Memory, Reported
from trainer.experiment.section import HASH, METRIC, Text

PROTOCOL = 1
# What a trial leaves step by step, in its folder: reports of a program, epochs of our trainer.
REPORTS, HISTORY = "reports.jsonl", "history.jsonl"
MOST_METRICS = 100

Name = Annotated[str, Field(pattern=METRIC, max_length=64)]
Figures = Annotated[dict[Name, Annotated[float, Field(allow_inf_nan=True)]], Field(max_length=MOST_METRICS)]


class RestsOn(Reported):
    """Fingerprints, any text, of what a result rests on."""

    data: Text | None = None
    validation: Text | None = None


class ProgressReport(Reported):
    """The metrics after a step. `naive` are those of a prediction that has learnt nothing.

    `read` are the parameters that the program has asked for, None where it doesn't say, `process` is who reports. The
    rest is what a program in a pod tells of itself, as nobody sees it from outside: a hash of its inputs, the error
    that ended it, when that was (milliseconds since 1970), its memory, and where it runs.
    """

    step: Annotated[int, Field(ge=0)] = 0
    metrics: Figures = Field(default_factory=dict)
    naive: Figures = Field(default_factory=dict)
    rests_on: RestsOn = RestsOn()
    read: tuple[str, ...] | None = None
    process: int | None = None
    inputs: Annotated[str, Field(pattern=HASH)] | None = None
    error: Annotated[str, Field(max_length=MAX_ERROR_CHARACTERS)] = ""
    clock: Annotated[int, Field(ge=0)] = 0
    memory: Memory | None = None
    environment: Environment | None = None


def decode(line: bytes) -> ProgressReport:
    """The report that a line holds. Of its metrics some may be NaN or infinite.

    Raises:
        ValueError: it holds none; says where, the rule and what was found.
    """
    try:
        return ProgressReport.model_validate_json(line)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            shown = line[:80].decode(errors="replace")
            raise ValueError(f"must be a JSON object on one line, got {shown}") from error
        raise ValueError(next(sentences(ProgressReport, error))) from error


@dataclass(frozen=True)
class Step:
    """The metrics after a step, also what is not finite.

    `clock` is when they were told (milliseconds since 1970), `seconds` what it took; None where that wasn't recorded.
    """

    step: int
    metrics: Mapping[str, float]
    clock: int | None = None
    seconds: float | None = None


def read_steps(path: Path, most: int | None = None) -> list[Step]:
    """What a trial's REPORTS or HISTORY tells, in its order; nothing where it can't be read.

    A line that can't be read, as one that is being written, is left out. Of more lines than `most` every so many are
    read, and the last.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    take = _epoch if path.name == HISTORY else _report
    distance = 1 if most is None else max(1, math.ceil(len(lines) / most))
    found: list[Step] = []
    for line in (*lines[:-1:distance], *lines[-1:]):
        try:
            found.append(take(json.loads(line), len(found)))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            continue
    return found


def _epoch(told: dict[str, Any], _: int) -> Step:
    metrics = _metrics(told)
    return Step(int(metrics.pop("epoch")), metrics, seconds=metrics.pop("seconds", None))


def _report(told: dict[str, Any], count: int) -> Step:
    clock = told.get("clock")
    at = int(told.get("step", count))
    return Step(at, _metrics(told["metrics"]), clock=clock if isinstance(clock, int) and clock > 0 else None)


def _metrics(told: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in told.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
