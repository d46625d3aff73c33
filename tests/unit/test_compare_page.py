"""The page of a comparison: whole, self-contained, safe, and only of what was measured."""

import pytest

from trainer.experiment.entries import Entries
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Environment, Record
from trainer.report.compare import Pair, Side, against_first, side
from trainer.report.compare_view import comparison_page
from trainer.report.page import render
from unit.builders import a_record, an_experiment, four, ran
from unit.ledger_pairs import a_scale_test, one_at_a_time, pair_of, two_at_a_time, two_scale_tests
from unit.test_report_page import HOSTILE, Page, ten_thousand


def page(*pairs: Pair) -> str:
    return render(comparison_page(pairs))


@pytest.fixture(scope="module")
def searches() -> str:
    """The page of two comparable searches."""
    return page(pair_of(one_at_a_time(), two_at_a_time(value=0.0004)))


def test_the_page_says_which_is_better_then_what_was_changed_then_time_then_metrics_then_both_sides(
    searches: str,
) -> None:
    words = Page(searches).words
    said = [
        "A's best is better, but that may be chance: the best validMse is 0.0004 in B, 0.0002 in A, higher by",
        "Each best is a single run, so chance is not ruled out",
        "A 0.0002 1 – – there",
        "A dot is a trial, a star the best point.",
        "What was changed Nothing",
        "A took 12.0 s, B took 6.00 s, so A took 2 times as long. The two are comparable.",
        "speedup 2 efficiency 100 %",
        "None of 4 trials that succeeded in both agree to the bit",
        "0 of 4 trials lie on the line to the bit.",
        "Below it B was faster: 0 of 4 trials.",
        "A: 1 slot for 12.0 s. B: 2 slots for 6.00 s.",
        "wall time 12.0 s 6.00 s",
        "How the figures are computed",
    ]
    assert -1 not in [words.find(sentence) for sentence in said]
    assert [words.find(sentence) for sentence in said] == sorted(words.find(sentence) for sentence in said)


def test_the_charts_draw_what_both_measured_and_name_the_trial(searches: str) -> None:
    charts = Page(searches).charts
    assert list(charts) == ["compare-bests", "compare-objective", "compare-time", "compare-slots"]
    dots, star, *_ = charts["compare-bests"]["data"]
    assert (dots["x"], dots["y"]) == ([0.0002] * 3, ["A"] * 3)
    assert dots["text"][0] == "A: trial 1, layers 2"
    assert (star["x"], star["y"]) == ([0.0002], ["A"])
    assert star["text"] == ["best of A: trial 0, layers 1<br>validMse 0.0002"]
    line, points = charts["compare-objective"]["data"]
    assert (line["x"], line["y"]) == ([0.0002, 0.0004], [0.0002, 0.0004])
    assert (points["x"], points["y"]) == ([0.0002] * 4, [0.0004] * 4)
    assert points["text"][3] == "B: trial 3, layers 4"
    bars = {bar["name"]: bar["x"] for bar in charts["compare-slots"]["data"]}
    assert bars["training"] == pytest.approx([85, 85])


def test_a_best_with_repeats_has_its_interval() -> None:
    experiment = an_experiment(parameters=[{"name": "model.layers", "choices": [1]}], repeats=3)

    def of(*values: float) -> Side:
        told = zip(expand(experiment), values, strict=True)
        return side("x", experiment, Entries([a_record(trial, value=value) for trial, value in told]))

    found = Page(page(Pair(of(1.0, 1.1, 0.9), of(3.0, 3.0, 3.0))))
    stars = [drawn for drawn in found.charts["compare-bests"]["data"] if drawn["legendgroup"] == "best"]
    # 0.1 / sqrt(3) times the quantile 0.975 of Student's t of two degrees of freedom
    assert stars[0]["error_x"]["array"] == pytest.approx([0.248414], abs=1e-6)
    assert stars[0]["error_x"]["arrayminus"] == pytest.approx([0.248414], abs=1e-6)
    assert "error_x" not in stars[1]


def test_an_interval_that_leaves_a_logarithmic_axis_ends_at_its_edge() -> None:
    experiment = an_experiment(parameters=[{"name": "model.layers", "choices": [1, 2]}], repeats=2)
    records = [
        a_record(trial, value=value) for trial, value in zip(expand(experiment), (1, 9, 900, 900), strict=True)
    ]
    one = side("x", experiment, Entries(records))
    found = Page(page(Pair(one, one)))
    chart = found.charts["compare-bests"]
    assert chart["layout"]["xaxis"]["type"] == "log"
    assert chart["data"][1]["error_x"]["arrayminus"] == [5 - 0.9]
    assert "A line that would go further down, perhaps below 0, ends at the edge." in found.words


def test_the_page_is_the_same_each_time(searches: str) -> None:
    ids = [attributes["id"] for _, attributes in Page(searches).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert page(pair_of(one_at_a_time(), two_at_a_time(value=0.0004))) == searches


def test_of_three_searches_each_chart_has_all() -> None:
    of = [one_at_a_time(), two_at_a_time(value=0.0004), one_at_a_time(value=0.0001)]
    found = Page(page(*against_first([side(f"run {i}", four(), Entries(each)) for i, each in enumerate(of)])))
    assert {y for drawn in found.charts["compare-bests"]["data"] for y in drawn["y"]} == {"A", "B", "C"}
    assert [drawn["name"] for drawn in found.charts["compare-time"]["data"]] == ["", "B", "C"]
    assert found.charts["compare-slots"]["data"][0]["y"] == ["A", "B", "C"]
    assert "0 of 4 trials of B and 0 of 4 trials of C lie on the line to the bit." in found.words


def test_a_scale_test_has_its_cells_and_lines_by_size() -> None:
    found = Page(page(two_scale_tests()))
    for sentence in (
        "1 worker 10x 1x 2 workers 10x 50x",
        "10x with 1 worker: HostOOM in B, succeeds in A. 50x with 2 workers: HostOOM in A, succeeds in B.",
        "A line is a side with one worker count: solid 1 worker, dashed 2 workers.",
        "A cross is a cell that did not succeed, where it ended.",
    ):
        assert sentence in found.words
    assert list(found.charts) == ["compare-cell-time", "compare-cell-memory"]
    *lines, crosses = found.charts["compare-cell-memory"]["data"]
    assert [(line["legendgroup"], line["line"]["dash"]) for line in lines] == [
        ("A", "solid"), ("A", "dash"), ("B", "solid"), ("B", "dash"),
    ]  # fmt: skip
    assert (lines[0]["x"], lines[0]["y"]) == ([1, 10, 50], [1, 10, 50])
    assert lines[0]["text"][2] == "A: 50x with 1 worker, HostOOM"
    assert (crosses["x"], crosses["y"]) == ([50, 50, 10, 50], [50, 50, 10, 50])


def test_three_scale_tests_have_lines_of_each() -> None:
    found = Page(page(*against_first([side(name, *a_scale_test()) for name in "xyz"])))
    lines = found.charts["compare-cell-time"]["data"]
    assert [line["name"] for line in lines] == ["A", "", "B", "", "C", ""]


def test_what_is_not_there_is_absent_with_a_reason() -> None:
    found = Page(page(pair_of([], [])))
    assert found.charts == {}
    for sentence in (
        "Which is better, A or B, can't be said.",
        "No trial has run in A and B, so there are no times to compare.",
        "No trial ran in both.",
        "No trial measured validMse in both.",
        "No trial has run.",
    ):
        assert sentence in found.words


def test_hostile_text_stays_text() -> None:
    there = Environment(cpu=HOSTILE, image=HOSTILE)
    records = [ran(0, 3, environment=there), ran(3, 6, trial=1, outcome=Outcome.CRASHED, error=HOSTILE)]
    program = {
        "program": {"command": ["python", HOSTILE.replace("${", "$ {")], "settings": {"x": HOSTILE}},
        "objective": {"metric": "validMse", "direction": "Minimize"},
        "parameters": [{"name": "label", "choices": [HOSTILE]}],
    }
    experiment = an_experiment(**program)
    (trial,) = expand(experiment)
    told = {"id": trial.id, "index": 0, "parameters": trial.parameters}
    other = side(HOSTILE, experiment, Entries([a_record().model_copy(update=told)]))
    one = side(HOSTILE, four(), Entries(one_at_a_time()))
    text = page(*against_first([one, side(HOSTILE, four(), Entries(records)), other]))
    found = Page(text)
    assert not {"img"} & {tag for tag, _ in found.tags}
    assert not [attributes for _, attributes in found.tags if "onerror" in attributes]
    assert len(found.all("script")) == 3
    assert "<script>alert(1)</script>" in found.words
    drawn = str(found.charts)
    assert "<img" not in drawn
    assert "&lt;img" in drawn
    assert "\x1b" not in text.partition('id="data"')[2].partition("</script>")[0]


@pytest.mark.slow
def test_ten_thousand_trials_stay_a_page_that_opens() -> None:
    trials, records = ten_thousand()

    def large(name: str, of: list[Record]) -> Side:
        one = side(name, four(), Entries())
        one.results.trials = tuple(trials)
        one.results.records = {record.id: record for record in of}
        return one

    small = len(page(pair_of([], [])))
    text = page(Pair(large("a", records), large("b", records[::-1])))
    assert len(text) - small < 1_500_000
    assert "Every 5th trial is drawn." in Page(text).words
