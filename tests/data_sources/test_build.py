"""Building: once, whole or not at all, reused by hash, and refused when it was damaged since."""

import hashlib
import json
import random
import subprocess
import sys

import numpy as np
import pytest

from data_sources.builders import some_data
from trainer.data.build import prepare
from trainer.data.cache import default_cache
from trainer.data.dataset import open_dataset, parts
from trainer.data.errors import DataUnavailable
from trainer.data.shards import Samples, verify, write_part
from trainer.data.sources import synthetic
from trainer.experiment.training import Data

# Prints a line per block that was built, and waits for a line of input after the first, where it is told to.
BUILDER = """
import sys
from pathlib import Path
from trainer.data.build import prepare
from trainer.experiment.training import Data
def progress(done, total):
    print(done, flush=True)
    if "wait" in sys.argv and not waited:
        waited.append(sys.stdin.readline())
waited = []
print("ready", flush=True)
print(prepare(Data.model_validate_json(sys.argv[1]), Path(sys.argv[2]), progress), flush=True)
"""


def builder(data, cache, *options):
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, json.dumps(data.document(sparse=True)), str(cache), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def test_the_default_set_has_what_falls_out_of_five_years(tmp_path):
    dataset = open_dataset(prepare(Data(), tmp_path))
    manifest = dataset.manifest
    assert (manifest.counts.train, manifest.counts.valid, manifest.counts.test) == (845, 41, 192)
    assert [len(part) for part in parts(dataset).values()] == [845, 41, 192]
    assert manifest.tickers == ("^GSPC",)
    x, y = dataset.train.gather(np.arange(845))
    assert x.shape == (845, 60, 5)
    assert x.dtype == y.dtype == np.float32
    assert manifest.target_mean == pytest.approx(y.mean(dtype=np.float64))
    # The last test window predicts 2018-12-31, when the index rose from 2485.74 to 2506.85.
    assert dataset.test.gather(np.array([191]))[1][0] == np.float32(2506.850098 / 2485.73999 - 1)
    verify(dataset.path, manifest.shards)


def test_the_default_set_needs_no_pandas_and_little_memory(tmp_path):
    program = """
import resource, sys
from pathlib import Path
import numpy
from trainer.experiment.training import Data
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.data.multiply import Multiplied
dataset = open_dataset(prepare(Data(), Path(sys.argv[1])))
Multiplied(dataset.train, 200).gather(numpy.arange(0, 169000, 5000))
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
print(*[name for name in ("pandas", "arch", "torch", "pyarrow", "yfinance", "scipy") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert done[1] == ""
    assert int(done[0]) < 16 * 2**20


def test_the_command_line_of_data_is_added_without_numpy():
    program = "import sys, trainer.data.commands; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_set_that_is_there_is_not_built_again(tmp_path):
    calls = []
    first = prepare(some_data(), tmp_path, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (185, 185)
    calls.clear()
    assert prepare(some_data(multiplier=50, residency="Streaming"), tmp_path, lambda *_: calls.append(_)) == first
    assert calls == []


@pytest.mark.parametrize(
    "fields",
    [
        {"rows": 201},
        {"seed": 1},
        {"window": 6},
        {"columns": ("Close",)},
        {"target": "Open"},
        {"task": "Classification"},
        {"task": "Classification", "classes": 3},
        {"test_fraction": 0.3},
        {"valid_fraction": 0.2},
        {"normalize": "None"},
    ],
)
def test_what_changes_samples_changes_the_folder(tmp_path, fields):
    assert prepare(some_data(**fields), tmp_path) != prepare(some_data(), tmp_path)


@pytest.mark.parametrize("fields", [{"classes": 7}, {"period": "1y"}, {"tickers": ("X",)}, {"multiplier": 3}])
def test_what_does_not_matter_to_a_source_changes_nothing(tmp_path, fields):
    assert prepare(some_data(**fields), tmp_path) == prepare(some_data(), tmp_path)


def test_two_processes_at_once_build_once(tmp_path):
    data = some_data(rows=5000)
    first = builder(data, tmp_path, "wait")
    assert first.stdout.readline() == "ready\n"
    assert int(first.stdout.readline()) > 0
    # The first holds the lock now, in the middle of its build.
    second = builder(data, tmp_path)
    assert second.stdout.readline() == "ready\n"
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    built = first.communicate("go on\n", timeout=300)[0].split("\n")
    found = second.communicate(timeout=300)[0].split("\n")
    assert len(built) > 2
    assert found == [built[-2], ""]
    assert first.returncode == second.returncode == 0


@pytest.mark.slow
@pytest.mark.torture
def test_kill_9_at_any_moment_leaves_nothing_that_is_read(tmp_path, sweep):
    data = some_data(rows=20_000, window=20)
    undisturbed = contents(prepare(data, tmp_path / "undisturbed"))
    for seed in sweep.seeds(sample=1, full=12):
        cache = tmp_path / str(seed)
        moments = random.Random(seed)
        for _ in range(4):
            process = builder(data, cache)
            # One line says it is ready, then comes one for each of about five blocks.
            for _ in range(moments.randint(1, 6)):
                process.stdout.readline()
            process.kill()
            process.communicate(timeout=300)
            for folder in (cache).glob("synthetic-*"):
                verify(folder, open_dataset(folder).manifest.shards)
        folder = prepare(data, cache)
        assert contents(folder) == undisturbed
        assert list((cache).glob(".*.part")) == []


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(some_data(), tmp_path, fail)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataUnavailable, match=r"file: data sets are kept here, but it cannot be written \("):
        prepare(some_data(), tmp_path / "file")


def test_a_disk_that_fills_up_is_a_sentence_and_leaves_nothing(tmp_path):
    program = """
import resource, sys
from pathlib import Path
from trainer.data.build import prepare
from trainer.data.errors import DataUnavailable
from trainer.experiment.training import Data
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    prepare(Data(), Path(sys.argv[1]))
except DataUnavailable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot be written (File too large); make room or give access" in done.stdout
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


@pytest.mark.parametrize("part", ["train-x", "test-y"])
def test_a_truncated_shard_is_refused(tmp_path, part):
    folder = prepare(some_data(), tmp_path)
    shard = folder / f"{part}-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-10])
    for use in (open_dataset, lambda _: prepare(some_data(), tmp_path)):
        with pytest.raises(DataUnavailable, match=r"00000\.npy: the data set is damaged \(.* bytes expected, found"):
            use(folder)


def test_a_shard_that_is_gone_is_refused(tmp_path):
    folder = prepare(some_data(), tmp_path)
    (folder / "valid-x-00000.npy").unlink()
    with pytest.raises(DataUnavailable, match="No such file"):
        open_dataset(folder)


def test_a_shard_with_other_content_is_found_by_its_checksum(tmp_path):
    folder = prepare(some_data(), tmp_path)
    shard = folder / "train-x-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DataUnavailable, match="SHA-256"):
        verify(folder, open_dataset(folder).manifest.shards)


def test_a_shard_of_another_shape_is_refused(tmp_path):
    folder = prepare(some_data(), tmp_path)
    shard = folder / "train-y-00000.npy"
    shard.write_bytes(shard.read_bytes().replace(b"(139,)", b"(138,)"))
    with pytest.raises(DataUnavailable, match="damaged"):
        open_dataset(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:100],
        lambda text: f"[{text}]",
        lambda text: text.replace('"train": 139', '"train": 140'),
        lambda text: text.replace('"formatVersion": 1', '"formatVersion": 2'),
        lambda text: text.replace("train-x-00000", "../../secret"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, change):
    folder = prepare(some_data(), tmp_path)
    path = folder / "manifest.json"
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(DataUnavailable, match=r"manifest\.json: the data set is damaged \(.*delete the folder"):
        open_dataset(folder)


def test_a_folder_without_a_manifest_is_no_data_set(tmp_path):
    with pytest.raises(DataUnavailable, match=r"a data set has a manifest\.json, found none"):
        open_dataset(tmp_path)


def test_parts_without_a_fraction_are_empty_and_can_be_asked(tmp_path):
    dataset = open_dataset(prepare(some_data(valid_fraction=0, test_fraction=0), tmp_path))
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (195, 0, 0)
    x, y = dataset.valid.gather(np.array([], np.int64))
    assert x.shape == (0, 5, 5)
    assert y.shape == (0,)


def test_samples_come_from_all_shards_in_the_order_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 4, 2)).astype(np.float32)
    y = rng.normal(size=100).astype(np.float32)
    blocks = [(x[:37], y[:37]), (x[37:38], y[37:38]), (x[38:], y[38:])]
    # 32 bytes a sample and 128 of header: 7 samples fit 352 bytes.
    samples = Samples(100, (4, 2), np.dtype(np.float32), blocks)
    written = []
    files = write_part(tmp_path, "train", samples, written.append, shard_bytes=352)
    assert sum(written) == 100
    assert max(file.bytes for file in files) <= 352
    assert len(files) == 2 * 15
    folder = prepare(some_data(window=4, columns=("Open", "Close")), tmp_path / "cache")
    manifest = json.loads((folder / "manifest.json").read_text())
    for path in folder.glob("train-*"):
        path.unlink()
    for file in files:
        (tmp_path / file.name).rename(folder / file.name)
    manifest["shards"] = [one for one in manifest["shards"] if "train" not in one["name"]]
    manifest["shards"] += [file.document() for file in files]
    manifest["counts"]["train"] = 100
    (folder / "manifest.json").write_text(json.dumps(manifest))
    train = open_dataset(folder).train
    indices = np.array([99, 0, 6, 7, 7, 50, 98, 13])
    got_x, got_y = train.gather(indices)
    assert len(train) == 100
    assert np.array_equal(got_x, x[indices])
    assert np.array_equal(got_y, y[indices])
    with pytest.raises(IndexError):
        train.gather(np.array([100]))


def test_gathered_samples_are_contiguous_copies(tmp_path):
    train = open_dataset(prepare(some_data(), tmp_path)).train
    x, y = train.gather(np.array([3, 1]))
    assert x.flags.c_contiguous
    assert x.flags.writeable
    x += 1
    y += 1
    assert not np.array_equal(train.gather(np.array([3, 1]))[0], x)


def test_made_up_rows_are_the_same_bits_everywhere():
    rows = synthetic.rows(some_data(rows=70_000), None)[0]
    assert hashlib.sha256(rows.features.astype("<f8").tobytes()).hexdigest() == ROWS_SHA256
    opened, high, low, close, volume = rows.features.T
    assert (low <= np.minimum(opened, close)).all()
    assert (high >= np.maximum(opened, close)).all()
    assert (low > 0).all()
    assert (volume > 0).all()
    returns = close[1:] / close[:-1] - 1
    assert returns.std() == pytest.approx(0.01, rel=0.02)


def test_made_up_rows_follow_the_seed_and_have_no_other_columns():
    one, two = (synthetic.rows(some_data(seed=seed), None)[0] for seed in (1, 2))
    assert not np.array_equal(one.target, two.target)
    with pytest.raises(DataUnavailable, match=r"source synthetic: columns .* Dividends missing"):
        synthetic.rows(some_data(columns=("Dividends",)), None)


def test_the_default_cache_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "trialrun" / "data"


ROWS_SHA256 = "d2f8f8b99164834a54ffa38cdf508e075ff3be8bc390d170b2ae5f7f3ab23c05"
