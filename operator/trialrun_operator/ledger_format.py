"""How records are kept in ConfigMaps: ranges of 200 trials, a key per attempt, values of bounded size. Pure.

The attempts at a baseline have a ConfigMap of their own, and the figures of the run beside each record.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from trainer.experiment.expand import Kind, Trial
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.record import (
    Environment,
    Memory,
    Record,
    Reported,
    RunFigures,
    cut_error,
    decode,
    encode,
)

Shard = int | Literal["baseline"]
BASELINE: Literal["baseline"] = "baseline"
SHARD_TRIALS = 200
MAX_VALUE_BYTES = 4096
# A ConfigMap may have 1 MiB with its keys and metadata; the latest of each of its trials always fits below this.
MAX_SHARD_BYTES = 900 * 1024


class BaselineEntry(Reported):
    """An attempt at measuring a baseline: how it ended, and the figures of its run if it came to that."""

    record: Record
    figures: RunFigures | None = None


Entry = Record | BaselineEntry


def range_of(index: int) -> int:
    """The range that a trial or a floor is in."""
    return index // SHARD_TRIALS


def shard_of_run(trial: Trial) -> Shard:
    """The ConfigMap for the entries of a run."""
    return BASELINE if trial.kind is Kind.BASELINE else range_of(trial.index)


def shard_of(entry: Entry) -> Shard:
    """The ConfigMap for an entry."""
    return range_of(entry.index) if isinstance(entry, Record) else BASELINE


def key_of(entry: Entry) -> str:
    """The key of an attempt: keys sort as the trials are listed."""
    if isinstance(entry, Record):
        return f"{entry.index:04d}-{entry.id}.{entry.attempt}"
    return str(entry.record.attempt)


def line_of(entry: Entry) -> str:
    """The line that an entry is written as."""
    return shortened(entry) if isinstance(entry, Record) else entry.model_dump_json(by_alias=True)


def entry_of(shard: Shard, line: str) -> Entry:
    """The entry that a line of a ConfigMap holds.

    Raises:
        ValueError: it holds none.
    """
    return BaselineEntry.model_validate_json(line) if shard == BASELINE else decode(line)


def record_of(entry: Entry) -> Record:
    """How the attempt ended that an entry is about."""
    return entry if isinstance(entry, Record) else entry.record


def shortened(record: Record) -> str:
    """A record's line, shortened to at most `MAX_VALUE_BYTES`: first its error, then what can be recomputed.

    Before the environment goes the memory of most ranks: the largest floor and the largest peak tell what a limit and
    a status need. Of metrics those stay longest that an objective can name.
    """
    named = {name: value for name, value in record.metrics.items() if name in OBJECTIVES}
    shorter: tuple[dict[str, Any], ...] = (
        {},
        {"error": cut_error(record.error, 300)},
        {"memory": _largest(record.memory)},
        {"environment": Environment(image=(record.environment.image or "")[:300] or None)},
        {"memory": ()},
        {"parameters": {}},
        {"metrics": dict(list((named | record.metrics).items())[:16])},
        {"metrics": named},
    )
    for change in shorter:
        record = record.model_copy(update=change)
        line = encode(record)
        if len(line.encode()) <= MAX_VALUE_BYTES:
            return line
    raise ValueError(f"a record must have at most {MAX_VALUE_BYTES} bytes, got {len(line.encode())}")


def _largest(memory: tuple[Memory | None, ...]) -> tuple[Memory | None, ...]:
    """The memory of each rank, but only of the ones with the largest floor and the largest peak."""
    told = [(rank, each) for rank, each in enumerate(memory) if each is not None]
    if not told:
        return memory
    kept = {
        max(told, key=lambda one: one[1].counted_floor or 0)[0],
        max(told, key=lambda one: one[1].counted_peak)[0],
    }
    return tuple(each if rank in kept else None for rank, each in enumerate(memory))


def superseded(data: Mapping[str, int], more: Mapping[str, int]) -> list[str]:
    """Keys to drop so that a shard with entries `data` (sizes by key) has room for `more`: earlier attempts first."""
    size = sum(len(key) + length for key, length in {**data, **more}.items())
    if size <= MAX_SHARD_BYTES:
        return []
    latest: dict[str, int] = {}
    for key in (*data, *more):
        trial, attempt = split(key)
        latest[trial] = max(latest.get(trial, 0), attempt)
    dropped: list[str] = []
    for key in sorted(data, key=split):
        if size <= MAX_SHARD_BYTES:
            break
        trial, attempt = split(key)
        if attempt < latest[trial]:
            dropped.append(key)
            size -= len(key) + data[key]
    return dropped


def split(key: str) -> tuple[str, int]:
    """The trial's name and the attempt in a key; attempt 0 for a key that is none of ours."""
    trial, _, attempt = key.rpartition(".")
    return (trial, int(attempt)) if attempt.isdigit() else (key, 0)


def read(lines: Iterable[str]) -> tuple[list[Record], list[str]]:
    """The records in `lines`, and the complaint about each line that holds none."""
    records: list[Record] = []
    complaints: list[str] = []
    for line in lines:
        try:
            records.append(decode(line))
        except ValueError as error:
            complaints.append(str(error))
    return records, complaints
