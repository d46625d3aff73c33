"""The page of a comparison in a real browser: it draws what was measured, names the trial, and asks for nothing."""

from collections.abc import Callable

import pytest

from browser.conftest import NARROW, WIDE, Opened
from trainer.experiment.entries import Entries
from trainer.experiment.expand import expand
from trainer.report.compare import Pair, Side, against_first, side
from trainer.report.compare_view import comparison_page
from trainer.report.page import render
from unit.builders import a_record, an_experiment, four
from unit.ledger_pairs import a_scale_test, one_at_a_time, pair_of, two_at_a_time, two_scale_tests
from unit.test_report_page import HOSTILE

Show = Callable[..., Opened]


def with_repeats(source: str, *values: float) -> Side:
    experiment = an_experiment(parameters=[{"name": "model.layers", "choices": [1]}], repeats=len(values))
    told = zip(expand(experiment), values, strict=True)
    return side(source, experiment, Entries([a_record(trial, value=value) for trial, value in told]))


COMPARED: dict[str, Callable[[], tuple[Pair, ...]]] = {
    "two searches": lambda: (pair_of(one_at_a_time(), two_at_a_time(value=0.0004)),),
    "repeats": lambda: (Pair(with_repeats("a", 1.0, 1.1, 0.9), with_repeats("b", 3.0, 3.1, 2.9)),),
    "three searches": lambda: against_first([side(HOSTILE, four(), Entries(one_at_a_time())) for _ in range(3)]),
    "two scale tests": lambda: (two_scale_tests(),),
    "three scale tests": lambda: against_first([side("x" * 200, *a_scale_test()) for _ in range(3)]),
    "nothing": lambda: (pair_of([], []),),
}


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("compared", COMPARED.values(), ids=COMPARED)
def test_a_page_draws_all_its_charts_without_a_complaint_a_request_or_a_word_outside(
    compared: Callable[[], tuple[Pair, ...]], width: int, shown: Show
) -> None:
    opened = shown(render(comparison_page(compared())), width=width)
    opened.draw_all()
    assert opened.problems == []
    assert len(opened.requests) == 1
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_pointing_at_a_mark_names_its_trial(shown: Show) -> None:
    values = (0.5, 0.1, 0.3, 0.9)
    sides = [
        side(
            name,
            four(),
            Entries([a_record(trial, value=value) for trial, value in zip(expand(four()), values, strict=True)]),
        )
        for name in ("one", "two")
    ]
    opened = shown(render(comparison_page((Pair(*sides),))))
    drawn = opened.data("compare-bests")
    assert [(each["x"], each["name"]) for each in drawn[:2]] == [([0.5, 0.3, 0.9], "trial"), ([0.1], "best")]
    marks = opened.page.locator('[data-chart="compare-bests"] .trace.scatter')
    said = opened.page.locator('[data-chart="compare-bests"] .hoverlayer .hovertext')
    for trace, text in (
        (0, "A: trial 0, layers 1"),
        (1, "best of A: trial 1, layers 2"),
        (2, "B: trial 0, layers 1"),
    ):
        marks.nth(trace).locator("path.point").first.hover(force=True)
        said.filter(has_text=text).wait_for()
