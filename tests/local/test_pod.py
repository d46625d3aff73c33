"""What a trial's container runs, told as the operator tells it, in a process here."""

import json
import subprocess
from pathlib import Path

from local.cli import ROOT, command, environment, write_search
from trainer.experiment.expand import expand
from trainer.experiment.load import read
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import RankReport, decode_report
from trialrun_operator.manifests import TRIAL_VARIABLE, trial_document
from trialrun_operator.workload import workload


def run_pod(folder: Path, **data: object) -> tuple[int, RankReport]:
    """The exit code and the termination message of the pod of a small search's first trial."""
    experiment = read(write_search(folder, rates=[0.01]))
    document = experiment.document(sparse=True)
    document["spec"]["training"]["data"] |= data
    work = workload(document)
    message = folder / "message"
    message.write_text("what was there before, which is longer than nothing" * 100)
    told = {TRIAL_VARIABLE: trial_document(work, expand(work.experiment)[0], 1)}
    done = subprocess.run(
        command("pod", "--message", message), cwd=ROOT, env=environment() | told, capture_output=True, check=False
    )
    return done.returncode, decode_report(message.read_bytes())


def test_a_pod_reports_metrics_seconds_memory_and_environment_in_its_termination_message(tmp_path: Path) -> None:
    code, report = run_pod(tmp_path)
    assert (code, report.outcome, report.rank) == (0, Outcome.SUCCEEDED, 0)
    assert report.metrics["validMse"] > 0
    assert report.seconds.start > 0
    assert report.seconds.train > 0
    assert report.memory is not None
    assert report.environment is not None
    assert report.environment.threads == 1


def test_a_pod_without_its_data_says_so_in_code_and_message(tmp_path: Path) -> None:
    code, report = run_pod(tmp_path, source="csv", path=str(tmp_path / "missing.csv"))
    assert (code, report.outcome) == (65, Outcome.DATA_UNAVAILABLE)
    assert "missing.csv" in report.error


def test_a_pod_that_was_told_nothing_says_who_should_have() -> None:
    done = subprocess.run(command("pod"), cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "TRIALRUN_TRIAL: must be set" in done.stderr


def test_the_variable_holds_what_another_trainer_needs(tmp_path: Path) -> None:
    work = workload(read(write_search(tmp_path)).document(sparse=True))
    told = json.loads(trial_document(work, work.trials[0], 1))
    assert told["metric"] == "validMse"
    assert told["parameters"] == {"train.learningRate": 0.1}
    assert told["training"]["train"]["learningRate"] == 0.1
