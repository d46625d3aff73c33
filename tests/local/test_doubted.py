"""A file that can't mean what it says is refused before anything runs; one that has begun is only warned."""

import json
from pathlib import Path

import pytest

from local.cli import trainer

pytestmark = pytest.mark.slow

SEARCH = """
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {name: doubted}
spec:
  objective: {metric: validMse}
  parameters:
    - {name: train.momentum, choices: [0.0, 0.5]}
  training:
    data: {source: synthetic, rows: 200, window: 5}
    model: {hiddenSize: 4, layers: 1}
    train: {epochs: 1, optimizer: OPTIMIZER}
"""


def test_a_new_file_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH.replace("OPTIMIZER", "Adam"))
    refused = trainer("run", path, "--out", tmp_path / "out")
    assert refused.returncode == 2
    assert f"{path}: spec.parameters[0]: must make a difference, but train.momentum makes none" in refused.stderr
    assert not (tmp_path / "out").exists()
    listed = trainer("list", path)
    assert listed.returncode == 0
    assert f"warning: {path}: spec.parameters[0]: must make a difference" in listed.stderr


def test_one_that_has_records_is_warned_and_goes_on(tmp_path: Path) -> None:
    path, out = tmp_path / "search.yaml", tmp_path / "out"
    path.write_text(SEARCH.replace("OPTIMIZER", "Adam").replace("[0.0, 0.5]", "[0.0]"))
    fine = SEARCH.replace("OPTIMIZER", "Adam").replace(
        "train.momentum, choices: [0.0, 0.5]", "model.layers, choices: [1]"
    )
    path.write_text(fine)
    assert trainer("run", path, "--out", out).returncode == 0
    # The same trial as version 0.1 named it when momentum was a parameter: the ids are of what is trained.
    path.write_text(SEARCH.replace("OPTIMIZER", "Adam"))
    gone_on = trainer("run", path, "--out", out)
    assert gone_on.returncode == 0, gone_on.stderr
    assert f"warning: {path}: spec.parameters[0]" in gone_on.stderr
    assert json.loads((out / "summary.json").read_text())["counts"]["succeeded"] == 2
    afresh = trainer("run", path, "--out", out, "--fresh")
    assert afresh.returncode == 2


def test_what_is_ignored_here_and_too_many_jobs_are_said(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH.replace("OPTIMIZER", "SGD") + "  pod: {image: 'mine:1'}\n")
    done = trainer("run", path, "--out", tmp_path / "out", "--jobs", "500")
    assert done.returncode == 0, done.stderr
    assert f"warning: {path}: spec.pod.image counts on a cluster only" in done.stderr
    assert "mine:1" in done.stderr
    assert "warning: --jobs 500: trials with 1 threads each" in done.stderr
    quiet = trainer("run", path, "--out", tmp_path / "quiet", "--jobs", "1")
    assert "--jobs" not in quiet.stderr


def test_the_examples_run_without_a_warning(tmp_path: Path) -> None:
    for name in ("search", "volatility", "scaletest"):
        listed = trainer("list", f"examples/{name}.yaml")
        assert (listed.returncode, listed.stderr) == (0, "")
    started = trainer("init")
    (tmp_path / "mine.yaml").write_text(started.stdout)
    assert trainer("list", tmp_path / "mine.yaml").stderr == ""
    changed = started.stdout.replace("metric: validMse ", "metric: validR2 ")
    assert changed != started.stdout
    (tmp_path / "mine.yaml").write_text(changed)
    assert trainer("list", tmp_path / "mine.yaml").stderr == ""
