"""The table of trials in a status: at most 100 rows and 40 KiB, the most telling ones. Pure."""

import heapq
import json
from collections.abc import Callable, Mapping
from typing import Any

from trainer.experiment.best import direction, objective_reader, objective_value
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import ADVICE, Outcome
from trainer.experiment.record import Record, cut_error
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.workload import Workload
from trialrun_operator.names import job_name

MAX_ROWS = 100
MAX_BYTES = 40 * 1024
MAX_ERROR_CHARACTERS = 256


def table(work: Workload, latest: Mapping[str, Record], running: frozenset[str]) -> list[dict[str, Any]]:
    """Rows of failed trials, then running ones, then the best of the others, put in the listed order.

    `latest` holds each trial's latest record; one that is to be run again is not final.
    """
    rows: list[dict[str, Any]] = []
    size = 0
    for trial in _most_telling(work, latest, running):
        row = _row(work, trial, latest.get(trial.id), trial.id in running)
        size += len(json.dumps(row))
        if size > MAX_BYTES:
            break
        rows.append(row)
    return sorted(rows, key=lambda row: int(row["index"]))


def _most_telling(work: Workload, latest: Mapping[str, Record], running: frozenset[str]) -> list[Trial]:
    """The trials of the rows. Few are ranked: most of thousands of trials never get near the table."""
    failed: list[Trial] = []
    live: list[Trial] = []
    succeeded: list[Trial] = []
    waiting: list[Trial] = []
    for trial in work.trials:
        record = latest.get(trial.id)
        if trial.id in running:
            live.append(trial)
        elif record is None:
            waiting.append(trial)
        else:
            (succeeded if record.outcome is Outcome.SUCCEEDED else failed).append(trial)
    if (room := MAX_ROWS - len(failed) - len(live)) > 0:
        cost = _cost(work)
        succeeded = heapq.nsmallest(room, succeeded, key=lambda trial: (cost(latest[trial.id]), trial.index))
    return [*failed, *live, *succeeded, *waiting][:MAX_ROWS]


def _cost(work: Workload) -> Callable[[Record], float]:
    """The objective of a record that succeeded, so turned that the lowest is the best; 0 where there is none."""
    if not isinstance(work.experiment, HyperparamSearch):
        return lambda _: 0.0
    objective = work.experiment.spec.objective
    read = objective_reader(objective.metric)
    sign = 1 if direction(objective) == "Minimize" else -1
    return lambda record: sign * value if (value := read(record)) is not None else 0.0


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
    if peaks := [memory.counted_peak for memory in record.memory if memory is not None]:
        row["peakMemoryBytes"] = max(peaks)
    if record.outcome is not Outcome.SUCCEEDED:
        advice = ADVICE[record.outcome]
        error = cut_error(record.error, MAX_ERROR_CHARACTERS - len(advice) - 2).rstrip(".")
        row["error"] = f"{error}. {advice}" if error else advice
    return row


def _value(work: Workload, record: Record) -> float | None:
    if not isinstance(work.experiment, HyperparamSearch):
        return None
    return objective_value(record, work.experiment.spec.objective.metric)
