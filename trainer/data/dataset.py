"""A data set on disk, opened: three parts that gather samples by index."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Manifest, Shard, damaged, read_manifest
from trainer.data.shards import open_shard, require_unchanged
from trainer.data.split import PARTS


@dataclass(frozen=True)
class Part:
    """One of train, valid, test, memory-mapped.

    x: shards [k, window, features] float32; y: shards [k] float32 (regression) or int64 (class). Every shard but the
    last holds `shard_samples`. `sample_shape` is (window, features), also where the part is empty.
    """

    x: tuple[NDArray[np.float32], ...]
    y: tuple[NDArray[Any], ...]
    shard_samples: int
    sample_shape: tuple[int, int]
    target_dtype: np.dtype[Any]

    def __len__(self) -> int:
        return (len(self.y) - 1) * self.shard_samples + len(self.y[-1]) if self.y else 0

    @property
    def sample_bytes(self) -> int:
        """What one sample takes: its window of float32 and its target."""
        window, features = self.sample_shape
        return 4 * window * features + self.target_dtype.itemsize

    def targets(self, rank: int, ranks: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Every `ranks`-th sample's number and its target, from number `rank` on: [k] and [k]."""
        y = np.concatenate(self.y) if self.y else np.empty(0, self.target_dtype)
        return np.arange(rank, len(y), ranks), y[rank::ranks]

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Contiguous copies of the samples at `indices` [k], in that order, repeats allowed.

        x [k, window, features] float32, y [k] float32 or int64. IndexError beyond 0 … len - 1.
        """
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"samples 0 to {len(self) - 1} exist, got {indices.min()} to {indices.max()}")
        if len(self.y) == 1:
            # "wrap" skips the buffering that numpy does to check bounds; they are checked above.
            return self.x[0].take(indices, axis=0, mode="wrap"), self.y[0].take(indices, mode="wrap")
        x = np.empty((len(indices), *self.sample_shape), np.float32)
        y = np.empty(len(indices), self.target_dtype)
        shards, within = np.divmod(indices, self.shard_samples)
        for shard in np.unique(shards):
            here = shards == shard
            x[here] = self.x[shard][within[here]]
            y[here] = self.y[shard][within[here]]
        return x, y


@dataclass(frozen=True)
class Dataset:
    """A data set's folder, what its manifest says, and its parts."""

    path: Path
    manifest: Manifest
    train: Part
    valid: Part
    test: Part


def open_dataset(path: Path) -> Dataset:
    """Open the folder that `prepare` returned.

    Checks names, sizes, shapes and types of all files against the manifest, and the content of those that may have
    changed since it was compared last: DataUnavailable where something is missing, truncated or does not add up.
    """
    manifest = read_manifest(path)
    train, valid, test = (_part(path, manifest, part) for part in PARTS)
    require_unchanged(path, manifest.shards)
    return Dataset(path, manifest, train, valid, test)


def _part(path: Path, manifest: Manifest, part: str) -> Part:
    count: int = getattr(manifest.counts, part)
    features = _listed(manifest, f"{part}-x-")
    targets = _listed(manifest, f"{part}-y-")
    sizes = [shard.shape[0] for shard in targets]
    shape = (manifest.window, len(manifest.columns))
    fits = (
        sum(sizes) == count
        and [shard.shape for shard in features] == [(size, *shape) for size in sizes]
        and all(len(shard.shape) == 1 for shard in targets)
        and all(size == sizes[0] for size in sizes[:-1])
    )
    if not fits:
        raise damaged(path / "manifest.json", f"the shards of {part} do not add up to {count} samples")
    return Part(
        x=tuple(open_shard(path, shard) for shard in features),
        y=tuple(open_shard(path, shard) for shard in targets),
        shard_samples=sizes[0] if sizes else 1,
        sample_shape=shape,
        target_dtype=np.dtype(np.float32 if manifest.task == "Regression" else np.int64),
    )


def _listed(manifest: Manifest, prefix: str) -> list[Shard]:
    return sorted((s for s in manifest.shards if s.name.startswith(prefix)), key=lambda shard: shard.name)


def parts(dataset: Dataset) -> dict[str, Part]:
    """The parts by name, in order of time."""
    return {name: cast(Part, getattr(dataset, name)) for name in PARTS}
