"""Samples as .npy files of at most 64 MiB each, written as a stream and read through memory maps."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from trainer.atomic import write_text
from trainer.data.manifest import Shard, damaged

SHARD_BYTES = 64 * 2**20
_HEADER_BYTES = 128

_STAMPS = "stamps.json"
Stamp = list[int]  # bytes, time of the content's last change and of the entry's in ns, inode
Block = tuple[NDArray[np.float32], NDArray[Any]]


@dataclass(frozen=True)
class Samples:
    """A part before it is on disk: how many samples, and the blocks they come in, in order.

    A block is x [k, window, features] float32 and y [k], float32 (regression) or int64 (class).
    """

    count: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    blocks: Iterable[Block]


def samples_per_shard(shape: tuple[int, int], shard_bytes: int = SHARD_BYTES) -> int:
    """How many samples of a (window, features) every shard but the last holds."""
    return max(1, (shard_bytes - _HEADER_BYTES) // (4 * shape[0] * shape[1]))


def write_part(
    folder: Path,
    part: str,
    samples: Samples,
    written: Callable[[int], None],
    shard_bytes: int = SHARD_BYTES,
    start: int = 0,
) -> list[Shard]:
    """Write a part's shards, numbered from `start`, telling `written` after each block how many samples it added."""
    capacity = samples_per_shard(samples.shape, shard_bytes)
    blocks = iter(samples.blocks)
    x = np.empty((0, *samples.shape), np.float32)
    y = np.empty(0, samples.dtype)
    shards = []
    for number, first in enumerate(range(0, samples.count, capacity), start):
        missing = size = min(capacity, samples.count - first)
        with (
            _Writer(folder / f"{part}-x-{number:05}.npy", (size, *samples.shape), np.dtype("<f4")) as x_file,
            _Writer(folder / f"{part}-y-{number:05}.npy", (size,), samples.dtype) as y_file,
        ):
            while missing:
                if not len(y):
                    x, y = next(blocks)
                taken = min(len(y), missing)
                x_file.append(x[:taken])
                y_file.append(y[:taken])
                x, y = x[taken:], y[taken:]
                missing -= taken
                written(taken)
        shards += [x_file.shard(), y_file.shard()]
    return shards


def open_shard(folder: Path, shard: Shard) -> NDArray[Any]:
    """Map one shard into memory, read-only; DataUnavailable where the file is not what the manifest says."""
    path = folder / shard.name
    try:
        size = path.stat().st_size
        if size != shard.bytes:
            raise damaged(path, f"{shard.bytes} bytes expected, found {size}")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, str(error)) from error
    if array.shape != shard.shape or array.dtype != np.dtype(shard.dtype):
        raise damaged(
            path, f"{shard.dtype} {list(shard.shape)} expected, found {array.dtype.str} {list(array.shape)}"
        )
    # A plain view of the map: indexing numpy's memmap class costs several times as much.
    return np.asarray(array)


def verify(folder: Path, shards: Iterable[Shard]) -> None:
    """Read every byte and compare its SHA-256; DataUnavailable at the first difference."""
    for shard in shards:
        path = folder / shard.name
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise damaged(path, str(error)) from error
        if found != shard.sha256:
            raise damaged(path, f"SHA-256 {shard.sha256[:12]}… expected, found {found[:12]}…")


def require_unchanged(folder: Path, shards: Sequence[Shard]) -> None:
    """Raises DataUnavailable where a shard is not what was written.

    One whose size, times and inode are those that were noted is taken for unchanged. The content of any other is
    compared, as after a copy, and then noted: in a file of its own, as version 0.1 shares the folder.
    """
    noted = _noted(folder)
    found = stamps(folder, shards)
    changed = [shard for shard in shards if noted.get(shard.name) != found[shard.name]]
    if changed:
        verify(folder, changed)
        with suppress(OSError):  # others may share a folder that can't be written
            note(folder, found)


def note(folder: Path, stamps: Mapping[str, Stamp]) -> None:
    """Notes what tells whether shards have changed."""
    write_text(folder / _STAMPS, json.dumps(stamps) + "\n")


def stamps(folder: Path, shards: Iterable[Shard]) -> dict[str, Stamp]:
    """What tells whether a file changed, of each shard by its name."""
    return {shard.name: _stamp(folder / shard.name) for shard in shards}


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError as error:
        raise damaged(path, str(error)) from error
    # The time of the last change of the file's entry can't be set back, unlike that of its content.
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _noted(folder: Path) -> dict[str, Stamp]:
    try:
        noted = json.loads((folder / _STAMPS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def npy_header(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write the header of a C-ordered array of this shape."""
    npy.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": shape})


class _Writer:
    """One .npy file whose rows arrive in pieces, hashed on the way."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._path, self._shape, self._dtype = path, shape, dtype
        self._sha256 = hashlib.sha256()
        self._bytes = 0

    def __enter__(self) -> "_Writer":
        self._file = self._path.open("xb")
        npy_header(self, self._shape, self._dtype)
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            # Without this a power failure after the folder was renamed could leave files of zeros.
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self._bytes += len(data)

    def append(self, rows: NDArray[Any]) -> None:
        self.write(np.ascontiguousarray(rows, self._dtype).data.cast("B"))

    def shard(self) -> Shard:
        return Shard(
            name=self._path.name,
            bytes=self._bytes,
            sha256=self._sha256.hexdigest(),
            shape=self._shape,
            dtype="<f4" if self._dtype == np.float32 else "<i8",
        )
