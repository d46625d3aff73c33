"""What the slots of a run did, and the sentence about what ate the gain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.experiment.comparison import Comparison, remark
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, Seconds, latest
from trainer.experiment.timing import TimeShares, Timing, timing
from unit.builders import ran


def spent(record: Record, **seconds: float) -> Record:
    total = (record.finished_at - record.started_at) / 1000
    return record.model_copy(update={"seconds": Seconds(**({"total": total} | seconds))})


def timing_of(*records: Record) -> Timing:
    found = timing(records, latest(records))
    assert found is not None
    return found


def test_the_split_tells_what_the_slots_did() -> None:
    # Two slots for 10 s: one trial of 8 s, and one of 6 s that began 2 s later.
    one = spent(ran(0, 8, trial=0), start=1, data=0.5, train=6.4)
    two = spent(ran(4, 10, trial=1), start=3, data=1, train=2)
    found = timing_of(one, two)
    assert (found.slots, found.wall) == (2, 10)
    assert found.split is not None
    assert found.split.start == pytest.approx(4 / 20)
    assert found.split.data == pytest.approx(1.5 / 20)
    assert found.split.train == pytest.approx(8.5 / 20), "with what it took to write results"
    assert found.split.queue == pytest.approx(6 / 20)


def test_each_worker_has_a_slot() -> None:
    found = timing_of(spent(ran(0, 10, workers=3), start=2, data=1, train=7))
    assert found.slots == 3
    assert found.split is not None
    assert found.split.model_dump() == pytest.approx({"queue": 0, "start": 0.2, "data": 0.1, "train": 0.7})


def test_one_that_left_no_report_counts_as_training() -> None:
    found = timing_of(spent(ran(0, 10, outcome=Outcome.HOST_OOM), start=2))
    assert found.split is not None
    assert found.split.model_dump() == pytest.approx({"queue": 0, "start": 0.2, "data": 0, "train": 0.8})


times = st.tuples(st.integers(0, 40), st.integers(1, 30), st.floats(0, 1), st.floats(0, 1), st.integers(0, 3))


@given(st.lists(times, min_size=1, max_size=8))
def test_the_shares_add_up_to_one(drawn: list[tuple[int, int, float, float, int]]) -> None:
    records = [
        spent(ran(begin, begin + lasts, trial=trial), start=lasts * start / 2, data=lasts * data / 2)
        for begin, lasts, start, data, trial in drawn
    ]
    split = timing(records, latest(records))
    assert split is not None
    assert split.split is not None
    shares = (split.split.queue, split.split.start, split.split.data, split.split.train)
    assert sum(shares) == pytest.approx(1)
    assert min(shares) >= 0


def a_timing(**shares: float) -> Timing:
    split = TimeShares(**({"queue": 0.1, "start": 0.1, "data": 0.1, "train": 0.7} | shares))
    return Timing(wall=20, trials=40, mean_trial=4, most_at_once=2, slots=2, split=split)


def a_comparison(ratio: float) -> Comparison:
    return Comparison(
        baseline_wall=20 * ratio, elapsed_ratio=ratio, differences=(), slots=2, baseline_slots=1, speedup=ratio,
        efficiency=ratio / 2, train_ratio=1, same_best=True, baseline_cost=None,
    )  # fmt: skip


def test_where_starting_took_longer_than_training_a_sentence_says_so_with_the_figures() -> None:
    said = remark(a_timing(start=0.6, train=0.2), None, on_cluster=True)
    assert said is not None
    assert "Starting trials took more than training them" in said
    assert "Of the 40.0 s that the slots had (2 x 20.0 s): 10% waiting, 60% starting, 10% data, 20% training" in said
    assert "python -m trainer run" in said


def test_where_workers_took_longer_to_meet_than_to_train_fewer_are_advised() -> None:
    said = remark(a_timing(start=0.6, train=0.2).model_copy(update={"most_at_once": 1}), None, on_cluster=True)
    assert said is not None
    assert "Fewer workers" in said


def test_where_nothing_was_gained_a_sentence_says_so_with_the_figures() -> None:
    said = remark(a_timing(), a_comparison(0.8), on_cluster=True)
    assert said is not None
    assert "The search took 20.0 s, the baseline 16.0 s" in said


def test_where_something_was_gained_nothing_is_said() -> None:
    assert remark(a_timing(), a_comparison(1.6), on_cluster=True) is None
    assert remark(a_timing(), None, on_cluster=True) is None
    assert remark(None, None, on_cluster=True) is None
