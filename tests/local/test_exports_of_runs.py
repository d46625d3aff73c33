"""What real runs leave, exported: a study and a table say what the summary.json that the run itself wrote does."""

import csv
import json
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from local.cli import trainer, write_search
from local.test_searches_that_learn import a_learning_search
from trainer.local.ledger import read_ledger, read_rungs

optuna.logging.set_verbosity(optuna.logging.ERROR)


def assert_exported(out: Path, name: str) -> optuna.Study:
    """Exports a run, and holds the study and the table against what the run wrote."""
    done = trainer("export", out, "--optuna", out.parent / "study.db", "--csv", out.parent / "trials.csv")
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{out.parent / 'study.db'}")
    assert (study.best_trial.user_attrs["index"], study.best_value) == (
        summary["best"]["index"],
        summary["best"]["value"],
    )
    states = Counter(trial.state.name for trial in study.trials)
    counts = summary["counts"]
    assert (states["COMPLETE"], states["FAIL"], states["PRUNED"]) == (
        counts["succeeded"],
        counts["failed"],
        counts["stopped"],
    )
    assert study.user_attrs["importance"] == summary["importance"]
    if summary["importance"]:
        by = PedAnovaImportanceEvaluator(target_quantile=study.user_attrs["importanceQuantile"])
        assert get_param_importances(study, evaluator=by) == pytest.approx(summary["importance"], rel=1e-6, abs=1e-9)
    with (out.parent / "trials.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    for record in read_ledger(out):
        assert rows[record.id]["outcome"] == str(record.outcome)
        for metric, value in record.metrics.items():
            assert float(rows[record.id][f"metrics.{metric}"]) == value
    return study


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Some regimes")
def test_of_a_search_that_learns_stops_and_fails(tmp_path: Path) -> None:
    parameters = [
        {"name": "x", "range": {"min": 0.0, "max": 1.0}},
        {"name": "kind", "choices": ["a", "b"]},
        {"name": "depth", "range": {"min": 1, "max": 9, "step": 2}, "when": {"kind": "a"}},
    ]
    file = a_learning_search(
        tmp_path,
        parameters=parameters,
        trials=30,
        program={"command": ["python", "train.py"], "settings": {"steps": 9, "pause": 0.3}},
        earlyStopping={"rule": "ASHA", "minStep": 1, "reduction": 3},
    )
    ran = trainer("run", file, "--out", tmp_path / "out", "--jobs", "4", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    study = assert_exported(tmp_path / "out", "programs")
    pruned = study.get_trials(states=[optuna.trial.TrialState.PRUNED])
    assert pruned, "some were stopped"
    rungs = {(entry.trial, entry.step): entry.value for entry in read_rungs(tmp_path / "out")}
    for trial in study.trials:
        told = {step: value for (name, step), value in rungs.items() if name == trial.user_attrs["id"]}
        assert told.items() <= trial.intermediate_values.items()


@pytest.mark.slow
def test_of_our_trainer(tmp_path: Path) -> None:
    file = write_search(tmp_path, rates=[0.1, 0.03, 0.01, 0.001], epochs=3)
    ran = trainer("run", file, "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    study = assert_exported(tmp_path / "out", "small")
    assert all(list(trial.intermediate_values) == [1, 2, 3] for trial in study.trials)
