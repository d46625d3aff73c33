"""The page: whole, self-contained, safe, bounded, and only of what was measured."""

import base64
import hashlib
import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from trainer.experiment.baseline import figures
from trainer.experiment.expand import Trial, expand
from trainer.experiment.outcome import ADVICE, Outcome
from trainer.experiment.record import RUNG, STEP, Environment, Record
from trainer.experiment.spec import Experiment, Scalar
from trainer.experiment.summary import summarize
from trainer.report.page import render
from trainer.report.results import Results
from trainer.report.sections import experiment_page
from unit.builders import a_record, a_trial, an_experiment

SHORT = [{"name": "train.learningRate", "choices": [0.001, 0.01]}]  # fewer charts to draw
VOID = frozenset({"meta", "br", "hr", "input"})
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> & \x1b[31m \x07 $\\frac{"


class Page(HTMLParser):
    """Reads a page and notes what tests ask of it; elements must be nested properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    @property
    def data(self) -> dict[str, Any]:
        """What the page's own script draws from."""
        return dict(json.loads(self.scripts[0]))

    @property
    def charts(self) -> dict[str, dict[str, Any]]:
        return dict(self.data["charts"])

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The trials' columns by name."""
        return {column["name"]: column["values"] for column in self.data["columns"]}


def written(folder: Path, experiment: Experiment, records: Sequence[Record], baseline: Sequence[Record] = ()) -> str:
    trials = expand(experiment)
    summary = summarize(experiment, trials, records, figures(experiment, trials, baseline))
    return render(experiment_page(Results(experiment, trials, records, summary), folder))


def ten_thousand() -> tuple[list[Trial], list[Record]]:
    """Trials and records without the seconds that expanding and checking each would take."""
    first = a_trial()
    like = a_record(first)
    rng = random.Random(0)
    trials, records = [], []
    for index in range(10_000):
        parameters: dict[str, Scalar] = {
            "train.learningRate": 10 ** rng.uniform(-5, -1),
            "model.hiddenSize": rng.randint(8, 512),
            "train.optimizer": rng.choice(["Adam", "AdamW", "SGD"]),
        }
        trial = replace(first, index=index, point=index, id=f"{index:010x}", parameters=parameters)
        trials.append(trial)
        began = like.started_at + 2000 * index
        told = {"index": index, "id": trial.id, "parameters": parameters, "metrics": {"validMse": rng.random()}}
        records.append(like.model_copy(update=told | {"started_at": began, "finished_at": began + 2000}))
    return trials, records


def leave_history(folder: Path, trial: Trial, losses: Sequence[float]) -> None:
    trial_folder = folder / "trials" / trial.id
    trial_folder.mkdir(parents=True)
    lines = [
        json.dumps({"epoch": epoch, "trainLoss": loss, "validLoss": 2 * loss, "validMse": loss, "seconds": 0.1})
        for epoch, loss in enumerate(losses, 1)
    ]
    (trial_folder / "history.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a search with a failed trial and some curves; drawn once, as drawing takes a second."""
    return a_search_with_failures(tmp_path_factory.mktemp("search"))


def a_search_with_failures(folder: Path) -> str:
    experiment = an_experiment()
    trials = expand(experiment)
    records = [a_record(trial, value=0.001 * (1 + trial.index * 7 % 18)) for trial in trials]
    records[5] = a_record(trials[5], outcome=Outcome.DIVERGED, error="training loss became nan in epoch 8")
    for trial in trials[:3]:
        leave_history(folder, trial, [0.3, 0.2, 0.1])
    return written(folder, experiment, records)


def test_the_page_says_the_best_first_then_counts_then_what_failed_and_what_to_do(searched: str) -> None:
    words = Page(searched).words
    said = [
        "The best validMse is 0.001, with learningRate 0.0001, hiddenSize 32 and layers 1.",
        "17 of 18 trials succeeded, 1 failed. That took 36.0 s, one at a time.",
        "Diverged 1 Trial 5: training loss became nan in epoch 8",
        ADVICE[Outcome.DIVERGED],
        "All 18 trials, the best first.",
        "How the figures are computed",
    ]
    assert [words.find(sentence) for sentence in said] == sorted(words.find(sentence) for sentence in said)
    assert -1 not in [words.find(sentence) for sentence in said]


def test_the_page_needs_nothing_from_outside_and_runs_only_its_own_scripts(searched: str) -> None:
    page = Page(searched)
    assert not {"link", "img", "iframe", "image", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert not {"href", "src", "xlink:href"} & attributes.keys()
    (policy,) = (each["content"] for each in page.all("meta") if "http-equiv" in each)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    hashes = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts[1:]}
    assert {each["type"] for each in page.all("script") if each} == {"application/json"}
    assert set(re.findall(r"'sha256-(.*?)'", policy)) == hashes
    assert len(hashes) == 2


def test_every_chart_has_a_place_a_title_and_a_text(searched: str) -> None:
    page = Page(searched)
    places = [attributes["data-chart"] for attributes in page.all("div") if "data-chart" in attributes]
    assert places == [
        "importance", "by-trial", "best-by-trial", "best-by-time",
        "slice-0", "slice-1", "slice-2", "parallel", "explorer",
        "curve-validLoss", "curve-trainLoss", "timeline", "time",
    ]  # fmt: skip
    assert set(page.charts) == set(places)
    assert len(page.all("figure")) == len(page.all("figcaption")) == len(places)


def test_charts_take_their_colours_from_the_page_so_that_they_follow_light_and_dark(searched: str) -> None:
    drawn = json.dumps(Page(searched).charts)
    assert "var(--best)" in drawn
    assert not re.search(r"#[0-9a-f]{6}\b", drawn)
    style = searched[searched.index("<style>") : searched.index("</style>")]
    used = set(re.findall(r"var\((--[a-z-]+)\)", drawn + style))
    light, dark = (set(re.findall(r"(--[a-z-]+):", part)) for part in style.split("prefers-color-scheme: dark", 1))
    assert used <= light & dark


def test_charts_and_table_have_the_ledgers_figures_to_the_bit(searched: str) -> None:
    page = Page(searched)
    trials = expand(an_experiment())
    values = [None if trial.index == 5 else 0.001 * (1 + trial.index * 7 % 18) for trial in trials]
    assert page.columns["metrics.validMse"] == values
    assert page.columns["id"] == [trial.id for trial in trials]
    assert page.columns["parameters.train.learningRate"] == [
        trial.parameters["train.learningRate"] for trial in trials
    ]
    assert page.columns["outcome"][4:6] == ["Succeeded", "Diverged"]
    assert page.data["order"][:2] == [0, 13]
    dots = page.charts["by-trial"]["data"][0]
    assert dots["y"] == {"column": "metrics.validMse", "rows": [row for row in range(18) if row != 5]}


def test_every_table_has_a_caption_and_heads(searched: str) -> None:
    page = Page(searched)
    tables = len(page.all("table"))
    assert tables == len(page.all("caption")) == len(page.all("thead")) + 1  # that of trials has its own script's
    assert {head["scope"] for head in page.all("th")} == {"col", "row"}


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    experiment = an_experiment(parameters=[{"name": "data.target", "choices": [HOSTILE, "Close", "$x$ & <b>"]}])
    trials = expand(experiment)
    metadata = experiment.metadata.model_copy(update={"name": HOSTILE})
    experiment = experiment.model_copy(update={"metadata": metadata})
    there = Environment(cpu=HOSTILE, packages={HOSTILE: HOSTILE}, image=HOSTILE)
    records = [
        a_record(trials[0], environment=there),
        a_record(trials[1], environment=there).model_copy(update={"metrics": {HOSTILE: 1.0, "validMse": 0.1}}),
        a_record(trials[2], outcome=Outcome.CRASHED, error=HOSTILE),
    ]
    text = render(
        experiment_page(Results(experiment, trials, records, summarize(experiment, trials, records)), tmp_path)
    )
    page = Page(text)
    assert not {"img", "b"} & {tag for tag, _ in page.tags}
    assert len(page.scripts) == 3
    assert not [1 for _, attributes in page.tags if "onerror" in attributes]
    assert "<script>alert(1)</script>" in page.words
    assert "<script>alert(1)</script>" in page.columns["parameters.data.target"][0]
    text = text.replace(page.scripts[1], "")  # Plotly's
    assert not [c for c in text if not c.isprintable() and c not in "\n\t"]


def test_the_same_records_give_the_same_bytes(searched: str, tmp_path: Path) -> None:
    assert a_search_with_failures(tmp_path) == searched


def test_without_records_every_figure_is_absent_with_a_reason(tmp_path: Path) -> None:
    page = Page(written(tmp_path, an_experiment(), []))
    assert not page.charts
    for sentence in (
        "There is no best trial yet: none has measured validMse.",
        "0 of 18 trials succeeded, 18 not run.",
        "wall time not measured",
        "No trial has measured validMse yet.",
        "No trial has ended yet.",
        "No baseline was measured, so there is no speedup to report.",
        "none has recorded its environment",
    ):
        assert sentence in page.words


def test_when_all_have_failed_there_is_no_best(tmp_path: Path) -> None:
    experiment = an_experiment()
    records = [a_record(trial, outcome=Outcome.CRASHED, error=f"boom {trial.index}") for trial in expand(experiment)]
    words = Page(written(tmp_path, experiment, records)).words
    assert "There is no best trial: none measured validMse." in words
    assert "Trial 0: boom 0 Trial 1: boom 1 Trial 2: boom 2 and 15 more" in words
    assert "best validMse not measured" in words


def test_one_trial_makes_a_page(tmp_path: Path) -> None:
    experiment = an_experiment(parameters=[{"name": "train.learningRate", "choices": [0.001]}])
    (trial,) = expand(experiment)
    leave_history(tmp_path, trial, [0.3])
    page = Page(written(tmp_path, experiment, [a_record(trial)]))
    assert "Its one trial succeeded." in page.words
    # A parameter with one value has no chart.
    assert list(page.charts) == ["by-trial", "curve-validLoss", "curve-trainLoss", "timeline", "time"]


def test_repeats_show_mean_and_deviation(tmp_path: Path) -> None:
    experiment = an_experiment(repeats=3, parameters=SHORT)
    records = [a_record(trial, value=0.1 * (1 + trial.repeat) + trial.point) for trial in expand(experiment)]
    words = Page(written(tmp_path, experiment, records)).words
    assert "The best validMse is 0.2 ± 0.1 (mean and deviation of 3 repeats)" in words
    assert "A bar is the mean of a point's repeats, one deviation to either side." in words
    assert "validMse 0.2 0.1" in words
    assert "Trials 0 to 2, 3 repeats of one point" in words


def test_of_several_attempts_the_latest_counts(tmp_path: Path) -> None:
    experiment = an_experiment(parameters=SHORT)
    trials = expand(experiment)
    failed = a_record(trials[0], outcome=Outcome.CRASHED, error="boom")
    words = Page(written(tmp_path, experiment, [a_record(trials[0], value=0.5, attempt=2), failed])).words
    assert "1 of 2 trials succeeded, 1 not run." in words
    assert "boom" not in words


def test_a_scale_test_lists_its_cells_and_the_largest_that_succeeded(tmp_path: Path) -> None:
    experiment = an_experiment(
        kind="ScaleTest", name="sp500-scale", axes={"multipliers": [1, 10, 50], "workers": [1, 2]}
    )
    records = [a_record(trial) for trial in expand(experiment)]
    records[2] = a_record(expand(experiment)[2], outcome=Outcome.HOST_OOM, error="killed", memory=(None,))
    page = Page(written(tmp_path, experiment, records))
    assert "The largest training set that succeeded: 10x with 1 worker and 50x with 2 workers." in page.words
    assert [column["head"] for column in page.data["columns"] if column["shown"]] == [
        "cell", "id", "multiplier", "workers", "outcome", "epochs", "time", "peak memory",
    ]  # fmt: skip
    assert [page.columns[name][2] for name in ("outcome", "epochs", "seconds.total", "peakMemoryBytes")] == [
        "HostOOM",
        20,
        2.0,
        None,
    ]
    assert page.data["order"] == [0, 1, 2, 3, 4, 5]


def test_a_baseline_is_compared_and_what_differs_is_named(tmp_path: Path) -> None:
    experiment = an_experiment(parameters=SHORT)
    ours = [a_record(trial, started_at=1_700_000_000_000) for trial in expand(experiment)]
    theirs = [record.model_copy(update={"environment": Environment(cpu="Another")}) for record in ours]
    words = Page(written(tmp_path, experiment, ours, theirs)).words
    assert "so this is no speedup. They differ in: baseline: ran 2 trials at once" in words
    assert "CPU: A CPU here, Another there" in words
    assert "Of the 4.0 s that the slots had (2 x 2.0 s): 0% waiting" in words


@pytest.mark.slow
def test_ten_thousand_trials_stay_a_page_that_opens(tmp_path: Path) -> None:
    parameters = [
        {"name": "train.learningRate", "range": {"min": 1e-5, "max": 0.1, "scale": "Log"}},
        {"name": "model.hiddenSize", "range": {"min": 8, "max": 512}},
        {"name": "train.optimizer", "choices": ["Adam", "AdamW", "SGD"]},
    ]
    experiment = an_experiment(algorithm="Random", trials=10_000, parameters=parameters)
    trials, records = ten_thousand()
    for trial in trials[:100]:
        leave_history(tmp_path, trial, [1 / (1 + epoch) for epoch in range(500)])
    results = Results(experiment, trials, records, summarize(experiment, trials, records))
    began = time.process_time()
    text = render(experiment_page(results, tmp_path))
    assert time.process_time() - began < 10
    page = Page(text)
    assert len(text) - len(page.scripts[1]) < 4_000_000
    assert len(page.columns["index"]) == len(page.data["order"]) == 10_000


def a_search_that_stopped(**spec: object) -> tuple[Experiment, list[Record]]:
    """Twelve trials, of which every third was stopped after 2 of 20 epochs."""
    rates = [{"name": "train.learningRate", "choices": [0.001, 0.01, 0.1]}]
    layers = [{"name": "model.layers", "choices": [1, 2, 3, 4, 5]}]
    experiment = an_experiment(**{"parameters": [*rates, *layers]} | spec)
    records = [
        a_record(trial, value=0.1 + abs(trial.index - 6))
        if trial.index % 3
        else a_record(trial, seconds=0.2, outcome=Outcome.STOPPED, epochs=2, evidence={STEP: 2, RUNG: 1})
        for trial in expand(experiment)
    ]
    return experiment, records


def test_a_search_that_stopped_trials_says_what_that_saved(tmp_path: Path) -> None:
    page = Page(written(tmp_path, *a_search_that_stopped()))
    assert "10 of 15 trials succeeded, 5 stopped early." in page.words
    said = "Stopped early: 5 of 15 trials, 30 % of the steps not run (90 of 300), 7.20 s saved."
    assert said in page.words
    assert "steps not run 30 %" in page.words
    assert [page.columns[name][0] for name in ("outcome", "epochs", "seconds.total")] == ["Stopped at step 2", 2, 0.2]
    assert "A stroke on the lower edge is a trial stopped early." in page.words
    assert "What did not succeed" not in page.words


def test_the_page_shows_how_the_best_improved_and_what_made_the_difference(tmp_path: Path) -> None:
    page = Page(written(tmp_path, *a_search_that_stopped()))
    assert {"best-by-trial", "best-by-time", "importance"} <= page.charts.keys()
    assert "The best, 1.1, came after 9 trials of 15." in page.words
    assert "The best came after 12.0 s of 30.0 s; pauses between runs are left out." in page.words
    assert "PED-ANOVA" in page.words
    few = Page(written(tmp_path, an_experiment(parameters=SHORT), []))
    assert not {"best-by-trial", "importance"} & few.charts.keys()
    assert "PED-ANOVA" not in few.words


def test_what_ended_a_search_before_all_points_were_tried_is_said(tmp_path: Path) -> None:
    experiment, records = a_search_that_stopped(budget={"plateau": 3})
    page = Page(written(tmp_path, experiment, records[:12]))
    assert "spec.budget.plateau 3 is reached: so many points in a row, up to trial 10, were no better" in page.words
    assert "Hyperparameter search succeeded" in page.words
    assert "3 not run" in page.words


def test_where_every_point_breaks_a_constraint_that_is_why_there_is_no_best(tmp_path: Path) -> None:
    experiment, records = a_search_that_stopped(constraints=[{"metric": "validR2", "atLeast": 0}])
    page = Page(written(tmp_path, experiment, records))
    assert "There is no best trial: every point that was measured breaks a constraint of the search." in page.words
    assert "best-by-trial" not in page.charts
    assert "importance" in page.charts
