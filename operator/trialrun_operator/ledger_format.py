"""How entries are kept in ConfigMaps: ranges of 200, a key for each, values of bounded size. Pure.

Records have a key per attempt; suggestions, in ConfigMaps of their own, one per number. The attempts at a baseline
have a ConfigMap too, with the figures of the run beside each record, and so has what a search began with.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from trainer.experiment import suggestion
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
from trainer.experiment.suggestion import Suggestion
from trainer.scheduling.lessons import Lesson, as_json, from_json

SHARD_TRIALS = 200
MAX_VALUE_BYTES = 4096
# A ConfigMap may have 1 MiB with its keys and metadata; the latest of each of its trials always fits below this.
MAX_SHARD_BYTES = 900 * 1024
MAX_LESSONS = 1000  # that a search begins with
_MAX_WHY = 300


class Shard(NamedTuple):
    """A ConfigMap of entries of a kind, and which of them."""

    kind: Literal["ledger", "suggestions", "baseline", "warmstart"]
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


BASELINE = Shard("baseline")
WARM_START = Shard("warmstart")


class BaselineEntry(Reported):
    """An attempt at measuring a baseline: how it ended, and the figures of its run if it came to that."""

    record: Record
    figures: RunFigures | None = None


@dataclass(frozen=True)
class WarmStart:
    """What a search began with that another had come to."""

    lessons: tuple[Lesson, ...]


Ended = Record | BaselineEntry
Entry = Ended | Suggestion | WarmStart


def range_of(index: int) -> int:
    """The range that a trial, a floor or a suggestion is in."""
    return index // SHARD_TRIALS


def shard_of_run(trial: Trial) -> Shard:
    """The ConfigMap for the entries of a run."""
    return BASELINE if trial.kind is Kind.BASELINE else Shard("ledger", range_of(trial.index))


def shard_of(entry: Entry) -> Shard:
    """The ConfigMap for an entry."""
    if isinstance(entry, Record):
        return Shard("ledger", range_of(entry.index))
    if isinstance(entry, Suggestion):
        return Shard("suggestions", range_of(entry.number))
    return BASELINE if isinstance(entry, BaselineEntry) else WARM_START


def key_of(entry: Entry) -> str:
    """The key of an entry: keys sort as the trials are listed."""
    if isinstance(entry, Record):
        return f"{entry.index:04d}-{entry.id}.{entry.attempt}"
    if isinstance(entry, Suggestion):
        return f"{entry.number:04d}"
    return str(entry.record.attempt) if isinstance(entry, BaselineEntry) else "lessons.jsonl"


def line_of(entry: Entry) -> str:
    """The text that an entry is written as."""
    if isinstance(entry, Record):
        return shortened(entry)
    if isinstance(entry, Suggestion):
        return suggestion.encode(entry.model_copy(update={"why": cut_error(entry.why, _MAX_WHY)}))
    if isinstance(entry, BaselineEntry):
        return entry.model_dump_json(by_alias=True)
    return _latest_that_fit(entry.lessons)


def entry_of(shard: Shard, line: str) -> Entry:
    """The entry that a text in a ConfigMap holds.

    Raises:
        ValueError: it holds none.
    """
    if shard.kind == "ledger":
        return decode(line)
    if shard.kind == "suggestions":
        return suggestion.decode(line)
    if shard == BASELINE:
        return BaselineEntry.model_validate_json(line)
    try:
        return WarmStart(tuple(from_json(json.loads(each)) for each in line.splitlines()))
    except (TypeError, KeyError) as error:
        raise ValueError(f"not what a search began with: {error}") from error


def record_of(entry: Ended) -> Record:
    """How the attempt ended that an entry is about."""
    return entry if isinstance(entry, Record) else entry.record


def _latest_that_fit(lessons: Iterable[Lesson]) -> str:
    """The last of the lessons, a line each: as many as a ConfigMap takes."""
    lines, size = list[str](), 0
    for each in reversed(list(lessons)[-MAX_LESSONS:]):
        line = json.dumps(as_json(each)) + "\n"
        size += len(line.encode())
        if size > MAX_SHARD_BYTES:
            break
        lines.append(line)
    return "".join(reversed(lines))


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
