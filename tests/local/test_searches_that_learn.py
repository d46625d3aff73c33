"""Searches that learn from their trials, stop some of them and end when they may, as a user runs them here."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Sweep
from local.cli import ROOT, command, environment, trainer
from local.test_programs import a_search
from trainer.experiment.bounds import EarlyStopping
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import STEP
from trainer.experiment.suggestion import in_order
from trainer.local.ledger import read_entries, read_ledger, read_rungs, read_suggestions
from trainer.scheduling.stopping.rungs import replayed

# A loss that is lowest at x = 0.3, and falls from step to step; what lies beyond 0.8 is not to be had.
SCRIPT = """
import sys, time
import trialrun
trial = trialrun.trial(steps=1, pause=0.0)
x, steps = trial.parameters["x"], trial.parameters["steps"]
if x > 0.8:
    sys.exit("no room beyond 0.8")
for step in range(1, steps + 1):
    time.sleep(trial.parameters["pause"])
    if trial.report(step, loss=(x - 0.3) ** 2 + 1 / step):
        break
"""
X = [{"name": "x", "range": {"min": 0.0, "max": 1.0}}]


def a_learning_search(folder: Path, **spec: Any) -> Path:
    file = a_search(
        folder,
        ["python", "train.py"],
        **{"parameters": X, "algorithm": "TPE", "trials": 14, "maxFailedTrials": 100} | spec,
    )
    (folder / "train.py").write_text(SCRIPT)
    return file


def run(file: Path, *words: str, out: str = "out") -> subprocess.CompletedProcess[str]:
    return trainer("run", file, "--out", file.parent / out, *words, cwd=file.parent)


def summary(file: Path, out: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((file.parent / out / "summary.json").read_text())
    return found


@pytest.mark.slow
def test_a_search_learns_goes_on_with_more_trials_and_tells_what_is_next(tmp_path: Path) -> None:
    file = a_learning_search(tmp_path, trials=12, points=[{"parameters": {"x": 0.5}}])
    done = run(file, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    suggestions = read_suggestions(tmp_path / "out")
    assert [each.number for each in suggestions] == list(range(1, 12)), "the known point is the first"
    records = read_ledger(tmp_path / "out")
    assert len({record.parameters["x"] for record in records}) == 12
    assert next(record for record in records if record.index == 0).parameters == {"x": 0.5}
    assert {record.outcome for record in records} <= {Outcome.SUCCEEDED, Outcome.CRASHED}
    assert summary(file)["counts"]["total"] == 12

    asked = trainer("suggest", file, "--out", tmp_path / "out", "--json", cwd=tmp_path)
    assert json.loads(asked.stdout)["parameters"]["x"] > 0.8, "with nothing else left, what failed would run again"

    more = a_learning_search(tmp_path, trials=16, points=[{"parameters": {"x": 0.5}}])
    asked = trainer("suggest", more, "--out", tmp_path / "out", "--json", cwd=tmp_path)
    told = json.loads(asked.stdout)
    assert told["number"] == 12
    assert told["learntFrom"] >= 6
    assert run(more).returncode == 0
    after = read_suggestions(tmp_path / "out")
    assert after[:11] == suggestions
    assert after[11].parameters == told["parameters"], "what was said to come next did"
    assert len(after) == 15
    assert [each for each in read_ledger(tmp_path / "out") if each.outcome is Outcome.SUCCEEDED][:3] == [
        each for each in records if each.outcome is Outcome.SUCCEEDED
    ][:3]


@pytest.mark.parametrize("algorithm", ["Random", "Sobol"])
def test_points_that_depend_on_the_seed_alone_are_listed(tmp_path: Path, algorithm: str) -> None:
    file = a_learning_search(tmp_path, algorithm=algorithm, trials=5)
    listed = trainer("list", file, "--json", cwd=tmp_path)
    points = [json.loads(line)["parameters"]["x"] for line in listed.stdout.splitlines()]
    assert len(set(points)) == 5
    run(file)
    assert sorted(record.parameters["x"] for record in read_ledger(tmp_path / "out")) == sorted(points)
    more = a_learning_search(tmp_path, algorithm=algorithm, trials=7)
    listed = trainer("list", more, "--json", cwd=tmp_path)
    assert [json.loads(line)["parameters"]["x"] for line in listed.stdout.splitlines()][:5] == points


def test_with_fewer_points_than_trials_each_is_tried_once(tmp_path: Path) -> None:
    file = a_learning_search(tmp_path, trials=9, parameters=[{"name": "x", "choices": [0.1, 0.2, 0.3]}])
    done = run(file)
    assert done.returncode == 0, done.stderr
    assert (
        "spec.trials: 9 is more than the 3 points that the parameters make; each of them is tried once" in done.stderr
    )
    assert sorted(record.parameters["x"] for record in read_ledger(tmp_path / "out")) == [0.1, 0.2, 0.3]
    assert summary(file)["counts"]["total"] == 3


def test_a_target_ends_the_search_and_raising_it_goes_on(tmp_path: Path) -> None:
    spec = {"algorithm": "Grid", "trials": None, "parameters": [{"name": "x", "choices": [0.7, 0.3, 0.5, 0.1]}]}
    spec.pop("trials")
    file = a_search(tmp_path, ["python", "train.py"], **spec, budget={"target": 1.01})
    (tmp_path / "train.py").write_text(SCRIPT)
    done = run(file)
    assert done.returncode == 0, done.stderr
    assert [record.parameters["x"] for record in read_ledger(tmp_path / "out")] == [0.7, 0.3]
    assert "spec.budget.target" in summary(file)["endedBy"]
    assert summary(file)["state"] == "Succeeded"
    a_search(tmp_path, ["python", "train.py"], **spec, budget={"target": 1.0})
    assert run(file).returncode == 0
    assert len(read_ledger(tmp_path / "out")) == 2, "1.0 is reached by the second as well"
    a_search(tmp_path, ["python", "train.py"], **spec)
    assert run(file).returncode == 0
    assert len(read_ledger(tmp_path / "out")) == 4


def test_a_constraint_decides_which_is_best(tmp_path: Path) -> None:
    spec = {"algorithm": "Grid", "parameters": [{"name": "x", "choices": [0.3, 0.1]}], "program": {}}
    file = a_search(tmp_path, ["python", "train.py"], **spec, constraints=[{"metric": "loss", "atLeast": 1.01}])
    (tmp_path / "train.py").write_text(SCRIPT)
    assert run(file).returncode == 0
    assert summary(file)["best"]["parameters"] == {"x": 0.1}
    assert "constraint" in " ".join(summary(file)["caveats"])


STEPS = {"program": {"settings": {"steps": 9, "pause": 0.15}}, "earlyStopping": {"rule": "ASHA", "reduction": 3}}


@pytest.mark.slow
def test_trials_that_do_worse_are_stopped_and_a_replay_stops_them_there(tmp_path: Path) -> None:
    choices = [0.3, 0.1, 0.7, 0.65, 0.0, 0.31]
    spec = {"algorithm": "Grid", "parameters": [{"name": "x", "choices": choices}], **STEPS}
    file = a_search(tmp_path, ["python", "train.py"], **spec)
    (tmp_path / "train.py").write_text(SCRIPT)
    done = run(file)
    assert done.returncode == 0, done.stderr
    by_x = {record.parameters["x"]: record for record in read_ledger(tmp_path / "out")}
    assert {x for x, record in by_x.items() if record.outcome is Outcome.SUCCEEDED} == {0.3}
    for x in choices[1:]:
        assert by_x[x].outcome is Outcome.STOPPED
        assert 1 <= int(by_x[x].evidence[STEP]) < 9
    found = summary(file)
    assert found["counts"]["stopped"] == 5
    assert found["counts"]["failed"] == 0
    assert found["best"]["parameters"] == {"x": 0.3}
    assert found["saved"]["steps"] == sum(9 - int(by_x[x].evidence[STEP]) for x in choices[1:])
    rungs = read_rungs(tmp_path / "out")
    points = {record.id: record.index for record in by_x.values()}
    assert replayed(EarlyStopping(rule="ASHA"), "Minimize", 1, rungs, points) == rungs

    again = run(file)
    assert again.returncode == 0
    assert len(read_ledger(tmp_path / "out")) == 6, "what was stopped is not run again"

    baseline = run(file, "--replay", "out", out="replay")
    assert baseline.returncode == 0, baseline.stderr
    after = {record.parameters["x"]: record for record in read_ledger(tmp_path / "replay")}
    assert {x: record.outcome for x, record in after.items()} == {x: record.outcome for x, record in by_x.items()}
    compared = trainer("compare", tmp_path / "replay", tmp_path / "out", "--json", cwd=tmp_path)
    comparison = json.loads(compared.stdout)["comparison"]
    steps = [(int(after[x].evidence[STEP]), int(by_x[x].evidence[STEP])) for x in choices]
    assert all(a == b for a, b in steps)
    assert comparison["differences"] == []
    assert comparison["speedup"] > 0
    refused = run(file, out="replay")
    assert refused.returncode == 2
    assert "holds results of a replay" in refused.stderr


def test_a_program_that_goes_on_when_asked_to_stop_has_succeeded(tmp_path: Path) -> None:
    spec = {"algorithm": "Grid", "parameters": [{"name": "x", "choices": [0.3, 0.1]}], **STEPS}
    file = a_search(tmp_path, ["python", "train.py"], **spec)
    (tmp_path / "train.py").write_text(SCRIPT.replace("        break", "        pass"))
    assert run(file).returncode == 0
    records = read_ledger(tmp_path / "out")
    assert [record.outcome for record in records] == [Outcome.SUCCEEDED] * 2
    assert [entry.stop for entry in read_rungs(tmp_path / "out")].count(True) >= 1


@pytest.mark.slow
def test_our_trainer_is_stopped_too(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text("""
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {name: ours}
spec:
  objective: {metric: validMse}
  parameters: [{name: train.learningRate, choices: [0.01, 0.0000001, 0.0000002]}]
  earlyStopping: {rule: ASHA, minStep: 20, reduction: 2}
  training:
    data: {source: synthetic, rows: 400, window: 5, validFraction: 0.2}
    model: {hiddenSize: 16, layers: 1}
    train: {epochs: 400, batchSize: 16}
""")
    done = run(file)
    assert done.returncode == 0, done.stderr
    records = read_ledger(tmp_path / "out")
    assert [record.outcome for record in records] == [Outcome.SUCCEEDED, Outcome.STOPPED, Outcome.STOPPED]
    for record in records[1:]:
        assert 20 <= record.epochs < 400
        assert record.metrics["validMse"] > records[0].metrics["validMse"]
    assert [(entry.rung, entry.step) for entry in read_rungs(tmp_path / "out")][:3] == [(20, 20), (40, 40), (80, 80)]


def test_a_warm_start_takes_what_this_search_could_have_run(tmp_path: Path) -> None:
    grid = a_search(
        tmp_path / "earlier", ["python", "train.py"], parameters=[{"name": "x", "choices": [0.1, 0.2, 0.4, 0.6]}]
    )
    (grid.parent / "train.py").write_text(SCRIPT)
    assert run(grid).returncode == 0
    part = [{"name": "x", "range": {"min": 0.0, "max": 0.5}}]
    file = a_learning_search(tmp_path / "later", parameters=part, trials=3, warmStart=str(grid.parent / "out"))
    done = run(file)
    assert done.returncode == 0, done.stderr
    assert "begins with what 3 of 4 points of" in done.stderr
    suggested = read_suggestions(file.parent / "out")
    assert suggested[0].learnt_from == 3
    assert not {each.parameters["x"] for each in suggested} & {0.1, 0.2, 0.4}

    other = a_learning_search(tmp_path / "other", trials=3, warmStart=str(grid.parent / "out"), workers=2)
    refused = run(other)
    assert refused.returncode == 2
    assert (
        "spec.warmStart: must name a search some of whose trials are trainings of this one's space" in refused.stderr
    )
    assert not (other.parent / "out").exists()


@pytest.mark.slow
@pytest.mark.torture
def test_a_learning_search_is_killed_at_any_moment(tmp_path: Path, sweep: Sweep) -> None:
    """No suggestion is lost or made twice, no point is tried twice, every decision is as it was."""
    for seed in sweep.seeds(sample=1, full=50):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        file = a_learning_search(
            folder, trials=12, program={"settings": {"steps": 9, "pause": 0.02}}, earlyStopping={"rule": "ASHA"}
        )
        seen: list[Any] = []
        for _ in range(2):
            process = subprocess.Popen(
                command("run", file, "--out", folder / "out", "--jobs", "2"),
                cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0,
            )  # fmt: skip
            time.sleep(rng.uniform(0.2, 4.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
            now = read_suggestions(folder / "out")
            assert now[: len(seen)] == seen
            seen = now
        done = run(file, "--jobs", "2")
        assert done.returncode == 0, done.stderr
        entries = read_entries(folder / "out")
        assert [each.number for each in entries.suggestions] == list(range(12))
        assert len(in_order(entries.suggestions, 0)) == 12
        assert len({each.parameters["x"] for each in entries.suggestions}) == 12
        finals = [record.id for record in entries.records if record.outcome is not Outcome.CRASHED]
        assert len(finals) == len(set(finals)), "nothing that ended well is run again"
        points = {record.id: record.index for record in entries.records}
        assert replayed(EarlyStopping(rule="ASHA"), "Minimize", 1, entries.rungs, points) == list(entries.rungs)
        assert len({(entry.trial, entry.rung) for entry in entries.rungs}) == len(entries.rungs)
        stopped = {entry.trial for entry in entries.rungs if entry.stop}
        by_id = {record.id: record for record in entries.records}
        assert all(by_id[trial].outcome in (Outcome.STOPPED, Outcome.SUCCEEDED) for trial in stopped)
