"""A shard that changed after it was written is found before anyone trains on it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from data_sources.builders import some_data
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.data.errors import DataUnavailable

STAMPS = "stamps.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepare(some_data(), tmp_path / "cache")


def flip(path: Path, at: int = -1) -> None:
    """Another byte in the same place; size and times of the content as before."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Another file of the same size and times."""
    other = path.with_suffix(".new")
    shutil.copyfile(path, other)
    flip(other)
    before = path.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4)


def rewrite_in_time(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 128
    path.write_bytes(content)


@pytest.mark.parametrize("change", [flip, replace, truncate, rewrite_in_time, Path.unlink])
@pytest.mark.parametrize("shard", ["train-x-00000.npy", "train-y-00000.npy", "valid-y-00000.npy", "test-x-00000.npy"])
def test_a_changed_shard_is_found_each_time(change, shard: str, folder: Path) -> None:
    change(folder / shard)
    for _ in range(2):
        with pytest.raises(DataUnavailable, match=rf"{shard}: the data set is damaged"):
            open_dataset(folder)


def test_an_unchanged_set_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.data.shards.verify", lambda *_: pytest.fail("was read"))
    open_dataset(folder)


@pytest.mark.parametrize("leave_stamps", [True, False], ids=["with its stamps", "as version 0.1 left it"])
def test_a_copy_is_compared_once_and_then_taken_as_it_is(
    leave_stamps: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    if not leave_stamps:
        (copy / STAMPS).unlink()
    open_dataset(copy)
    monkeypatch.setattr("trainer.data.shards.verify", lambda *_: pytest.fail("was read"))
    open_dataset(copy)


def test_a_damaged_copy_is_found_too(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    flip(copy / "train-x-00000.npy", 500)
    with pytest.raises(DataUnavailable, match="damaged"):
        open_dataset(copy)


@pytest.mark.parametrize("stamps", ["", "{", "[]", "null", '{"train-x-00000.npy": 3}'])
def test_whatever_stands_in_place_of_the_stamps_the_content_decides(stamps: str, folder: Path) -> None:
    (folder / STAMPS).write_text(stamps)
    open_dataset(folder)
    flip(folder / "valid-x-00000.npy", 300)
    with pytest.raises(DataUnavailable, match="damaged"):
        open_dataset(folder)


def test_the_manifest_is_as_version_0_1_reads_it(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest) == {
        "formatVersion", "hash", "source", "tickers", "columns", "target", "window", "task", "classes", "classEdges",
        "counts", "scalers", "targetMean", "bytes", "shards", "created",
    }  # fmt: skip
