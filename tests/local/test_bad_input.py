"""Whatever is wrong with what a user gives: a sentence, exit code 2, and nothing half-written."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from local.cli import ROOT, command, environment, trainer, write_search
from trainer.experiment.outcome import Outcome
from trainer.local.ledger import read_ledger

HEAD = "apiVersion: trialrun.dev/v1alpha1\nkind: HyperparamSearch\nmetadata: {name: bad}\nspec:\n"
GOOD = "  objective: {metric: validMse}\n  parameters: [{name: model.layers, choices: [1, 2]}]\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            HEAD + GOOD + "  repeat: 3\n", "spec.repeat: no such field (did you mean repeats?)", id="misspelt"
        ),
        pytest.param(HEAD + GOOD + "  repeats: many\n", "spec.repeats: must be a whole number", id="wrong type"),
        pytest.param(
            HEAD + GOOD.replace("[1, 2]", "[]"), "spec.parameters[0].choices: must have at least", id="empty"
        ),
        pytest.param(
            HEAD + GOOD.replace("}]", "}, {name: model.layers, choices: [3]}]"),
            "must name a field once",
            id="duplicate",
        ),
        pytest.param(HEAD + GOOD.replace("layers", "depth"), "must be the path of a field of training", id="no path"),
        pytest.param(HEAD + GOOD.replace("validMse", "validLoss"), "did you mean", id="unknown metric"),
        pytest.param(HEAD + GOOD.replace("validMse", "validF1"), "must be measured by Regression", id="wrong task"),
        pytest.param("a: [b", "not YAML: line 2, column 1", id="not YAML"),
        pytest.param(HEAD + GOOD + "---\n" + HEAD + GOOD, "holds 2 documents", id="two documents"),
        pytest.param(HEAD + GOOD + "  repeats: 0\n", "spec.repeats: must be >= 1, got 0", id="zero"),
        pytest.param(HEAD + GOOD + "  repeats: -1\n", "spec.repeats: must be >= 1, got -1", id="negative"),
        pytest.param(
            HEAD + GOOD + "  training: {train: {learningRate: .nan}}\n", "must be a finite number", id="NaN"
        ),
        pytest.param("", "the file is empty", id="empty file"),
        pytest.param("[1, 2]", "must be a mapping", id="a list"),
    ],
)
@pytest.mark.parametrize("subcommand", ["run", "list"])
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, subcommand: str, text: str, sentence: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    out = ["--out", tmp_path / "out"] if subcommand == "run" else []
    refused = trainer(subcommand, file, *out)
    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert str(file) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
    assert list(tmp_path.iterdir()) == [file]


def test_a_missing_file_and_a_folder_are_sentences(tmp_path: Path) -> None:
    assert "no-such.yaml: cannot be read: No such file" in trainer("list", tmp_path / "no-such.yaml").stderr
    assert "cannot be read: Is a directory" in trainer("list", tmp_path).stderr


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = trainer("run", write_search(tmp_path), "--out", tmp_path / "file" / "out")
    assert refused.returncode == 2
    assert refused.stderr == (
        f"trialrun: {tmp_path / 'file' / 'out'}: cannot be written: {tmp_path / 'file'} is no folder; "
        "name another folder\n"
    )


def test_jobs_must_be_a_positive_number(tmp_path: Path) -> None:
    refused = trainer("run", write_search(tmp_path), "--jobs", "0")
    assert refused.returncode == 2
    assert "must be a whole number > 0, or auto, got 0" in refused.stderr


DAYS = [f"2024-{month:02}-{day:02}" for month in range(1, 7) for day in range(1, 29)]


def rows(edit: dict[int, str] | None = None, count: int = len(DAYS)) -> str:
    lines = [f"{day},{n + 1},{n + 3},{n + 0.5},{n + 2},{1000 + n}" for n, day in enumerate(DAYS[:count])]
    for number, line in (edit or {}).items():
        lines[number] = line
    return "Date,Open,High,Low,Close,Volume\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(rows({7: "2024-01-08,8,10,,9,1007"}), "rows.csv: line 9, column Low", id="a gap"),
        pytest.param(rows({7: "2024-01-07,8,10,7.5,9,1007"}), "2024-01-07", id="a date twice"),
        pytest.param(rows({7: "2024-01-08,8,ten,7.5,9,1007"}), "ten", id="text in a number column"),
        pytest.param(rows(count=20), "the largest window possible is", id="too few rows for the window"),
    ],
)
def test_a_csv_with_a_mistake_is_refused_before_anything_runs(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "rows.csv").write_text(content)
    said = refused_data(tmp_path, f"{{source: csv, path: {tmp_path / 'rows.csv'}, window: 30}}")
    assert sentence in said


def test_a_run_that_is_refused_does_not_wait_for_pytorch(tmp_path: Path) -> None:
    """A torch that takes seconds to import tells whether it was waited for."""
    imported = tmp_path / "imported"
    slow = f"import pathlib, time\ntime.sleep(6)\npathlib.Path({str(imported)!r}).touch()\n"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "torch.py").write_text(slow)
    (tmp_path / "rows.csv").write_text(rows(count=20))
    search = write_search(tmp_path)
    search.write_text(search.read_text().replace("source: synthetic, rows: 200", "source: csv, path: rows.csv"))
    path = f"{tmp_path / 'modules'}{os.pathsep}{ROOT}"
    refused = subprocess.run(
        command("run", search), cwd=tmp_path, env=environment() | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (refused.returncode, "data.window: " in refused.stderr) == (2, True), refused.stderr
    assert not imported.exists()


def test_a_window_longer_than_the_data_says_which_is_the_largest(tmp_path: Path) -> None:
    assert "largest" in refused_data(tmp_path, "{source: sp500, window: 2000}")


def test_a_ticker_without_data_is_named(tmp_path: Path) -> None:
    header, *lines = rows().splitlines()
    (tmp_path / "rows.csv").write_text("\n".join([header + ",Ticker", *(line + ",AAPL" for line in lines)]) + "\n")
    data = f"{{source: csv, path: {tmp_path / 'rows.csv'}, window: 30, tickers: [AAPL, XYZ]}}"
    assert "XYZ" in refused_data(tmp_path, data)


def test_an_npz_with_objects_inside_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "unpickled"),)

    y = np.zeros(10, np.float32)
    np.savez(tmp_path / "bad.npz", X_train=np.array([Bomb()] * 10), y_train=y, X_test=y, y_test=y)
    assert "bad.npz" in refused_data(tmp_path, f"{{source: npz, path: {tmp_path / 'bad.npz'}}}")
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.slow
def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    search = write_search(tmp_path, rates=[0.1])

    def run(out: str) -> subprocess.CompletedProcess[str]:
        arguments = command("run", search, "--out", tmp_path / out)
        return subprocess.run(arguments, env=environment(home), capture_output=True, text=True, check=False)

    assert run("first").returncode == 0
    (shard,) = home.glob(".cache/trialrun/data/*/train-x-00000.npy")
    with shard.open("r+b") as file:
        file.truncate(100)
    refused = run("second")
    assert refused.returncode == 2
    assert shard.name in refused.stderr
    assert not (tmp_path / "second").exists()


@pytest.mark.slow
def test_where_only_some_trials_lack_their_data_the_others_run(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    windows = GOOD.replace("model.layers, choices: [1, 2]", "data.window, choices: [5, 2000]")
    file.write_text(HEAD + windows + "  training: {train: {epochs: 1}}\n")
    assert trainer("run", file, "--out", tmp_path / "out").returncode == 0
    short, long = read_ledger(tmp_path / "out")
    assert (short.outcome, long.outcome) == (Outcome.SUCCEEDED, Outcome.DATA_UNAVAILABLE)
    assert "largest" in long.error


def refused_data(folder: Path, data: str) -> str:
    """What a run says that can't have its data; it must leave nothing."""
    file = folder / "search.yaml"
    file.write_text(HEAD + GOOD + f"  training: {{data: {data}, train: {{epochs: 1}}}}\n")
    refused = trainer("run", file, "--out", folder / "out")
    assert refused.returncode == 2, refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (folder / "out").exists()
    return refused.stderr
