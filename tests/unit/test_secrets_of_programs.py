"""A secret that a program wrote where it died is in no record, status, Event, page or log line of ours."""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cluster import podstatus
from trainer.__main__ import main
from trainer.experiment.expand import expand
from trainer.experiment.judge import RankExit, Times, make_record
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import RankReport, decode_report, encode, encode_report
from trainer.experiment.summary import summarize
from trainer.local.processes import rank_exit
from trainer.report.page import render
from trainer.report.progress import progress
from trainer.report.results import Results
from trainer.report.sections import experiment_page
from trainer.report.text import closing
from trainer.training.distributed import Ranks
from trainer.training.trial import failure
from trialrun_operator.kube import Refused
from trialrun_operator.names import CONFIG_MAPS, EVENTS
from unit.builders import a_record, a_trial, an_experiment
from unit.lookout import Lookout, Stage, a_search

S3CRET = "hunter2" + "Zx9"
SAID = f"cannot open https://app:{S3CRET}@example.com/rows.csv\nDB_PASSWORD={S3CRET}"

STAGES = {
    "the end of its log": partial(podstatus.ended, exit_code=1, message=SAID, reason="Error"),
    "what the container runtime says": partial(podstatus.ended, exit_code=128, message=SAID, reason="StartError"),
    "its report": partial(
        podstatus.ended,
        exit_code=1,
        message=json.dumps({"outcome": "Crashed", "error": SAID, "clock": 1}),
    ),
    "what the kubelet says": partial(podstatus.ended_by_kubelet, reason="Evicted", message=SAID),
}


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_on_a_cluster(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    here = Lookout()
    with caplog.at_level("DEBUG"):
        here.apply(a_search(2, maxFailedTrials=0))
        here.play(lambda _: stage, seconds=120)
    told = json.dumps([here.api.ask("GET", here.key.path), here.of(CONFIG_MAPS), here.of(EVENTS)])
    assert here.records(), "attempts are on record"
    assert "DB_PASSWORD=***" in told, "what is no secret is told"
    assert S3CRET not in told
    assert S3CRET not in caplog.text


def test_what_the_api_server_says() -> None:
    said = Refused("POST /x", 403, "Forbidden", f"webhook https://app:{S3CRET}@hook denied", None)
    assert S3CRET not in f"{said} {said.message}"


def rank_that_raises(_: Path) -> RankExit:
    report = failure(Ranks(0, 1), RuntimeError(SAID))
    assert S3CRET not in encode_report(report).decode(), "it would stand in a pod's status"
    return RankExit(0, 1, report)


def rank_of_an_own_trainer(_: Path) -> RankExit:
    return RankExit(0, 1, decode_report(json.dumps({"outcome": "Crashed", "error": SAID})))


def rank_whose_log_ends_so(folder: Path) -> RankExit:
    (folder / "log-0.txt").write_text("line\n" + SAID + "\n")
    return rank_exit(folder, 0, 1)


def rank_that_reported_before(_: Path) -> RankExit:
    return RankExit(0, -9, RankReport(provisional=True), Outcome.NODE_LOST, SAID)


@pytest.mark.parametrize(
    "died", [rank_that_raises, rank_of_an_own_trainer, rank_whose_log_ends_so, rank_that_reported_before]
)
def test_on_this_machine(died: Callable[[Path], RankExit], tmp_path: Path) -> None:
    times = Times(0, 0, 1)
    record = make_record(a_trial(), attempt=1, exits=[died(tmp_path)], metric="validMse", times=times)
    assert "***" in record.error
    assert S3CRET not in encode(record)


def test_where_results_of_before_are_shown(tmp_path: Path) -> None:
    experiment = an_experiment()
    trials = expand(experiment)
    records = [a_record(trials[0]), a_record(trials[1], outcome=Outcome.CRASHED, error=SAID)]
    summary = summarize(experiment, trials, records)
    page = render(experiment_page(Results(experiment, trials, records, summary), tmp_path))
    shown = io.StringIO()
    with progress(experiment, trials, [], slots=1, stream=shown) as lines:
        lines.ended(trials[1], records[1])
    for text in (page, shown.getvalue(), closing(Results(experiment, trials, records, summary), tmp_path)):
        assert "***" in text
        assert S3CRET not in text


def test_in_the_sentence_that_ends_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", str(tmp_path / f"password={S3CRET}" / "none.yaml")]) == 2
    assert S3CRET not in capsys.readouterr().err
