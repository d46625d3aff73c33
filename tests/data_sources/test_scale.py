"""A multiplied training set as files: the samples that are made as they are asked for, whole, resumed, refused."""

import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from trainer.data import scale, shards
from trainer.data.build import prepare
from trainer.data.dataset import Dataset, open_dataset
from trainer.data.errors import DataUnavailable
from trainer.data.multiply import Multiplied
from trainer.data.scale import scaled_folder, training_part, write_scaled
from trainer.data.shards import verify
from trainer.experiment.training import Data

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """121 samples, of which a shard holds 100 now."""
    data = open_dataset(prepare(Data(source="synthetic", rows=175, window=5), tmp_path))
    monkeypatch.setattr(scale, "samples_per_shard", lambda _: 100)
    return data


class Killed(BaseException):
    pass


def test_the_files_hold_what_is_otherwise_made_as_it_is_asked_for(base: Dataset, tmp_path: Path) -> None:
    folder = write_scaled(base, 7, lambda *_: None)
    stored = open_dataset(folder)
    verify(folder, stored.manifest.shards)
    assert folder == scaled_folder(base.path, 7)
    assert len(stored.train) == 7 * len(base.train)
    assert len(stored.train.y) == 9
    assert (len(stored.valid), len(stored.test)) == (len(base.valid), len(base.test))
    everything = np.random.default_rng(0).permutation(len(stored.train))
    for kept, made in zip(stored.train.gather(everything), Multiplied(base.train, 7).gather(everything), strict=True):
        assert kept.tobytes() == made.tobytes()
    assert training_part(base, 7, [tmp_path]).gather(everything[:9])[0].tobytes() == kept_x(stored, everything[:9])
    assert isinstance(training_part(base, 7, [tmp_path]), type(base.train))
    assert isinstance(training_part(base, 8, [tmp_path]), Multiplied)


def kept_x(stored: Dataset, indices: np.ndarray) -> bytes:
    return stored.train.gather(indices)[0].tobytes()


@pytest.mark.parametrize("until", [0, 1, 4, 8])
def test_a_writer_that_was_killed_is_gone_on_from(base: Dataset, until: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_scaled(base, 7, lambda *_: None)
    expected = {path.name: path.read_bytes() for path in whole.glob("*.npy")}
    shutil.rmtree(whole)
    write, written = shards.write_part, []

    def stop(folder: Path, *arguments: object, **options: object) -> object:
        if len(written) == until:
            (folder / f"train-x-{until:05}.npy").write_bytes(b"half of it")
            raise Killed
        written.append(until)
        return write(folder, *arguments, **options)

    monkeypatch.setattr(scale, "write_part", stop)
    with pytest.raises(Killed):
        write_scaled(base, 7, lambda *_: None)
    assert not whole.exists()
    again: list[int] = []
    monkeypatch.setattr(scale, "write_part", lambda *a, **o: (again.append(0), write(*a, **o))[1])
    assert write_scaled(base, 7, lambda *_: None) == whole
    assert len(again) == 9 - until
    assert {path.name: path.read_bytes() for path in whole.glob("*.npy")} == expected
    assert sorted(path.name for path in whole.iterdir()) == sorted([*expected, "manifest.json", "stamps.json"])


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    base: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 2**20, 2**20))
    with pytest.raises(DataUnavailable, match=r"MiB are needed for 100 times the training set, 1 MiB are free"):
        write_scaled(base, 100, lambda *_: None)
    assert not [path for path in tmp_path.iterdir() if "x100" in path.name and path.suffix != ".lock"]


def test_progress_counts_all_samples(base: Dataset) -> None:
    told: list[tuple[int, int]] = []
    write_scaled(base, 3, lambda done, total: told.append((done, total)))
    assert told == [(100, 363), (200, 363), (300, 363), (363, 363)]
