"""Writes a multiplied training set as shards, for those who want it on a volume; goes on where it was stopped."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from trainer.data.dataset import Dataset, Part, open_dataset
from trainer.data.errors import DataUnavailable
from trainer.data.manifest import Shard
from trainer.data.multiply import Multiplied
from trainer.data.once import locked
from trainer.data.shards import Block, Samples, note, samples_per_shard, stamps, write_part

_BLOCK_SAMPLES = 1024
_DONE = "done.jsonl"  # a line for each shard that is whole on disk; not in the finished set


def scaled_folder(base: Path, multiplier: int) -> Path:
    """Where the multiple of the data set in `base` is kept: beside it."""
    return base.with_name(f"{base.name}-x{multiplier}")


def training_part(data: Dataset, multiplier: int, caches: Sequence[Path]) -> Part | Multiplied:
    """The training part `multiplier` times over: as written in one of the `caches`, else made as it is asked for.

    Both hold the same samples to the bit.
    """
    if multiplier == 1:
        return data.train
    name = scaled_folder(data.path, multiplier).name
    for cache in caches:
        if (cache / name).is_dir():
            return open_dataset(cache / name).train
    return Multiplied(data.train, multiplier)


def write_scaled(data: Dataset, multiplier: int, progress: Callable[[int, int], None]) -> Path:
    """The folder of the data set whose training part is `multiplier` times that of `data`, written if need be.

    A process that is killed leaves whole shards, which the next one keeps. Raises DataUnavailable.
    """
    folder = scaled_folder(data.path, multiplier)
    part = folder.with_name(f".{folder.name}.part")
    try:
        with locked(folder):
            if not folder.is_dir():
                _fill(part, data, multiplier, progress)
                part.rename(folder)
    except OSError as error:
        raise DataUnavailable(
            f"{folder}: cannot be written ({error.strerror or error}); make room or give access, then run the same "
            f"command again: what is written is kept"
        ) from error
    return folder


def _fill(part: Path, data: Dataset, multiplier: int, progress: Callable[[int, int], None]) -> None:
    source = Multiplied(data.train, multiplier)
    size = samples_per_shard(data.train.sample_shape)
    starts = range(0, len(source), size)
    shards = list(_done(part))
    _require_room(part, data, multiplier, shards)
    part.mkdir(exist_ok=True)
    for number, start in enumerate(starts):
        if number >= len(shards) // 2:
            shards += _shard(part, source, number, range(start, min(start + size, len(source))))
        progress(min(start + size, len(source)), len(source))
    others = [shard for shard in data.manifest.shards if not shard.name.startswith("train-")]
    for shard in others:
        shutil.copyfile(data.path / shard.name, part / shard.name)
    counts = data.manifest.counts.model_copy(update={"train": len(source)})
    whole = (*shards, *others)
    update = {"counts": counts, "shards": whole, "bytes": sum(shard.bytes for shard in whole)}
    data.manifest.model_copy(update=update).write(part)
    note(part, stamps(part, whole))
    (part / _DONE).unlink(missing_ok=True)


def _shard(part: Path, source: Multiplied, number: int, samples: range) -> list[Shard]:
    """Writes the shard of these samples, x and y, and notes it as done."""
    for kind in "xy":  # what a killed process left of it
        (part / f"train-{kind}-{number:05}.npy").unlink(missing_ok=True)

    def blocks() -> Iterator[Block]:
        for start in range(samples.start, samples.stop, _BLOCK_SAMPLES):
            yield source.gather(np.arange(start, min(start + _BLOCK_SAMPLES, samples.stop)))

    shape, dtype = source.part.sample_shape, source.part.target_dtype
    whole = Samples(len(samples), shape, dtype, blocks())
    written = write_part(part, "train", whole, lambda _: None, start=number)
    with (part / _DONE).open("a", encoding="utf-8") as file:
        file.write(json.dumps([shard.document() for shard in written]) + "\n")
    return written


def _done(part: Path) -> Iterator[Shard]:
    """The shards that are whole; a torn last line is passed over."""
    path = part / _DONE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    with suppress(ValueError):
        for line in lines:
            pair = [Shard.model_validate_json(json.dumps(shard)) for shard in json.loads(line)]
            if any((part / shard.name).stat().st_size != shard.bytes for shard in pair):
                return
            yield from pair


def _require_room(part: Path, data: Dataset, multiplier: int, shards: Sequence[Shard]) -> None:
    by_part = {"train": 0, "other": 0}
    for shard in data.manifest.shards:
        by_part["train" if shard.name.startswith("train-") else "other"] += shard.bytes
    needed = multiplier * by_part["train"] + by_part["other"] - sum(shard.bytes for shard in shards)
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DataUnavailable(
            f"{part.parent}: {_mib(needed)} are needed for {multiplier} times the training set, {_mib(free)} are "
            f"free; make room, or choose another folder with --cache"
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
