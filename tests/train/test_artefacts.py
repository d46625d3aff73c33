"""What a run leaves in its folder, how the command ends, and what it takes of the machine."""

import json
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from train.builders import a_context, a_training, dataset_of
from train.ranks import on_ranks, run_command
from trainer.__main__ import main
from trainer.experiment.outcome import EXIT_CODES, Outcome
from trainer.experiment.progress import HISTORY
from trainer.experiment.record import HASHES
from trainer.experiment.training import Training
from trainer.local.folder import MARK
from trainer.memory import MemoryMonitor, resident_bytes
from trainer.training.checkpoint import CHECKPOINT
from trainer.training.trial import CONFIG, METRICS, NORMALIZATION, WEIGHTS, run_rank, write_artefacts

ARTEFACTS = {CONFIG, METRICS, HISTORY, NORMALIZATION, WEIGHTS}


def a_file(folder: Path, training: Training) -> Path:
    """An experiment file around a training. JSON is YAML."""
    document = {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "HyperparamSearch",
        "metadata": {"name": "small"},
        "spec": {
            "objective": {"metric": "trainSeconds"},
            "parameters": [{"name": "train.learningRate", "choices": [0.001]}],
            "training": training.document(),
        },
    }
    path = folder / "experiment.yaml"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own: the command keeps data sets there."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("task", ["Regression", "Classification"])
def test_a_run_leaves_configuration_metrics_history_normalisation_and_weights(
    task: str, cache: Path, tmp_path: Path
) -> None:
    training = a_training(data={"task": task}, train={"checkpointEvery": 1})
    folder = tmp_path / "run"
    report = run_rank(training, a_context(folder, cache), started=time.time())

    assert {path.name for path in folder.iterdir()} == ARTEFACTS
    assert Training.model_validate_json((folder / CONFIG).read_text()) == training
    metrics = json.loads((folder / METRICS).read_text())
    assert metrics["metrics"] == {name: report.metrics[name] for name in report.metrics.keys() - HASHES.keys()}
    assert {name[:4] for name in metrics["metrics"]} == {"trai", "vali", "test", "naiv"}
    assert 1 <= metrics["bestEpoch"] <= metrics["epochs"] == 3
    assert metrics["seconds"]["data"] >= 0 < metrics["seconds"]["train"]
    assert set(metrics.get("confusion", {})) == (set() if task == "Regression" else {"valid", "test"})
    history = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert all(row["seconds"] > 0 for row in history)
    normalization = json.loads((folder / NORMALIZATION).read_text())
    data = dataset_of(training, cache)
    assert normalization["scalers"] == [json.loads(data.manifest.scalers[0].model_dump_json(by_alias=True))]
    assert "shards" not in normalization
    weights = load_file(folder / WEIGHTS)
    assert set(weights) == {"body.1.weight", "body.1.bias", "head.weight", "head.bias"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        stat.S_IMODE((folder / CONFIG).stat().st_mode)
    }


def test_a_run_without_a_folder_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    place = a_context(tmp_path, cache)
    report = run_rank(a_training(), type(place)(place.ranks, place.rendezvous, cache, None), started=time.time())
    assert report.outcome is Outcome.SUCCEEDED
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_left_half_written_has_no_configuration(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = a_context(tmp_path, cache)
    assert run_rank(a_training(), place, started=time.time()).outcome is Outcome.SUCCEEDED

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("trainer.training.trial.save_tensors", full)
    report = run_rank(a_training(), place, started=time.time())
    assert report.outcome is Outcome.CRASHED
    assert report.error == "OSError: No space left on device"
    assert {path.name for path in tmp_path.iterdir()} == ARTEFACTS - {CONFIG}


def test_a_finished_run_keeps_no_checkpoint(cache: Path, tmp_path: Path) -> None:
    run_rank(a_training(train={"checkpointEvery": 1}), a_context(tmp_path, cache), started=time.time())
    assert not (tmp_path / CHECKPOINT).exists()
    assert write_artefacts.__doc__ is not None


def test_train_prints_its_metrics_and_ends_with_0(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = a_file(tmp_path, a_training()), tmp_path / "out"
    assert main(["train", str(file), "--out", str(out)]) == 0
    said = capsys.readouterr()
    metrics = json.loads((out / METRICS).read_text())["metrics"]
    lines = said.out.splitlines()
    assert lines[:-2] == [f"{name:16} {value:.6g}" for name, value in metrics.items()]
    assert [line.split()[0] for line in lines[-2:]] == ["data", "validation"]
    assert "epoch 3/3" in said.err
    assert said.err.endswith(f"artefacts in {out}\n")
    assert home.is_dir()

    assert main(["train", str(file), "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    assert metrics.items() <= json.loads(said.out)["metrics"].items()
    assert said.err == ""


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("sections", "outcome"),
    [
        ({"train": {"learningRate": 1e15, "optimizer": "SGD"}}, Outcome.DIVERGED),
        ({"data": {"source": "csv", "path": "/nowhere/rows.csv"}}, Outcome.DATA_UNAVAILABLE),
        ({"data": {"window": 500}}, Outcome.DATA_UNAVAILABLE),
    ],
    ids=str,
)
def test_train_ends_with_the_exit_code_of_its_outcome(
    sections: dict[str, dict[str, object]], outcome: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = a_file(tmp_path, a_training(**sections)), tmp_path / "out"
    assert main(["train", str(file), "--out", str(out)]) == EXIT_CODES[outcome]
    said = capsys.readouterr()
    assert said.out == ""
    assert f"trialrun: {outcome}: " in said.err
    assert "Traceback" not in said.err
    assert not out.exists(), "a training that comes to nothing leaves nothing"


@pytest.mark.usefixtures("home")
def test_train_refuses_a_folder_that_cannot_be_made_before_it_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    assert main(["train", str(a_file(tmp_path, a_training())), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said == (f"trialrun: {out}: cannot be written: {tmp_path / 'file'} is no folder; name another folder\n")


@pytest.mark.slow
def test_train_under_torchrun_leaves_one_set_of_artefacts(home: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "out"
    arguments = ["train", str(a_file(tmp_path, a_training(train={"checkpointEvery": 1}))), "--out", str(out)]
    assert on_ranks(2, run_command, port, home, arguments) == [0, 0]
    assert {path.name for path in out.iterdir()} == ARTEFACTS | {MARK}
    assert json.loads((out / METRICS).read_text())["epochs"] == 3


def test_memory_is_this_process_and_its_peak_is_no_less_than_its_mean() -> None:
    monitor = MemoryMonitor()
    taken = bytearray(64 * 2**20)
    monitor.read()
    held = resident_bytes()[0]
    del taken
    result = monitor.result()
    late = 2**20  # Linux counts pages per CPU and adds them up late: two readings in a row may differ by so much
    assert result.peak_bytes >= held - late
    assert 50 * 2**20 < result.mean_bytes <= result.peak_bytes < 64 * 2**30


TRAIN_AND_LIST = """
import sys
from pathlib import Path
from trainer.__main__ import main
for file in sys.argv[1:]:
    assert main(["train", file, "--out", file + ".out", "--json"]) == 0
print(*sorted(sys.modules))
"""


def test_a_trial_of_one_rank_imports_neither_torchs_compiler_nor_pandas(home: Path, tmp_path: Path) -> None:
    files = []
    for kind in ("MLP", "LSTM", "Transformer"):
        folder = tmp_path / kind
        folder.mkdir()
        training = a_training(
            data={"source": "sp500", "period": "1y"},
            model={"kind": kind},
            train={"epochs": 1, "checkpointEvery": 1, "gradientClip": 1.0},
        )
        files.append(str(a_file(folder, training)))
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_LIST, *files],
        check=True,
        capture_output=True,
        text=True,
        env={"HOME": str(home), "PATH": ""},
    )
    modules = set(done.stdout.splitlines()[-1].split())
    assert "torch" in modules
    dear = {"torch._dynamo", "torch._inductor", "sympy", "pandas", "arch", "scipy", "statsmodels", "matplotlib"}
    assert modules & dear == set()
