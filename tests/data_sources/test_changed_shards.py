"""A shard that changed after it was written is found before anyone trains on it."""

import hashlib
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from data_sources.builders import some_data
from trainer.data import shards
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.data.errors import DataUnavailable
from trainer.data.scale import write_scaled

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


def test_a_folder_that_cannot_be_written_is_compared_each_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / STAMPS).unlink()
    (copy / STAMPS).mkdir()  # no file can take its place, also where root runs the test
    read: list[Path] = []
    verify = shards.verify
    monkeypatch.setattr(shards, "verify", lambda path, those: (read.append(path), verify(path, those))[1])
    for _ in range(2):
        open_dataset(copy)
    assert read == [copy, copy]
    assert [path.name for path in copy.iterdir() if path.name.startswith(".")] == []
    flip(copy / "test-y-00000.npy")
    with pytest.raises(DataUnavailable, match="damaged"):
        open_dataset(copy)


def opened(folder: Path) -> int:
    return len(open_dataset(folder).train)


@pytest.mark.slow
def test_several_processes_may_compare_a_copy_at_once(folder: Path, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        for number in range(10):
            copy = tmp_path / f"copy{number}"
            shutil.copytree(folder, copy)
            assert len(set(pool.map(opened, [copy] * 3, chunksize=1))) == 1
            assert set(json.loads((copy / STAMPS).read_text())) == {path.name for path in copy.glob("*.npy")}
            assert [path.name for path in copy.iterdir() if path.name.startswith(".")] == []


def test_a_multiple_that_was_written_is_not_read_again_until_it_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiple = write_scaled(open_dataset(folder), 3, lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(shards, "verify", lambda *_: pytest.fail("was read"))
        open_dataset(multiple)
    flip(multiple / "train-x-00000.npy")
    with pytest.raises(DataUnavailable, match="damaged"):
        open_dataset(multiple)


def test_a_shard_that_cannot_be_read_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    os.utime(folder / "train-x-00000.npy")
    monkeypatch.setattr(hashlib, "file_digest", fails)
    with pytest.raises(
        DataUnavailable, match=r"train-x-00000\.npy: the data set is damaged \(.*Input/output error\)"
    ):
        open_dataset(folder)
