"""`prepare`: the folder of the data set that `data` describes, built where it is not there yet."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from trainer.data.concerns import classes_apart, concerns, examined, keep
from trainer.data.dataset import open_dataset
from trainer.data.manifest import FORMAT_VERSION, Counts, Manifest, Shard
from trainer.data.once import once
from trainer.data.series import Series
from trainer.data.shards import note, open_shard, stamps, write_part
from trainer.data.sources import csv_file, kafka_topic, npz_file, parquet_file, sp500, synthetic, yahoo
from trainer.data.split import PARTS
from trainer.data.windows import Windowed, cut
from trainer.experiment.training import LATER, Data

_SOURCES: dict[str, ModuleType] = {
    "sp500": sp500,
    "yfinance": yahoo,
    "csv": csv_file,
    "parquet": parquet_file,
    "npz": npz_file,
    "synthetic": synthetic,
    "kafka": kafka_topic,
}
# Their samples come as windows, with their targets.
_WINDOWED = ("npz", "kafka")
# Told after each block how many samples are written, of how many.
Progress = Callable[[int, int], None]


def prepare(data: Data, cache: Path, progress: Progress | None = None, *, ready: Sequence[Path] = ()) -> Path:
    """The folder of the data set, for `open_dataset`: one of the caches `ready`, which are only read, or `cache`.

    Where it is in none of them it is built in `cache`.

    Its name holds the hash over what the samples depend on: the fields that matter to this source, the source's
    content and the format's version; so equal sets are built once, and `multiplier` and `residency` make no
    difference. Two processes that ask at the same time build once. Raises DataUnavailable.
    """
    inputs = inputs_of(data, _SOURCES[data.source].identity(data, cache))
    key = hash_of(inputs)
    name = f"{data.source}-{key[:16]}"
    folder = next((place / name for place in ready if (place / name).is_dir()), cache / name)
    once(folder, lambda part: _build(data, cache, part, key, inputs["source"], progress))
    # A set that was damaged since is reported here, and not rebuilt: its owner should know of a disk that loses data.
    dataset = open_dataset(folder)
    if data.source != "kafka" and not examined(folder):
        # Version 0.1 built it, which read some files as what they do not say. A topic would be read as a whole.
        found = [*_windowed(data, cache).concerns, *_of_classes(data, folder, dataset.manifest.shards)]
        with suppress(OSError):  # others may share a folder that can't be written
            keep(folder, found)
    return folder


def rows_of(data: Data, cache: Path) -> list[Series]:
    """The rows that windows are cut from, a series per ticker. An npz and a topic have none: they hold windows."""
    rows: list[Series] = _SOURCES[data.source].rows(data, cache)
    return rows


def hash_of(inputs: dict[str, JsonValue]) -> str:
    """SHA-256 over what samples depend on."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def inputs_of(data: Data, identity: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """All that the samples depend on, as JSON. `identity` is what the source says of its content."""
    fields = ["columns", "window", "task", "normalize", "valid_fraction"]
    if data.task == "Classification":
        fields.append("classes")
    if data.source == "kafka":
        fields.append("test_fraction")
    elif data.source != "npz":
        fields += ["target", "test_fraction"]
        # So that sets of version 0.1 keep their names.
        fields += [name for name in LATER["data"] if getattr(data, name) != Data.model_fields[name].default]
    return {
        "format": FORMAT_VERSION,
        "source": {"name": data.source, **identity},
        "data": data.model_dump(mode="json", by_alias=True, include=set(fields)),
    }


def _build(data: Data, cache: Path, folder: Path, key: str, source: JsonValue, progress: Progress | None) -> None:
    windowed = _windowed(data, cache)
    total = sum(samples.count for samples in windowed.parts.values())
    done = 0

    def written(samples: int) -> None:
        nonlocal done
        done += samples
        if progress is not None:
            progress(done, total)

    shards = [shard for part in PARTS for shard in write_part(folder, part, windowed.parts[part], written)]
    Manifest(
        format_version=FORMAT_VERSION,
        hash=key,
        source=source if isinstance(source, dict) else {},
        tickers=windowed.tickers,
        columns=data.columns,
        target=None if data.source in _WINDOWED else data.target,
        window=data.window,
        task=data.task,
        classes=data.classes if data.task == "Classification" else None,
        class_edges=windowed.class_edges,
        counts=Counts(**{part: windowed.parts[part].count for part in PARTS}),
        scalers=windowed.scalers,
        target_mean=_target_mean(folder, shards) if windowed.target_mean is None else windowed.target_mean,
        bytes=sum(shard.bytes for shard in shards),
        shards=tuple(shards),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    ).write(folder)
    keep(folder, [*windowed.concerns, *_of_classes(data, folder, shards)])
    note(folder, stamps(folder, shards))


def _windowed(data: Data, cache: Path) -> Windowed:
    """The samples, and what is to be said of what they were made of."""
    if data.source in _WINDOWED:
        windowed: Windowed = _SOURCES[data.source].read(data)
        return windowed
    rows = rows_of(data, cache)
    return replace(cut(rows, data), concerns=tuple(concerns(rows, data)))


def _of_classes(data: Data, folder: Path, shards: Sequence[Shard]) -> Iterator[str]:
    if data.task == "Classification":
        yield from classes_apart({part: _targets(folder, shards, part) for part in PARTS})


def _target_mean(folder: Path, shards: Sequence[Shard]) -> float:
    targets = _targets(folder, shards, "train")
    return float(sum(y.sum(dtype=np.float64) for y in targets) / sum(len(y) for y in targets))


def _targets(folder: Path, shards: Sequence[Shard], part: str) -> list[NDArray[Any]]:
    """The y of a part's shards."""
    return [open_shard(folder, shard) for shard in shards if shard.name.startswith(f"{part}-y-")]
