"""The table of trials in a status: at most 100 rows and 40 KiB, the most telling ones. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from trainer.experiment.expand import Trial
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.outcome import ADVICE, Outcome
from trainer.experiment.record import Record, cut_error
from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.summary import direction, objective_value
from trialrun_operator.names import job_name
from trialrun_operator.workload import Workload

MAX_ROWS = 100
MAX_BYTES = 40 * 1024
MAX_ERROR_CHARACTERS = 256


def table(work: Workload, latest: Mapping[str, Record], running: frozenset[str]) -> list[dict[str, Any]]:
    """Rows of failed trials, then running ones, then the best of the others, put in the listed order.

    `latest` holds each trial's latest record; one that is to be run again is not final.
    """
    ranked = sorted(work.trials, key=lambda trial: _rank(work, trial, latest.get(trial.id), running))
    rows: list[dict[str, Any]] = []
    size = 0
    for trial in ranked[:MAX_ROWS]:
        row = _row(work, trial, latest.get(trial.id), trial.id in running)
        size += len(json.dumps(row))
        if size > MAX_BYTES:
            break
        rows.append(row)
    return sorted(rows, key=lambda row: int(row["index"]))


def _rank(work: Workload, trial: Trial, record: Record | None, running: frozenset[str]) -> tuple[int, float, int]:
    if trial.id in running:
        return 1, 0.0, trial.index
    if record is None:
        return 3, 0.0, trial.index
    if record.outcome is not Outcome.SUCCEEDED:
        return 0, 0.0, trial.index
    value = _value(work, record)
    return 2, 0.0 if value is None else value * _sign(work), trial.index


def _row(work: Workload, trial: Trial, record: Record | None, running: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"index": trial.index, "id": trial.id, "state": "Running" if running else "Pending"}
    row["parameters"] = trial.parameters
    if work.experiment.spec.repeats > 1:
        row["repeat"] = trial.repeat
    if trial.workers > 1 or not isinstance(work.experiment, HyperparamSearch):
        row["workers"] = trial.workers
    if record is None:
        return row
    if not running and record.final:
        row["state"] = str(record.outcome)
    row["attempt"] = record.attempt
    row["job"] = job_name(work.experiment.name, trial.id, record.attempt)
    row["seconds"] = record.seconds.total
    if (value := _value(work, record)) is not None:
        row["value"] = value
    if peaks := [memory.peak_bytes for memory in record.memory if memory is not None]:
        row["peakMemoryBytes"] = max(peaks)
    if record.outcome is not Outcome.SUCCEEDED:
        advice = ADVICE[record.outcome]
        row["error"] = f"{cut_error(record.error, MAX_ERROR_CHARACTERS - len(advice) - 1)} {advice}".strip()
    return row


def _value(work: Workload, record: Record) -> float | None:
    if not isinstance(work.experiment, HyperparamSearch):
        return None
    return objective_value(record, work.experiment.spec.objective.metric)


def _sign(work: Workload) -> int:
    assert isinstance(work.experiment, HyperparamSearch)  # noqa: S101 - only its trials have a value
    objective = work.experiment.spec.objective
    return 1 if (direction(objective) or OBJECTIVES[objective.metric].better) == "Minimize" else -1
