"""The example of a trainer of one's own keeps the contract, and the page that states the contract states it right."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs import pytorch_job
from local.cli import ROOT, environment
from trainer.experiment.expand import Trial, expand
from trainer.experiment.judge import RankExit, Times, make_record
from trainer.experiment.load import read
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.outcome import EXIT_CODES, Outcome
from trainer.experiment.record import RankReport, decode_report
from trainer.scheduling.workload import Workload
from trialrun_operator.names import Key
from trialrun_operator.orders import trial_document
from trialrun_operator.workload import workload

OWN = ROOT / "examples" / "own-trainer"
PAGE = (ROOT / "docs" / "bring-your-own-trainer.md").read_text().partition("## An image with a trainer in it")[2]
UID = "0f6d1c1e-4a53-4a92-8d0c-6c1f2f6f0b11"


def the_search() -> Workload:
    return workload(read(OWN / "search.yaml").document(sparse=True))


def run(work: Workload, trial: Trial, message: Path) -> tuple[int, RankReport]:
    """The example's exit code and report, in the environment that the operator gives to its pod."""
    job = pytorch_job(work, Key("HyperparamSearch", "mine", work.experiment.name), UID, trial, 1, "unused")
    (container,) = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
    told = {each["name"]: each["value"] for each in container["env"]}
    command = [sys.executable, str(OWN / "train.py"), *container["args"], str(message)]
    done = subprocess.run(command, env=environment() | told, cwd=message.parent, timeout=300, check=False)
    return done.returncode, decode_report(message.read_bytes())


@pytest.mark.slow
def test_the_example_trains_its_trials_and_its_report_makes_a_record(tmp_path: Path) -> None:
    work = the_search()
    losses = {}
    for trial in (work.trials[0], work.trials[-1]):
        code, report = run(work, trial, tmp_path / f"message-{trial.id}")
        ending = RankExit(0, exit_code=code, report=report)
        record = make_record(trial, attempt=1, exits=[ending], metric=work.metric, times=Times(0, 0, 1))
        assert (code, record.outcome) == (0, Outcome.SUCCEEDED), record.error
        losses[trial.id] = record.metrics["validMse"]
        assert report.seconds.train > 0
        assert report.epochs == 30
    assert all(math.isfinite(loss) and loss > 0 for loss in losses.values())
    assert len(set(losses.values())) == 2


@pytest.mark.parametrize(
    ("change", "outcome", "code"),
    [({"learningRate": 1e9}, Outcome.DIVERGED, 66), ({"batchSize": 0}, Outcome.CRASHED, 1)],
)
@pytest.mark.slow
def test_what_goes_wrong_is_reported_with_the_code_of_its_outcome(
    change: dict[str, Any], outcome: Outcome, code: int, tmp_path: Path
) -> None:
    work = the_search()
    told = json.loads(trial_document(work, UID, work.trials[0], 1))
    told["training"]["train"] |= change
    message = tmp_path / "message"
    command = [sys.executable, str(OWN / "train.py"), "pod", str(message)]
    variables = environment() | {"TRIALRUN_TRIAL": json.dumps(told)}
    done = subprocess.run(command, env=variables, timeout=300, check=False)
    report = decode_report(message.read_bytes())
    assert (done.returncode, report.outcome) == (code, outcome)
    assert EXIT_CODES[outcome] == code
    assert report.error


def test_the_example_imports_nothing_of_ours_and_is_forty_lines() -> None:
    code = (OWN / "train.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))
    assert imported == {"json", "math", "os", "pathlib", "sys", "time", "torch"}
    assert len([line for line in code.splitlines() if line.strip()]) <= 40


def test_the_page_names_every_key_that_goes_in_and_comes_out() -> None:
    work = the_search()
    told = json.loads(trial_document(work, UID, expand(work.experiment)[0], 1))
    keys = {key for row in re.findall(r"^\| ([^|]+) \|", PAGE, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}
    reported = {field.alias for field in RankReport.model_fields.values()}
    ours_alone = {"run", "lostPeer"}  # a baseline's, and one that has a sentence
    assert keys == set(told) | reported - ours_alone
    assert '"lostPeer": true' in PAGE


def test_the_page_names_every_exit_code_and_every_objective() -> None:
    for outcome, code in EXIT_CODES.items():
        assert re.search(rf"\b{code} {outcome}\b", PAGE)
    for name in OBJECTIVES:
        assert f"`{name}`" in PAGE
