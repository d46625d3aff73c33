"""`report --by`: a search ranked by another recorded metric, which changes nothing but a page beside the report."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trainer.__main__ import main
from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.experiment.spec import Experiment
from trainer.local.folder import settle
from trainer.report.results import file_name, ranked_by, recorded
from unit.builders import a_record, an_experiment, four
from unit.test_compare_command import a_run, refusal
from unit.test_report_page import Page


def measured(experiment: Experiment, *each: dict[str, float]) -> list[Record]:
    return [a_record(trial, metrics=metrics) for trial, metrics in zip(expand(experiment), each, strict=True)]


# The search's own best is trial 0, trial 3 has the least validMae, trial 2 the greatest accuracy.
FIGURES = (
    {"validMse": 1.0, "validMae": 9.0, "testMse": 5.0, "val/acc": 0.1, "naiveValidMae": 4.0},
    {"validMse": 2.0, "validMae": 8.0, "testMse": 6.0, "val/acc": 0.2, "naiveValidMae": 4.0},
    {"validMse": 3.0, "validMae": 7.0, "testMse": 4.0, "val/acc": 0.9, "naiveValidMae": 4.0},
    {"validMse": 4.0, "validMae": 3.0, "testMse": 7.0, "val/acc": 0.4, "naiveValidMae": 4.0},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return a_run(tmp_path / "run", four(), measured(four(), *FIGURES))


def test_a_metric_that_is_known_has_its_direction_any_other_is_told_one() -> None:
    entries = Entries(measured(four(), *FIGURES))

    def best(*by: Any) -> int:
        found = ranked_by(four(), entries, *by).summary.best
        assert found is not None
        return found.index

    assert best("validMae") == 3
    assert best("testMse") == 2
    assert best("val/acc", "Maximize") == 2
    assert best("val/acc", "Minimize") == 0
    assert best("validMae", "Maximize") == 0
    with pytest.raises(UserError, match="--by val/acc: whether less or more of it is better is not known; add --dir"):
        best("val/acc")


def test_all_that_follows_from_the_objective_follows_from_the_metric_and_nothing_else() -> None:
    search = four(objective={"metric": "validMse"}, budget={"plateau": 1})
    entries = Entries(measured(search, *FIGURES))
    results = ranked_by(search, entries, "validMae")
    summary = results.summary
    assert summary.naive is not None
    assert (summary.naive.value, summary.naive.beaten_by) == (4, 1)
    assert [leader.index for leader in summary.leaders] == [3, 2, 1, 0]
    assert [each.value for each in summary.course] == [9, 8, 7, 3]
    assert [trial.index for trial in results.ranked] == [3, 2, 1, 0]
    own = ranked_by(search, entries, "validMse").summary
    assert summary.ended_by == own.ended_by
    assert own.ended_by is not None
    assert (summary.counts, summary.timing, summary.state) == (own.counts, own.timing, own.state)


def test_it_is_said_that_the_search_optimised_another_metric_but_not_of_its_own() -> None:
    entries = Entries(measured(four(), *FIGURES))
    said = "The search optimised validMse; here its trials are ranked by validMae."
    assert ranked_by(four(), entries, "validMae").summary.caveats[0] == said
    assert said not in ranked_by(four(), entries, "validMse").summary.caveats
    assert ranked_by(four(), entries, "validMse", "Maximize").summary.caveats[0] == (
        "The search took less validMse for better; here its trials are ranked with more of it for better."
    )
    points = [{"parameters": {"model.layers": layers}} for layers in (1, 2, 3, 4)]
    learnt = four(algorithm="TPE", trials=4, points=points, earlyStopping={"rule": "Median"})
    caveat = ranked_by(learnt, entries, "validMae").summary.caveats[0]
    assert (
        caveat == f"{said} It chose its points and stopped trials by validMse, so others may do better by validMae."
    )
    assert "has no samples left that it was not chosen by" in ranked_by(four(), entries, "testMse").summary.caveats[1]


def test_what_no_trial_recorded_is_refused_with_those_that_are() -> None:
    entries = Entries(measured(four(), *FIGURES))
    with pytest.raises(UserError) as refused:
        ranked_by(four(), entries, "validmae")
    assert str(refused.value) == (
        "--by: must be a metric that a trial recorded, got validmae (did you mean validMae?); recorded are validMse, "
        "validMae, testMse, val/acc, naiveValidMae, dataSeconds, trainSeconds, totalSeconds"
    )
    with pytest.raises(UserError, match="got validMae; no trial has recorded any yet"):
        ranked_by(four(), Entries([a_record(expand(four())[0], outcome=Outcome.CRASHED)]), "validMae")
    with pytest.raises(UserError, match="ranks the trials of a search, and this is a scale test"):
        ranked_by(an_experiment(kind="ScaleTest", axes={"multipliers": [1]}), Entries(), "validMae")


def test_a_metric_that_is_always_zero_was_recorded() -> None:
    assert "x" in recorded([a_record(metrics={"x": 0.0})])


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("validMae", "report-by-validMae.html"),
        ("val/acc", "report-by-val-acc-6293503f.html"),
        ("../../x", "report-by-..-..-x-9cdf6a50.html"),
        ("x" * 300, f"report-by-{'x' * 100}-0d4e2ca9.html"),
        ("val-acc", "report-by-val-acc.html"),
    ],
)
def test_the_page_s_name_is_a_file_s(metric: str, name: str) -> None:
    assert file_name(metric) == name


def test_the_command_leaves_a_page_beside_the_report_and_the_rest_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(folder)]) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    assert main(["report", str(folder), "--by", "val/acc", "--direction", "Maximize", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["best"]["index"] == 2
    assert "best  trial 2       val/acc 0.9" in said.err
    assert "The search optimised validMse; here its trials are ranked by val/acc." in said.err
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    text = after.pop("report-by-val-acc-6293503f.html").decode()
    assert after == before
    page = Page(text)
    assert page.words.startswith(f"{four().name}: report by val/acc")
    for sentence in (
        "Hyperparameter search, ranked by val/acc",
        "The best val/acc is 0.9, with layers 3.",
        "The search optimised validMse; here its trials are ranked by val/acc.",
    ):
        assert sentence in page.words
    assert page.columns["metrics.val/acc"] == [0.1, 0.2, 0.9, 0.4]
    assert page.data["order"] == [2, 3, 1, 0]
    assert page.data["marked"] == [2]
    settle(folder, four(), fresh=True)
    assert [path.name for path in folder.iterdir()] == ["experiment.json"]


def test_a_direction_without_a_metric_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "report", str(folder), "--direction", "Minimize") == (
        "trialrun: --direction Minimize: goes with --by METRIC, which is missing\n"
    )
    assert "must be a metric that a trial recorded" in refusal(capsys, "report", str(folder), "--by", "loss")


def test_treatments_are_compared_by_the_metric_and_no_statistics_are_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = an_experiment(parameters=[{"name": "model.layers", "choices": [1, 2]}], repeats=3)
    values: Sequence[float] = (1.0, 1.1, 0.9, 5.0, 5.1, 4.9)
    told = [{"validMse": 10 - value, "validMae": value} for value in values]
    folder = a_run(tmp_path / "run", experiment, measured(experiment, *told))
    assert main(["report", str(folder), "--by", "validMae"]) == 0
    assert "1 has the least mean of validMae and was told apart from 2." in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == [
        "experiment.json", "report-by-validMae.html", "results.jsonl",
    ]  # fmt: skip
