"""All trials as columns: what the page's table and its download have, and what its charts are drawn from."""

from collections.abc import Iterator
from typing import Any

from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.experiment.spec import Scalar, ScaleTest
from trainer.report.results import Results, objective_text, outcome_text
from trainer.report.view import ABSENT, Column, TrialTable
from trainer.report.wording import count, one_line

_MOST_METRICS = 24  # beside the objective; results.jsonl has them all
_ERROR_LETTERS = 300


def parameter(path: str) -> str:
    """The name of a parameter's column."""
    return f"parameters.{path}"


def metric(name: str) -> str:
    """The name of a metric's column."""
    return f"metrics.{name}"


def table(results: Results) -> TrialTable:
    """The table: the best first, but where trials have no order among each other."""
    listed = isinstance(results.experiment, ScaleTest) or bool(results.summary.groups)
    place = {trial.id: row for row, trial in enumerate(results.trials)}
    order = range(len(place)) if listed else (place[trial.id] for trial in results.ranked)
    how = "as listed" if listed else "the best first"
    return TrialTable(
        f"All {count(len(results.trials), results.noun)}, {how}. {ABSENT} stands for what was not measured.",
        tuple(order),
    )


def columns(results: Results) -> tuple[Column, ...]:
    """A value for each trial, as trials are listed; names are those that exports have."""
    return tuple(_columns(results))


def _columns(results: Results) -> Iterator[Column]:
    trials, program = results.trials, results.experiment.spec.program is not None
    records = [results.records.get(trial.id) for trial in trials]
    ran = [None if record is None or record.outcome is Outcome.SKIPPED else record for record in records]
    scale = isinstance(results.experiment, ScaleTest)

    def of(found: list[Record | None], value: Any) -> list[Any]:
        return [None if record is None else value(record) for record in found]

    yield Column("index", results.noun, [trial.index for trial in trials])
    yield Column("id", "id", [trial.id for trial in trials])
    for path, short in results.names.items():
        yield Column(parameter(path), short, [_setting(trial, path) for trial in trials])
    if results.metric is not None:
        values = [results.values.get(trial.id) for trial in trials]
        yield Column(metric(results.metric), objective_text(results.metric), values)
    several = len({trial.workers for trial in trials}) > 1 or scale
    yield Column("workers", "workers", [trial.workers for trial in trials], shown=several)
    yield Column("repeat", "repeat", [trial.repeat for trial in trials], shown=results.repeats > 1)
    yield Column("outcome", "outcome", ["not run" if one is None else outcome_text(one) for one in records])
    yield Column("attempt", "attempt", of(records, lambda one: one.attempt), shown=False)
    yield Column("epochs", "epochs", of(ran, lambda one: one.epochs or None), shown=not program)
    yield Column("seconds.total", "time", of(ran, lambda one: one.seconds.total), "s")
    yield Column("peakMemoryBytes", "peak memory", of(records, lambda one: one.counted_peak), "bytes")
    for name in _metrics(results):
        yield Column(metric(name), name, of(records, lambda one, name=name: one.metrics.get(name)), shown=False)
    yield Column("error", "error", of(records, lambda one: one_line(one.error, _ERROR_LETTERS) or None), shown=False)


def _metrics(results: Results) -> list[str]:
    """The metrics of all trials beside the objective, in the order in which they were first recorded."""
    found = dict.fromkeys(name for _, record in results.ran for name in record.metrics if name != results.metric)
    return list(found)[:_MOST_METRICS]


def _setting(trial: Trial, path: str) -> Scalar | None:
    value = trial.parameters.get(path)
    return one_line(value) if isinstance(value, str) else value
