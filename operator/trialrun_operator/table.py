"""The table of trials in a status: at most 100 rows and 40 KiB, the most telling ones. Pure."""

import heapq
from collections.abc import Callable, Mapping

from trainer.experiment.best import direction, objective_reader, objective_value
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome, advice
from trainer.experiment.record import Record, cut_error
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.workload import Workload
from trialrun_operator.names import job_name
from trialrun_operator.status_model import SearchTrialRow, TrialRow

MAX_ROWS = 100
MAX_BYTES = 40 * 1024
MAX_ERROR_CHARACTERS = 256


def table(work: Workload, latest: Mapping[str, Record], running: frozenset[str]) -> tuple[TrialRow, ...]:
    """Rows of failed trials, then running ones, then the best of the others, put in the listed order.

    `latest` holds each trial's latest record; one that is to be run again is not final.
    """
    rows: list[TrialRow] = []
    size = 0
    for trial in _most_telling(work, latest, running):
        row = _row(work, trial, latest.get(trial.id), trial.id in running)
        size += len(row.model_dump_json(by_alias=True, exclude_none=True))
        if size > MAX_BYTES:
            break
        rows.append(row)
    return tuple(sorted(rows, key=lambda row: row.index))


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


def _row(work: Workload, trial: Trial, record: Record | None, running: bool) -> TrialRow:
    search = work.experiment if isinstance(work.experiment, HyperparamSearch) else None
    state = "Running" if running else "Pending"
    if record is not None and record.final and not running:
        state = str(record.outcome)
    row = (TrialRow if search is None else SearchTrialRow)(
        index=trial.index,
        id=trial.id,
        state=state,
        parameters=trial.parameters,
        repeat=trial.repeat if work.experiment.spec.repeats > 1 else None,
        workers=trial.workers if trial.workers > 1 or search is None else None,
    )
    if record is None:
        return row
    peaks = [memory.counted_peak for memory in record.memory if memory is not None]
    found: dict[str, object] = {
        "attempt": record.attempt,
        "job": job_name(work.experiment.name, trial.id, record.attempt),
        "seconds": record.seconds.total,
        "peak_memory_bytes": max(peaks, default=None),
        "error": _error(record, program=work.experiment.spec.program is not None),
    }
    if search is not None:
        found["value"] = objective_value(record, search.spec.objective.metric)
    return row.model_copy(update=found)


def _error(record: Record, *, program: bool) -> str | None:
    """A failure's error, cut short, and what to do about it."""
    if record.outcome is Outcome.SUCCEEDED:
        return None
    told = advice(record.outcome, program=program)
    error = cut_error(record.error, MAX_ERROR_CHARACTERS - len(told) - 2).rstrip(".")
    return f"{error}. {told}" if error else told
