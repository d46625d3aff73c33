"""The page in a real browser: its figures are the ledger's, what can be clicked works, nothing leaves the file."""

import csv
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from browser.conftest import NARROW, WIDE, Opened
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import RUNG, STEP, Record
from trainer.experiment.spec import Experiment
from trainer.experiment.summary import summarize
from trainer.report.page import render
from trainer.report.results import Results
from trainer.report.sections import experiment_page
from trainer.report.treatments import statistics
from trainer.report.wording import duration, memory, number
from unit.builders import a_record, an_experiment
from unit.test_report_page import HOSTILE, leave_history, ten_thousand
from unit.test_report_scale import EXPERIMENT as SCALE_TEST
from unit.test_report_scale import ledger as cells

Show = Callable[..., Opened]
NAMES = [HOSTILE, "a" * 200, "שלום עולם مرحبا", "</script><b>", "=1+1", 'quotes " and, commas']


def page_of(experiment: Experiment, records: Sequence[Record], folder: Path) -> str:
    trials = expand(experiment)
    results = Results(experiment, trials, records, summarize(experiment, trials, records))
    repeated = experiment.kind == "HyperparamSearch" and experiment.spec.repeats > 1
    return render(experiment_page(results, folder, statistics(results) if repeated else None))


def a_search(folder: Path) -> tuple[Experiment, list[Record]]:
    """Eighteen trials of which one diverged and one was stopped, with curves."""
    experiment, rng = an_experiment(), random.Random(7)
    trials = expand(experiment)
    records = [a_record(trial, value=10 ** rng.uniform(-5, -2), seconds=rng.uniform(0.5, 90)) for trial in trials]
    records[5] = a_record(trials[5], outcome=Outcome.DIVERGED, error="training loss became nan in epoch 8")
    records[7] = a_record(trials[7], outcome=Outcome.STOPPED, epochs=2, evidence={STEP: 2, RUNG: 1})
    for trial in trials[:6]:
        leave_history(folder, trial, [rng.uniform(0.1, 1) / epoch for epoch in range(1, 30)])
    return experiment, records


def pages(folder: Path) -> dict[str, str]:
    """A page of each kind, and of each state that one may be in."""
    repeated = an_experiment(repeats=4, parameters=[{"name": "model.layers", "choices": [1, 2, 3]}])
    named = an_experiment(
        name="x" * 39,
        parameters=[{"name": "data.target", "choices": NAMES}, {"name": "model.layers", "choices": [1, 2]}],
    )
    told = [a_record(trial, value=1 + trial.index) for trial in expand(named)]
    rng = random.Random(3)
    return {
        "a search": page_of(*a_search(folder), folder),
        "repeats": page_of(
            repeated, [a_record(trial, value=rng.gauss(trial.point + 5, 0.3)) for trial in expand(repeated)], folder
        ),
        "a scale test": page_of(SCALE_TEST, cells(), folder),
        "names of any kind": page_of(named, told, folder),
        "no trial": page_of(an_experiment(), [], folder),
        "one trial": page_of(an_experiment(), [a_record()], folder),
        "all failed": page_of(
            an_experiment(),
            [a_record(trial, outcome=Outcome.CRASHED, error=HOSTILE) for trial in expand(an_experiment())],
            folder,
        ),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return pages(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize(
    "kind", ["a search", "repeats", "a scale test", "names of any kind", "no trial", "one trial", "all failed"]
)
def test_every_page_is_drawn_without_a_complaint_a_request_or_a_part_beyond_its_edge(
    made: dict[str, str], shown: Show, kind: str, width: int
) -> None:
    opened = shown(made[kind], width=width)
    opened.draw_all()
    assert opened.problems == []
    assert [url for url in opened.requests if not url.startswith(("file:", "blob:", "data:"))] == []
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.locator("img, iframe, object").count() == 0


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_tables_figures_are_the_ledgers_and_written_as_everywhere(
    made: dict[str, str], shown: Show, tmp_path: Path, width: int
) -> None:
    experiment, records = a_search(tmp_path)
    opened = shown(made["a search"], width=width)
    heads = opened.page.locator("#trials thead th").evaluate_all("cells => cells.map(cell => cell.dataset.column)")
    rows = opened.page.locator("#trials tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => [cell.textContent, cell.dataset.value ?? null]))"
    )
    found = {row[heads.index("id")][0]: dict(zip(heads, row, strict=True)) for row in rows}
    assert len(found) == len(records) == 18
    for trial, record in zip(expand(experiment), records, strict=True):
        row = found[trial.id]
        for path, value in trial.parameters.items():
            assert float(row[f"parameters.{path}"][1]) == value
        if record.outcome is Outcome.SUCCEEDED:
            value = record.metrics["validMse"]
            assert (row["metrics.validMse"][0], float(row["metrics.validMse"][1])) == (number(value), value)
        else:
            assert row["metrics.validMse"] == ["–", None]
        assert (row["seconds.total"][0], float(row["seconds.total"][1])) == (
            duration(record.seconds.total),
            record.seconds.total,
        )
        peak = max((rank.counted_peak for rank in record.memory if rank is not None), default=None)
        assert row["peakMemoryBytes"] == (["–", None] if peak is None else [memory(peak), str(peak)])
    best = min(record.metrics["validMse"] for record in records if record.outcome is Outcome.SUCCEEDED)
    assert float(rows[0][heads.index("metrics.validMse")][1]) == best
    assert opened.page.locator("#trials tr.marked").count() == 1


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_charts_have_the_ledgers_figures(made: dict[str, str], shown: Show, tmp_path: Path, width: int) -> None:
    experiment, records = a_search(tmp_path)
    opened = shown(made["a search"], width=width)
    measured = [record for record in records if record.outcome is Outcome.SUCCEEDED]
    dots, *_ = opened.data("by-trial")
    assert dots["x"] == [record.index for record in measured]
    assert dots["y"] == [record.metrics["validMse"] for record in measured]
    dots, *_ = opened.data("slice-0")
    assert dots["x"] == [record.parameters["train.learningRate"] for record in measured]
    lines = opened.data("curve-trainLoss")
    history = (tmp_path / "trials" / expand(experiment)[0].id / "history.jsonl").read_text().splitlines()
    (first,) = (line for line in lines if line["text"].startswith("trial 0<br>"))
    assert first["y"] == [json.loads(line)["trainLoss"] for line in history]
    axes = opened.data("parallel")[0]["dimensions"]
    assert [each["label"] for each in axes] == ["learningRate", "hiddenSize", "layers", "validMse"]


def test_the_table_sorts_filters_and_shows_what_a_filter_left(made: dict[str, str], shown: Show) -> None:
    page = shown(made["a search"]).page
    heads = page.locator("#trials thead th").evaluate_all("cells => cells.map(cell => cell.dataset.column)")

    def column(name: str) -> list[str]:
        """What a column shows: its value where it is a number."""
        cells = page.locator(f"#trials tbody tr td:nth-child({heads.index(name) + 1})")
        return list(cells.evaluate_all("cells => cells.map(cell => cell.dataset.value ?? cell.textContent)"))

    page.get_by_role("button", name="time", exact=True).click()
    times = [float(value) for value in column("seconds.total")]
    assert (len(times), times) == (18, sorted(times))
    for _ in range(2):
        page.get_by_role("button", name="validMse", exact=True).click()
    values = column("metrics.validMse")
    assert values[-2:] == ["–", "–"], "what has no value stands last, whichever way"
    assert [float(value) for value in values[:-2]] == sorted(map(float, values[:-2]), reverse=True)
    assert page.locator('#trials th[aria-sort="descending"]').count() == 1
    page.get_by_label("Filter rows by words").fill("diverged 128")
    assert list(zip(column("outcome"), column("parameters.model.hiddenSize"), strict=True)) == [("Diverged", "128")]
    page.get_by_label("Filter rows by words").fill("")
    page.get_by_label("Filter rows by outcome").select_option("Stopped")
    assert column("outcome") == ["Stopped at step 2"]


@pytest.mark.parametrize("kind", ["a search", "names of any kind"])
def test_the_download_has_every_column_of_the_rows_to_the_bit(made: dict[str, str], shown: Show, kind: str) -> None:
    opened = shown(made[kind])
    with opened.page.expect_download() as waits:
        opened.page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(Path(waits.value.path()).read_text(encoding="utf-8").splitlines(keepends=True)))
    data = json.loads(opened.page.locator("#data").text_content() or "")
    columns = {column["name"]: column["values"] for column in data["columns"]}
    assert waits.value.suggested_filename == f"{data['name']}.csv"
    assert list(rows[0]) == list(columns)
    for row, at in zip(rows, data["order"], strict=True):
        for name, values in columns.items():
            value = values[at]
            if isinstance(value, float):
                assert float(row[name]) == value
            elif isinstance(value, str) and value.startswith("="):
                assert row[name] == f"'{value}", "a spreadsheet would take it for a formula"
            else:
                assert row[name] == ("" if value is None else str(value))


def test_a_dot_tells_its_trial_and_a_click_leads_to_its_row(made: dict[str, str], shown: Show) -> None:
    opened = shown(made["a search"])
    opened.data("by-trial")
    dot = opened.page.locator('[data-chart="by-trial"] .scatterlayer .trace').first.locator("path.point").nth(3)
    dot.hover(force=True)
    said = opened.page.locator('[data-chart="by-trial"] .hoverlayer .hovertext')
    said.wait_for()
    assert "trial 3" in (said.text_content() or "")
    box = dot.bounding_box()
    assert box is not None
    opened.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    row = opened.page.locator("#trials tr.chosen")
    row.wait_for()
    assert row.locator("td").first.text_content() == "3"


def test_a_click_on_the_legend_hides_and_two_parameters_can_be_chosen(made: dict[str, str], shown: Show) -> None:
    opened = shown(made["a search"])
    opened.data("slice-0")
    opened.page.locator('[data-chart="slice-0"] .legendtoggle').first.click()
    opened.page.wait_for_function("document.querySelector('[data-chart=slice-0]').data[0].visible === 'legendonly'")
    before = opened.data("explorer")[0]["x"]
    figure = opened.page.locator("figure", has=opened.page.locator('[data-chart="explorer"]'))
    other = next(
        option
        for option in figure.locator("select")
        .first.locator("option")
        .evaluate_all("all => all.map(one => one.value)")
        if option != figure.locator("select").first.input_value()
    )
    figure.locator("select").first.select_option(other)
    after = opened.data("explorer")[0]["x"]
    assert (len(before), before != after) == (len(after), True)
    assert opened.problems == []


def test_charts_follow_dark_and_light(made: dict[str, str], shown: Show) -> None:
    opened = shown(made["a search"], color_scheme="light")
    light = opened.data("by-trial")[0]["marker"]["color"]
    opened.page.emulate_media(color_scheme="dark")
    opened.page.wait_for_function(
        "light => document.querySelector('[data-chart=by-trial]').data[0].marker.color !== light", arg=light
    )
    assert opened.problems == []


def test_without_webgl_parallel_axes_say_what_is_missing(
    made: dict[str, str], launch: Callable[..., Browser], tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text(made["a search"], encoding="utf-8")
    page = launch("--disable-3d-apis").new_page()
    page.goto(file.as_uri())
    place = page.locator('[data-chart="parallel"]')
    place.scroll_into_view_if_needed()
    page.wait_for_function("place => place.textContent", arg=place.element_handle())
    assert place.text_content() == "This chart needs WebGL, which this browser does not have."


def test_five_thousand_trials_are_a_page_that_opens(shown: Show, say: Callable[[str], None], tmp_path: Path) -> None:
    drawn: list[dict[str, Any]] = [
        {"name": "train.learningRate", "range": {"min": 1e-5, "max": 0.1, "scale": "Log"}},
        {"name": "model.hiddenSize", "range": {"min": 8, "max": 512}},
        {"name": "train.optimizer", "choices": ["Adam", "AdamW", "SGD"]},
    ]
    experiment = an_experiment(algorithm="Random", trials=5000, parameters=drawn)
    trials, records = (part[:5000] for part in ten_thousand())
    text = render(
        experiment_page(Results(experiment, trials, records, summarize(experiment, trials, records)), tmp_path)
    )
    opened = shown(text)
    painted = opened.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    opened.draw_all()
    assert opened.problems == []
    assert len(text.encode()) <= 10_000_000
    assert opened.page.locator("#trials tbody tr").count() == 100
    opened.page.get_by_role("button", name="Show 100 more").click()
    assert opened.page.locator("#trials tbody tr").count() == 200
    say(f"the page of 5,000 trials: {len(text.encode()) / 1e6:.1f} MB, first paint after {painted / 1000:.2f} s")
