"""A file that can't mean what it says is refused before anything runs; one that has begun is only warned."""

import json
from pathlib import Path

import pytest

from local.cli import trainer
from trainer.local.ledger import read_ledger

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
    path, out = tmp_path / "search.yaml", tmp_path / "out"
    fine = SEARCH.replace("OPTIMIZER", "SGD")
    path.write_text(
        fine
        + "  pod:\n    image: 'mine:1'\n    env: [{name: A, value: b}]\n    envFrom: [{secretRef: {name: a}}]\n"
        + "    volumes: [{mountPath: /models, claim: models}]\n"
        + "  suspend: true\n  baseline: Measure\n  parallelTrials: 3\n"
    )
    done = trainer("run", path, "--out", out, "--jobs", "500")
    assert done.returncode == 0, done.stderr
    (line,) = [each for each in done.stderr.splitlines() if "on a cluster only" in each]
    assert line.startswith(
        f"warning: {path}: on a cluster only, and not here, counts spec.pod.image (trials run with"
    )
    assert "not with mine:1)" in line
    for name in ("pod.env", "pod.envFrom", "pod.volumes", "suspend", "baseline", "parallelTrials"):
        assert f"spec.{name} (" in line
    (line,) = [each for each in done.stderr.splitlines() if "warning: --jobs" in each]
    assert "--jobs 500: 500 trials of 1 thread (workers x train.threads) need 500 cores, and " in line
    assert {record.oversubscribed for record in read_ledger(out)} == {True}
    path.write_text(fine + "  parallelTrials: 3\n")
    quiet = trainer("run", path, "--out", tmp_path / "quiet", "--jobs", "1")
    assert "warning" not in quiet.stderr
    assert {record.oversubscribed for record in read_ledger(tmp_path / "quiet")} == {False}


def test_what_no_trial_reads_is_said_by_run_and_list_and_refuses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH.replace("OPTIMIZER", "SGD").replace("layers: 1", "layers: 1, heads: 2"))
    for done in (trainer("list", path), trainer("run", path, "--out", tmp_path / "out")):
        assert done.returncode == 0, done.stderr
        assert f"warning: {path}: spec.training.model.heads: is without effect, got 2" in done.stderr


def test_leaving_out_the_direction_that_suits_the_metric_goes_on_in_the_same_folder(tmp_path: Path) -> None:
    path, out = tmp_path / "search.yaml", tmp_path / "out"
    fine = SEARCH.replace("OPTIMIZER", "SGD")
    for given in ("metric: validMse, direction: Minimize", "metric: validMse"):
        path.write_text(fine.replace("metric: validMse", given))
        done = trainer("run", path, "--out", out)
        assert done.returncode == 0, done.stderr
    assert len(read_ledger(out)) == 2
    path.write_text(fine.replace("validMse", "validMae"))
    assert "spec.objective.metric: was" in trainer("run", path, "--out", out).stderr


def test_the_examples_run_without_a_warning(tmp_path: Path) -> None:
    for name in ("search", "volatility", "scaletest", "scaletest-streaming", "large-dataset", "kafka-loading"):
        listed = trainer("list", f"examples/{name}.yaml")
        assert (listed.returncode, listed.stderr) == (0, "")
    started = trainer("init")
    (tmp_path / "mine.yaml").write_text(started.stdout)
    assert trainer("list", tmp_path / "mine.yaml").stderr == ""
    changed = started.stdout.replace("metric: validMse ", "metric: validR2 ")
    assert changed != started.stdout
    (tmp_path / "mine.yaml").write_text(changed)
    assert trainer("list", tmp_path / "mine.yaml").stderr == ""
