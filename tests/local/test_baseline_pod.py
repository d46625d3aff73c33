"""What a baseline's container runs, told as the operator tells it, in a process here."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.cli import ROOT, command, environment, trainer, write_search
from trainer.experiment.baseline import figures, rests_on
from trainer.experiment.expand import expand
from trainer.experiment.load import load, read
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import MAX_REPORT_BYTES, RankReport, decode_report, hash_number
from trainer.experiment.space import Point
from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.suggestion import Suggestion
from trainer.local.ledger import read_ledger
from trainer.scheduling.workload import Workload, one_at_a_time
from trialrun_operator.orders import BASELINE_VARIABLE, baseline_document
from trialrun_operator.workload import workload


def a_workload(folder: Path, **spec: Any) -> Workload:
    document = read(write_search(folder)).document(sparse=True)
    document["spec"] |= {"baseline": "Measure"} | spec
    return workload(document)


def measure(folder: Path, work: Workload, *options: str | Path) -> tuple[int, RankReport, str]:
    """The exit code, the termination message and the log of a baseline's pod."""
    message = folder / "message"
    message.write_text("what was there before, which is longer than nothing" * 100)
    told = {BASELINE_VARIABLE: baseline_document(work.experiment, "5f0c6f0e-1", 2)}
    done = subprocess.run(
        command("baseline", "--message", message, *options),
        cwd=ROOT, env=environment() | told, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert message.stat().st_size <= MAX_REPORT_BYTES
    return done.returncode, decode_report(message.read_bytes()), done.stderr


@pytest.mark.slow
def test_it_measures_the_search_one_trial_at_a_time(tmp_path: Path) -> None:
    work = a_workload(tmp_path)
    code, report, log = measure(tmp_path, work)
    assert (code, report.outcome, report.error) == (0, Outcome.SUCCEEDED, ""), log
    assert report.run is not None
    assert (report.run.trials, report.run.workers, report.run.most_at_once) == (3, 1, 1)
    assert report.run.outcomes == {"Succeeded": 3}
    assert report.run.best_id in {trial.id for trial in work.trials}
    (one,) = report.run.environments
    assert one.packages["torch"]
    assert 0 < report.run.seconds.train < report.run.wall
    assert "3 of 3" in log
    local = tmp_path / "local"
    assert trainer("run", tmp_path / "search.yaml", "--out", local).returncode == 0
    told = rests_on(work.experiment, work.trials, read_ledger(local))
    assert sorted(told) == ["data", "validation"]
    assert report.metrics == {
        "dataHash": hash_number(told["data"]),
        "validationHash": hash_number(told["validation"]),
    }


@pytest.mark.slow
def test_it_trains_by_one_worker_what_the_search_trains_by_two(tmp_path: Path) -> None:
    work = a_workload(tmp_path, workers=2, parallelTrials=2)
    _, report, log = measure(tmp_path, work)
    assert report.run is not None, log
    assert (report.run.trials, report.run.workers) == (3, 1)
    search = work.experiment
    assert isinstance(search, HyperparamSearch)
    alone = one_at_a_time(search)
    assert not {trial.id for trial in expand(alone)} & {trial.id for trial in work.trials}
    assert alone.spec.deadline_seconds == 2 * search.spec.deadline_seconds


@pytest.mark.slow
def test_an_output_volume_keeps_its_ledger_and_each_attempt_begins_anew(tmp_path: Path) -> None:
    work, output = a_workload(tmp_path), tmp_path / "output"
    output.mkdir()
    kept = output / f"{work.experiment.name}-5f0c6f0e" / "baseline" / "2"
    _, first, _ = measure(tmp_path, work, "--output", output)
    before = read_ledger(kept)
    _, second, _ = measure(tmp_path, work, "--output", output)
    records = read_ledger(kept)
    assert figures(work.experiment, work.trials, records) == second.run
    assert first.run is not None
    assert len(records) == len(before) == 3
    assert not {record.finished_at for record in records} & {record.finished_at for record in before}
    assert load((kept / "experiment.json").read_text()).name == work.experiment.name


@pytest.mark.slow
def test_what_was_suggested_and_ran_is_trained_again_and_nothing_is_suggested(tmp_path: Path) -> None:
    search = read(write_search(tmp_path)).document(sparse=True)
    search["spec"] |= {
        "algorithm": "TPE",
        "trials": 9,
        "parameters": [{"name": "train.learningRate", "range": {"min": 0.001, "max": 0.1}}],
        "points": [{"parameters": {"train.learningRate": 0.05}}],
        "budget": {"target": 1e9},
        "warmStart": "hps/earlier",
    }
    points: list[Point] = [{"train.learningRate": 0.01}, {"train.learningRate": 0.02}, {"train.learningRate": 0.03}]
    work = workload(search, [Suggestion(number=1 + place, parameters=each) for place, each in enumerate(points)])
    output, message = tmp_path / "output", tmp_path / "message"
    output.mkdir()
    assert isinstance(work.experiment, HyperparamSearch)
    told = {BASELINE_VARIABLE: baseline_document(work.experiment, "5f0c6f0e-1", 1, points, [0, 1, 3])}
    done = subprocess.run(
        command("baseline", "--message", message, "--output", output),
        cwd=ROOT, env=environment() | told, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = output / f"{work.experiment.name}-5f0c6f0e" / "baseline" / "1"
    ran = {record.parameters["train.learningRate"] for record in read_ledger(kept)}
    assert ran == {0.05, 0.01, 0.03}, "the budget that ended the search is not asked again"
    records = read_ledger(kept)
    assert decode_report(message.read_bytes()).run == figures(work.experiment, work.trials, records)
    again = trainer("report", kept)
    assert again.returncode == 0, again.stderr
    assert json.loads((kept / "summary.json").read_text())["counts"]["total"] == 3


def test_without_its_data_it_says_so_in_code_and_message(tmp_path: Path) -> None:
    work = a_workload(tmp_path, training={"data": {"source": "csv", "path": str(tmp_path / "missing.csv")}})
    code, report, _ = measure(tmp_path, work)
    assert (code, report.outcome, report.run) == (65, Outcome.DATA_UNAVAILABLE, None)
    assert "missing.csv" in report.error


def test_what_it_does_not_know_it_calls_invalid(tmp_path: Path) -> None:
    work = a_workload(tmp_path)
    told = json.loads(baseline_document(work.experiment, "5f0c6f0e-1", 1))
    told["search"]["spec"]["training"]["train"]["laterField"] = 1
    message = tmp_path / "message"
    done = subprocess.run(
        command("baseline", "--message", message),
        cwd=ROOT, env=environment() | {BASELINE_VARIABLE: json.dumps(told)}, capture_output=True, check=False,
    )  # fmt: skip
    report = decode_report(message.read_bytes())
    assert (done.returncode, report.outcome) == (2, Outcome.INVALID_CONFIG)
    assert "spec.training.train.laterField" in report.error


def test_one_that_was_told_nothing_says_who_should_have() -> None:
    done = subprocess.run(
        command("baseline"), cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "TRIALRUN_BASELINE: must be set" in done.stderr
