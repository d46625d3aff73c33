"""All trials of a run as a table, a row each: one definition of its columns, written as CSV or Parquet.

Columns are named as records name them, parts with dots between them, such as `seconds.total`. They are described in
docs/exports.md. What was not measured is empty.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from trainer.atomic import replace
from trainer.experiment.expand import Trial
from trainer.experiment.record import CODE, DATA, INPUTS, STEP, VALIDATION, Record
from trainer.experiment.redact import redacted
from trainer.experiment.spec import Scalar, ScaleTest
from trainer.export.run import Kind, Run, as_kind, kind_of
from trainer.packages import load

Cell = Scalar | datetime | None
_FIRST = ("index", "id", "repeat", "workers")  # with which every table of ours begins
_MADE_BY = b"trialrun"  # the key under which a Parquet file says so
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Spreadsheets take text that begins so for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Time:
    """The kind of a column of moments: in UTC, to the millisecond."""


@dataclass(frozen=True)
class Column:
    """A column: what it is called, what its cells are, and the cell of each row."""

    name: str
    kind: Kind | type[Time]
    cells: tuple[Cell, ...]


def columns(run: Run) -> list[Column]:
    """The table of a run, a row for each trial in the listed order; the record of the latest attempt counts."""
    return [
        Column(name, kind, tuple(cell(trial, run.records.get(trial.id)) for trial in run.trials))
        for name, kind, cell in _definitions(run)
    ]


def write_csv(path: Path, table: Sequence[Column]) -> None:
    """Writes the table as RFC 4180 has it, in UTF-8: numbers so that they read back to the bit, moments in ISO 8601.

    Text that a spreadsheet would take for a formula begins with an apostrophe.

    Raises:
        OSError: it can't be written; then the file is as it was.
    """
    with replace(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([column.name for column in table])
        rows.writerows(zip(*([_spelt(cell) for cell in column.cells] for column in table), strict=True))


def write_parquet(path: Path, table: Sequence[Column]) -> None:
    """Writes the table as Parquet, each column of its type.

    Raises:
        PackageMissing: pyarrow is not installed.
        OSError: it can't be written; then the file is as it was.
    """
    arrow, parquet = load("pyarrow", "--parquet"), load("pyarrow.parquet", "--parquet")
    schema = arrow.schema([(column.name, _arrow_type(arrow, column.kind)) for column in table])
    arrays = [
        arrow.array(column.cells, field.type) for column, field in zip(table, schema, strict=True)
    ]  # which refuses a cell of another type
    whole = arrow.Table.from_arrays(arrays, schema=schema.with_metadata({_MADE_BY: b"export"}))
    with replace(path) as temporary:
        parquet.write_table(whole, temporary)


def is_csv(path: Path) -> bool:
    """Whether a file begins as every CSV file of ours does."""
    start = ",".join(_FIRST).encode()
    with path.open("rb") as file:
        return file.read(len(start)) == start


def is_parquet(path: Path) -> bool:
    """Whether a file is a Parquet file that says it is ours."""
    arrow, parquet = load("pyarrow", "--parquet"), load("pyarrow.parquet", "--parquet")
    try:
        return _MADE_BY in (parquet.read_schema(path).metadata or {})
    except arrow.ArrowInvalid:
        return False


_Cells = Callable[[Trial, Record | None], Cell]
_Definition = tuple[str, Kind | type[Time], _Cells]


def _definitions(run: Run) -> Iterator[_Definition]:
    yield "index", Kind.WHOLE, lambda trial, _: trial.index
    yield "id", Kind.TEXT, lambda trial, _: trial.id
    yield "repeat", Kind.WHOLE, lambda trial, _: trial.repeat
    yield "workers", Kind.WHOLE, lambda trial, _: trial.workers
    if isinstance(run.experiment, ScaleTest):
        yield "multiplier", Kind.WHOLE, lambda trial, _: trial.multiplier
    yield "seed", Kind.WHOLE, lambda trial, _: trial.seed
    yield "attempt", Kind.WHOLE, _of_record(lambda record: record.attempt)
    yield "final", Kind.TRUTH, _of_record(lambda record: record.final)
    yield "outcome", Kind.TEXT, _of_record(lambda record: str(record.outcome))
    yield "exitCode", Kind.WHOLE, _of_record(lambda record: record.exit_code)
    yield "failedRank", Kind.WHOLE, _of_record(lambda record: record.failed_rank)
    yield "error", Kind.TEXT, _of_record(lambda record: redacted(record.error) or None)
    for name in dict.fromkeys(name for trial in run.trials for name in trial.parameters):
        yield _parameter(run, name)
    for name in dict.fromkeys(name for trial in run.trials for name in _metrics(run, trial)):
        yield _metric(name)
    for part in ("queued", "start", "data", "train", "total"):
        yield _seconds(part)
    yield "peakMemoryBytes", Kind.WHOLE, _of_record(lambda record: record.counted_peak)
    yield "peakDeviceMemoryBytes", Kind.WHOLE, _of_record(_peak_device_memory_bytes)
    yield "samples", Kind.WHOLE, _of_record(lambda record: record.samples)
    yield "datasetBytes", Kind.WHOLE, _of_record(lambda record: record.dataset_bytes)
    yield "epochs", Kind.WHOLE, _of_record(lambda record: record.epochs)
    yield "step", Kind.WHOLE, _of_record(_last_step)
    yield "resumedFrom", Kind.WHOLE, _of_record(lambda record: record.resumed_from)
    yield "oversubscribed", Kind.TRUTH, _of_record(lambda record: record.oversubscribed)
    for key in (DATA, VALIDATION, INPUTS, CODE):
        yield _evidence(key)
    yield "acceptedAt", Time, _of_record(lambda record: _moment(record.accepted_at))
    yield "startedAt", Time, _of_record(lambda record: _moment(record.started_at))
    yield "finishedAt", Time, _of_record(lambda record: _moment(record.finished_at))


def _of_record(cell: Callable[[Record], Cell]) -> _Cells:
    """A cell that is empty for a trial that has not run."""
    return lambda _, record: None if record is None else cell(record)


def _parameter(run: Run, name: str) -> _Definition:
    """A parameter's column, empty where the point doesn't have it."""
    kind = kind_of([trial.parameters[name] for trial in run.trials if name in trial.parameters])

    def cell(trial: Trial, _: Record | None) -> Cell:
        return as_kind(trial.parameters[name], kind) if name in trial.parameters else None

    return f"parameters.{name}", kind, cell


def _metrics(run: Run, trial: Trial) -> Sequence[str]:
    record = run.records.get(trial.id)
    return () if record is None else list(record.metrics)


def _metric(name: str) -> _Definition:
    return f"metrics.{name}", Kind.NUMBER, _of_record(lambda record: record.metrics.get(name))


def _seconds(part: str) -> _Definition:
    return f"seconds.{part}", Kind.NUMBER, _of_record(lambda record: float(getattr(record.seconds, part)))


def _evidence(key: str) -> _Definition:
    def cell(record: Record) -> Cell:
        found = record.evidence.get(key)
        return None if found is None else str(found)

    return f"evidence.{key}", Kind.TEXT, _of_record(cell)


def _last_step(record: Record) -> int | None:
    """The last step that was told, where a record says."""
    found = record.evidence.get(STEP)
    return found if isinstance(found, int) else None


def _peak_device_memory_bytes(record: Record) -> int | None:
    measured = [memory.device_peak_bytes for memory in record.memory if memory is not None]
    return max((each for each in measured if each is not None), default=None)


def _moment(milliseconds: int) -> datetime | None:
    return _EPOCH + timedelta(milliseconds=milliseconds) if milliseconds else None


def _spelt(cell: Cell) -> str:
    """A cell as CSV has it."""
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return cell.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(_FORMULA) and not _is_number(cell) else cell
    return json.dumps(cell)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _arrow_type(arrow: ModuleType, kind: Kind | type[Time]) -> Any:
    if isinstance(kind, Kind):
        return arrow.type_for_alias(kind.value)
    return arrow.timestamp("ms", tz="UTC")
