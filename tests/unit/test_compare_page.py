"""The page of a comparison: whole, self-contained, safe, and only of what was measured."""

import re

import pytest

from trainer.experiment.entries import Entries
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Environment, Record
from trainer.report.compare_facts import Pair, Side, side
from trainer.report.compare_page import page
from unit.builders import four, ran
from unit.ledger_pairs import one_at_a_time, pair_of, two_at_a_time, two_scale_tests
from unit.test_report_page import HOSTILE, Page, ten_thousand


@pytest.fixture(scope="module")
def searches() -> str:
    """The page of two comparable searches, drawn once."""
    return page(pair_of(one_at_a_time(), two_at_a_time(value=0.0004)))


def test_the_page_says_what_came_of_it_then_the_metrics_then_both_sides(searches: str) -> None:
    words = Page(searches).words
    said = [
        "A took 12.0 s, B took 6.00 s, so A took 2 times as long. The two are comparable.",
        "A, the baseline: there",
        "B, compared with it: here",
        "speedup 2 efficiency 100 %",
        "None of 4 trials that succeeded in both agree to the bit",
        "Below it B was faster: 0 of 4 trials.",
        "0 of 4 trials lie on the line to the bit.",
        "A: 1 slot for 12.0 s. B: 2 slots for 6.00 s.",
        "wall time 12.0 s 6.00 s",
        "How the figures are computed",
    ]
    assert [words.find(sentence) for sentence in said] == sorted(words.find(sentence) for sentence in said)
    assert -1 not in [words.find(sentence) for sentence in said]


def test_the_page_needs_nothing_from_outside_and_runs_nothing(searches: str) -> None:
    found = Page(searches)
    assert not {"script", "link", "img", "iframe", "image", "object"} & {tag for tag, _ in found.tags}
    assert not re.search(r"https?:|@import|url\((?!#)", searches)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(found.all("svg")) == 3
    assert page(pair_of(one_at_a_time(), two_at_a_time(value=0.0004))) == searches


def test_a_scale_test_has_its_cells_and_lines_by_size() -> None:
    found = Page(page(two_scale_tests()))
    assert len(found.all("svg")) == 2
    for sentence in (
        "1 worker 10x 1x 2 workers 10x 50x",
        "10x with 1 worker: HostOOM in B, succeeds in A. 50x with 2 workers: HostOOM in A, succeeds in B.",
        "A line is a side with one worker count: solid 1 worker, dashed 2 workers.",
        "A cross is a cell that did not succeed, where it ended.",
    ):
        assert sentence in found.words


def test_what_is_not_there_is_absent_with_a_reason() -> None:
    found = Page(page(pair_of([], [])))
    assert not found.all("svg")
    for sentence in (
        "No trial has run in A and B, so there are no times to compare.",
        "No trial ran in both.",
        "No trial measured validMse in both.",
        "No trial has run.",
    ):
        assert sentence in found.words


def test_hostile_text_stays_text() -> None:
    there = Environment(cpu=HOSTILE, image=HOSTILE)
    records = [ran(0, 3, environment=there), ran(3, 6, trial=1, outcome=Outcome.CRASHED, error=HOSTILE)]
    text = page(Pair(side(HOSTILE, four(), Entries(one_at_a_time())), side(HOSTILE, four(), Entries(records))))
    assert not {"script", "img"} & {tag for tag, _ in Page(text).tags}
    assert not [c for c in text if not c.isprintable() and c not in "\n\t"]


@pytest.mark.slow
def test_ten_thousand_trials_stay_a_page_that_opens() -> None:
    trials, records = ten_thousand()

    def large(name: str, of: list[Record]) -> Side:
        one = side(name, four(), Entries())
        one.results.trials = tuple(trials)
        one.results.records = {record.id: record for record in of}
        return one

    text = page(Pair(large("a", records), large("b", records[::-1])))
    assert len(text) < 200_000
    assert "Every 25th trial is drawn." in Page(text).words
