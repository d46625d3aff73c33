"""Ledgers beside each other: what is worked out of two, and of several against the first."""

import pytest

from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Seconds
from trainer.report.compare import Facts, Pair, against_first, only_one_carries, side
from unit.builders import a_record, an_experiment, four, ran
from unit.ledger_pairs import OOM, a_scale_test, one_at_a_time, pair_of, two_at_a_time, two_scale_tests


def test_a_is_the_baseline_of_b() -> None:
    facts = pair_of(one_at_a_time(), two_at_a_time()).facts
    assert facts.comparison is not None
    assert (facts.comparison.speedup, facts.comparison.efficiency, facts.time_saved) == (2, 1, 6)
    back = pair_of(two_at_a_time(), one_at_a_time()).facts
    assert back.comparison is not None
    assert (back.comparison.elapsed_ratio, back.comparison.speedup, back.time_saved) == (0.5, None, -6)


def test_trials_that_only_one_of_them_has_stand_in_the_way_of_a_speedup() -> None:
    fewer = four(parameters=[{"name": "model.layers", "choices": [1, 2]}])
    facts = pair_of(one_at_a_time(), two_at_a_time()[:2], fewer).facts
    assert facts.comparison is not None
    assert "trials: 2 here, 4 there" in facts.comparison.differences
    assert facts.comparison.speedup is None
    assert facts.agreement.both == 2


def test_without_a_trial_that_ran_there_is_no_comparison() -> None:
    facts = pair_of([], two_at_a_time()).facts
    assert (facts.comparison, facts.time_saved, facts.agreement.both) == (None, None, 0)


def test_metrics_agree_to_the_bit_or_the_largest_difference_is_told() -> None:
    a = one_at_a_time(metrics={"validMse": 0.5, "validMae": 2.0})
    assert pair_of(a, two_at_a_time(metrics={"validMse": 0.5, "validMae": 2.0})).facts.agreement.same == 4
    b = two_at_a_time(metrics={"validMse": 0.5, "validMae": 2.0})
    b[1] = ran(0, 3, trial=1, metrics={"validMse": 0.5 + 2**-53, "validMae": 2.0})
    b[2] = ran(3, 6, trial=2, metrics={"validMse": 0.5, "validMae": -2.0})
    found = pair_of(a, b).facts.agreement
    assert (found.both, found.same) == (4, 2)
    assert found.largest is not None
    assert (found.largest.index, found.largest.metric, found.largest.a, found.largest.b) == (2, "validMae", 2, -2)
    assert found.largest.difference == 2


def test_only_metrics_that_both_have_are_compared() -> None:
    a = one_at_a_time(metrics={"validMse": 0.5, "testMse": 1.0})
    found = pair_of(a, two_at_a_time(metrics={"validMse": 0.5})).facts.agreement
    assert (found.both, found.same, found.largest) == (4, 4, None)
    assert pair_of(a, two_at_a_time(metrics={"validMae": 0.5})).facts.agreement.both == 0


def test_of_several_attempts_the_latest_is_compared() -> None:
    again = [*one_at_a_time(outcome=Outcome.CRASHED), *one_at_a_time(attempt=2)]
    found = pair_of(again, two_at_a_time()).facts.agreement
    assert (found.both, found.same, found.outcomes) == (4, 4, ())


def test_trials_that_ended_differently_are_named() -> None:
    b = two_at_a_time()
    b[3] = ran(3, 6, trial=3, outcome=Outcome.HOST_OOM)
    found = pair_of(one_at_a_time(), b).facts.agreement
    assert [(each.index, each.a, each.b) for each in found.outcomes] == [(3, "Succeeded", "HostOOM")]
    assert found.both == 3


def test_a_trial_by_two_workers_is_compared_with_the_same_one_by_one_worker() -> None:
    two_workers = four(workers=2)
    b = [a_record(trial, value=0.25) for trial in expand(two_workers)]
    found = pair_of(one_at_a_time(value=0.5), b, two_workers).facts.agreement
    assert (found.both, found.same) == (4, 0)
    assert found.largest is not None
    assert found.largest.difference == 0.5


def test_a_search_is_not_compared_with_a_scale_test() -> None:
    test = an_experiment(kind="ScaleTest", name="sizes", axes={"multipliers": [1]})
    with pytest.raises(UserError, match="there is a HyperparamSearch and here is a ScaleTest: two searches can be"):
        pair_of([], [], test)


def test_of_several_each_is_held_against_the_first() -> None:
    sides = [
        side(name, four(), Entries(one_at_a_time(value=value))) for name, value in (("x", 3), ("y", 1), ("z", 4))
    ]
    pairs = against_first(sides)
    assert [(pair.letter, pair.a.source, pair.b.source) for pair in pairs] == [("B", "x", "y"), ("C", "x", "z")]
    assert [pair.facts.bests.better for pair in pairs if pair.facts.bests] == ["b", "a"]
    with pytest.raises(UserError, match="at most 26 runs can be compared, A to Z, got 27"):
        against_first(sides * 9)


def test_facts_are_read_back_as_they_were_written() -> None:
    b = two_at_a_time(metrics={"validMse": 0.75})
    b[3] = ran(3, 6, trial=3, outcome=Outcome.HOST_OOM)
    for facts in (pair_of(one_at_a_time(), b).facts, two_scale_tests().facts):
        assert Facts.model_validate_json(facts.model_dump_json(by_alias=True)) == facts


def test_the_frontier_is_the_largest_size_that_each_side_carried_by_worker_count() -> None:
    rows = two_scale_tests().facts.frontier
    assert [(row.workers, row.a, row.b) for row in rows] == [(1, 10, 1), (2, 10, 50)]


def test_what_one_side_alone_carries_is_told_and_what_neither_carries_is_not() -> None:
    found = only_one_carries(two_scale_tests().facts.cells)
    assert [(cell.workers, cell.multiplier) for cell in found] == [(1, 10), (2, 50)]


def test_a_cell_has_time_samples_a_second_and_the_peak_of_its_largest_rank() -> None:
    first, *_, last = two_scale_tests().facts.cells
    assert (first.multiplier, first.workers, last.multiplier, last.workers) == (1, 1, 50, 2)
    assert last.b is not None
    assert (last.b.seconds, last.b.samples_per_second, last.b.peak_bytes) == (4, 800 * 50 * 2 / 3.2, 50 * 2**20)
    assert last.a is not None
    assert (last.a.outcome, last.a.seconds, last.a.samples_per_second) == (Outcome.HOST_OOM, 4, None)


def test_a_side_that_lacks_a_cell_has_none_and_a_skipped_one_has_no_time() -> None:
    experiment, entries = a_scale_test(w1x50=OOM, w2x50=Outcome.SKIPPED)
    skipped = Pair(side("here", experiment, entries), side("there", experiment, Entries(entries.records[:1]))).facts
    assert [cell.b is None for cell in skipped.cells] == [False, *[True] * 5]
    last = skipped.cells[-1].a
    assert last is not None
    assert (last.outcome, last.seconds) == (Outcome.SKIPPED, None)
    assert [(row.workers, row.a, row.b) for row in skipped.frontier] == [(1, 10, 1), (2, 10, None)]


def test_repeats_of_a_cell_must_all_succeed() -> None:
    experiment = an_experiment(kind="ScaleTest", name="sizes", axes={"multipliers": [1]}, repeats=2)
    well = [
        a_record(trial, samples=100, epochs=1, seconds=seconds).model_copy(
            update={"seconds": Seconds(train=seconds, total=seconds)}
        )
        for trial, seconds in zip(expand(experiment), (2.0, 4.0), strict=True)
    ]
    failed = [well[0], a_record(expand(experiment)[1], outcome=OOM, seconds=9.0)]
    (cell,) = Pair(side("here", experiment, Entries(well)), side("there", experiment, Entries(failed))).facts.cells
    assert cell.a is not None
    assert (cell.a.seconds, cell.a.samples_per_second) == (3, 37.5)
    assert cell.b is not None
    assert (cell.b.outcome, cell.b.seconds) == (OOM, 9)
