"""`python -m trainer data …`, and the progress it shows."""

import io
import json

import numpy as np
import pytest

from data_sources.builders import run
from trainer.data.errors import DataUnavailable
from trainer.data.progress import meter
from trainer.experiment.errors import UserError

EXPERIMENT = """\
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {name: made-up}
spec:
  objective: {metric: validMse}
  parameters: [{name: train.learningRate, choices: [0.001]}]
  training:
    data: {source: synthetic, rows: 200, window: 5}
"""


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text(EXPERIMENT)
    return path


def test_build_says_where_and_what(experiment, tmp_path, capsys):
    assert run("build", experiment, "--cache", tmp_path / "cache") == 0
    told = capsys.readouterr()
    assert "samples  139 train, 11 valid, 35 test\n" in told.out
    assert "window   5 rows of Open, High, Low, Close, Volume\n" in told.out
    assert str(next((tmp_path / "cache").glob("synthetic-*"))) in told.out
    assert told.err == ""


def test_build_finds_relative_paths_where_it_is_told_and_everything_else_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "volume").mkdir()
    days = np.datetime64("2024-01-01") + np.arange(100)
    rows = [f"{day},{100 + number % 7}" for number, day in enumerate(days)]
    (tmp_path / "volume" / "rows.csv").write_text("\n".join(["Date,Close", *rows]))
    data = "{source: csv, path: rows.csv, columns: [Close], window: 5}"
    (tmp_path / "search.yaml").write_text(EXPERIMENT.replace("{source: synthetic, rows: 200, window: 5}", data))
    assert run("build", "search.yaml", "--data", "volume", "--cache", "volume/shards") == 0
    assert list((tmp_path / "volume" / "shards").glob("csv-*/manifest.json"))


def test_build_and_show_print_the_same_json(experiment, tmp_path, capsys):
    run("build", experiment, "--cache", tmp_path / "cache", "--json")
    built = json.loads(capsys.readouterr().out)
    assert run("show", built["folder"], "--json") == 0
    assert json.loads(capsys.readouterr().out) == built
    assert built["counts"] == {"train": 139, "valid": 11, "test": 35}
    assert len(built["hash"]) == 64


def test_show_checks_every_byte(experiment, tmp_path, capsys):
    run("build", experiment, "--cache", tmp_path / "cache", "--json")
    folder = json.loads(capsys.readouterr().out)["folder"]
    shard = tmp_path / "cache" / folder / "test-y-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DataUnavailable, match=r"SHA-256 .* expected"):
        run("show", folder)


def test_export_writes_the_npz(experiment, tmp_path, capsys):
    assert run("export", experiment, tmp_path / "out.npz", "--cache", tmp_path / "cache") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out.npz'}  139 train, 11 valid, 35 test samples\n"
    assert (tmp_path / "out.npz").is_file()


def test_a_file_that_is_no_experiment_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        run("build", tmp_path / "none.yaml")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_short_build_shows_nothing(capsys):
    clock = Clock()
    with meter("samples", clock) as report:
        clock.now += 1.9
        report(1, 2)
    assert capsys.readouterr().err == ""


def test_a_long_build_without_a_terminal_prints_a_line_now_and_then(capsys):
    clock = Clock()
    with meter("samples", clock) as report:
        for done in range(1, 9):
            clock.now += 1.5
            report(done * 1000, 8000)
    assert capsys.readouterr().err == "samples: 2,000 of 8,000 (25%)\nsamples: 6,000 of 8,000 (75%)\n"


def test_a_long_build_on_a_terminal_shows_a_bar_that_vanishes(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    clock = Clock()
    with meter("samples", clock) as report:
        clock.now += 3
        report(1000, 8000)
        report(8000, 8000)
    assert "samples" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")
