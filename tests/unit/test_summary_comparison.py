"""What a baseline makes of a ledger, and what holds for any two ledgers."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainer.experiment.baseline import figures, rests_on
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import (
    Environment,
    RankReport,
    Record,
    decode,
    decode_report,
    encode,
    encode_report,
)
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.experiment.summary import Summary, summarize
from trainer.scheduling.workload import one_at_a_time
from unit.builders import START, a_record, four, ran

FAILED = Outcome.CRASHED


def summary_of(experiment: Experiment, records: Sequence[Record], baseline: Sequence[Record] = ()) -> Summary:
    trials = expand(experiment)
    return summarize(experiment, trials, records, figures(experiment, trials, baseline))


def one_by_one(**fields: Any) -> list[Record]:
    return [ran(3 * n, 3 * n + 3, trial=n, **fields) for n in range(4)]


def two_at_a_time(**fields: Any) -> list[Record]:
    return [ran(3 * (n // 2), 3 * (n // 2) + 3, trial=n, **fields) for n in range(4)]


def test_the_speedup_is_what_the_baseline_took_over_what_this_took() -> None:
    comparison = summary_of(four(), two_at_a_time(), one_by_one()).comparison
    assert comparison is not None
    assert (comparison.baseline_wall, comparison.elapsed_ratio, comparison.slots) == (12, 2, 2)
    assert (comparison.speedup, comparison.efficiency, comparison.differences) == (2, 1, ())


@pytest.mark.parametrize(("workers", "baseline_workers", "efficiency"), [(3, 3, 1), (3, 1, 1 / 3)])
def test_slots_are_trials_at_once_times_their_workers_on_both_sides(
    workers: int, baseline_workers: int, efficiency: float
) -> None:
    comparison = summary_of(four(), two_at_a_time(workers=workers), one_by_one(workers=baseline_workers)).comparison
    assert comparison is not None
    assert (comparison.slots, comparison.baseline_slots) == (6, baseline_workers)
    assert comparison.efficiency == pytest.approx(efficiency)


def test_without_a_baseline_there_is_no_comparison() -> None:
    assert summary_of(four(), two_at_a_time()).comparison is None


def run_of(experiment: Experiment, **fields: Any) -> list[Record]:
    """A ledger of the experiment, 3 s a trial, one after another."""
    times = {"accepted_at": START, "seconds": 3.0}
    return [a_record(trial, started_at=START + 3000 * trial.index, **times, **fields) for trial in expand(experiment)]


@pytest.mark.parametrize(
    ("train", "differences"),
    [
        ({}, []),
        ({"batchPer": "Worker"}, ["trials: 4 on both sides, but not the same ones"]),
        ({"learningRateScaling": "Linear"}, ["trials: 4 on both sides, but not the same ones"]),
    ],
)
def test_a_baseline_trains_with_one_worker_what_a_trial_trains_with_two(
    train: dict[str, Any], differences: list[str]
) -> None:
    search = four(workers=2, training={"train": train})
    assert isinstance(search, HyperparamSearch)
    alone = one_at_a_time(search)
    ours, theirs = run_of(search), run_of(alone)
    assert not {record.id for record in ours} & {record.id for record in theirs}
    trials = expand(search)
    baseline = figures(alone, expand(alone), theirs)
    summary = summarize(search, trials, ours, baseline)
    assert summary.comparison is not None
    assert list(summary.comparison.differences) == differences
    assert summary.comparison.slots == 2
    assert summary.comparison.same_best is (None if differences else True)
    # A ledger of it can be imported too.
    assert (figures(search, trials, theirs) == baseline) == (not differences)


@pytest.mark.parametrize(
    ("theirs", "differences"),
    [
        ([{"data": "a" * 12, "validation": "b" * 12}] * 4, []),
        ([{"data": "a" * 12, "validation": "c" * 12}] * 4, ["were validated on"]),
        (
            [{"data": "a" * 12, "validation": "b" * 12}] * 3 + [{"data": "c" * 12, "validation": "b" * 12}],
            ["trained on"],
        ),
        ([{"data": "a" * 12}] * 4, []),
        ([{"data": "c" * 12}] * 3 + [{}], []),
        ([{}] * 4, []),
    ],
)
def test_a_baseline_of_other_data_is_not_compared(theirs: list[dict[str, str]], differences: list[str]) -> None:
    search = four(workers=2)
    assert isinstance(search, HyperparamSearch)
    alone = one_at_a_time(search)
    trials, by_one = expand(search), expand(alone)
    ours = [one.model_copy(update={"evidence": {"data": "a" * 12, "validation": "b" * 12}}) for one in run_of(search)]
    there = [one.model_copy(update={"evidence": told}) for one, told in zip(run_of(alone), theirs, strict=True)]
    rests = rests_on(alone, by_one, there)
    assert rests == rests_on(search, trials, there), "as a ledger that is imported too"
    comparison = summarize(search, trials, ours, figures(alone, by_one, there), rests).comparison
    assert comparison is not None
    assert len(comparison.differences) == len(differences)
    for sentence, what in zip(comparison.differences, differences, strict=True):
        assert sentence.startswith(f"data: trials {what} something else, ")
    assert (comparison.speedup is None) == bool(differences)


def test_what_a_run_rests_on_is_not_told_where_a_trial_failed() -> None:
    search = four()
    told = {"evidence": {"data": "a" * 12}}
    records = [one.model_copy(update=told) for one in run_of(search)]
    assert list(rests_on(search, expand(search), records)) == ["data"]
    records[0] = records[0].model_copy(update={"outcome": Outcome.CRASHED})
    assert rests_on(search, expand(search), records) == {}


def test_other_seeds_are_named() -> None:
    search, other = four(repeats=2), four(repeats=2, training={"train": {"seed": 7}})
    baseline = figures(other, expand(other), run_of(other))
    comparison = summarize(search, expand(search), run_of(search), baseline).comparison
    assert comparison is not None
    assert list(comparison.differences) == ["seeds: 0 to 1 here, 7 to 8 there"]


def test_the_same_failures_on_both_sides_are_no_difference() -> None:
    comparison = summary_of(four(), two_at_a_time(outcome=FAILED), one_by_one(outcome=FAILED)).comparison
    assert comparison is not None
    assert comparison.speedup == 2


def test_contention_shows_in_the_training_seconds() -> None:
    ours = [ran(4 * (n // 2), 4 * (n // 2) + 4, trial=n) for n in range(4)]
    comparison = summary_of(four(), ours, one_by_one()).comparison
    assert comparison is not None
    assert comparison.train_ratio == pytest.approx(4 / 3)


def test_figures_survive_a_termination_message() -> None:
    many = [ran(3 * n, 3 * n + 3, trial=n, environment=Environment(cpu="CPU " * 200 + str(n))) for n in range(4)]
    found = figures(four(), expand(four()), many)
    assert found is not None
    assert len(found.environments) == 4
    message = encode_report(RankReport(error="x" * 5000, run=found.model_copy(update={"environments": ()})))
    assert decode_report(message).run == found.model_copy(update={"environments": ()})
    huge = [each.model_copy(update={"environment": Environment(cpu="CPU " * 300 + str(each.index))}) for each in many]
    cut = decode_report(encode_report(RankReport(run=figures(four(), expand(four()), huge)))).run
    assert cut is not None
    assert len(cut.environments) == 1
    assert (cut.wall, cut.digest) == (found.wall, found.digest)


HERE = Environment(
    image="sha256:1",
    packages={"python": "3.12", "torch": "2.10"},
    cpu="A CPU",
    threads=1,
    cpus=2,
    memory_limit_bytes=2**30,
)

DIFFERENCES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, []),
    "the order in which packages are told": ({"packages": {"torch": "2.10", "python": "3.12"}}, []),
    "the image": ({"image": None}, ["image: sha256:1 here, none there"]),
    "packages": (
        {"packages": {"python": "3.12", "torch": "2.9"}},
        ["packages: python 3.12 torch 2.10 here, python 3.12 torch 2.9 there"],
    ),
    "the CPU": ({"cpu": "Another"}, ["CPU: A CPU here, Another there"]),
    "an unknown CPU": ({"cpu": ""}, ["CPU: A CPU here, unknown there"]),
    "the device": ({"device": "cuda"}, ["device: cpu here, cuda there"]),
    "threads": ({"threads": 4}, ["threads: 1 here, 4 there"]),
    "the CPU limit": ({"cpus": 0.5}, ["CPU limit: 2.0 here, 0.5 there"]),
    "the memory limit": ({"memory_limit_bytes": None}, ["memory limit: 1073741824 here, none there"]),
    "two things": (
        {"threads": 4, "cpu": "Another"},
        ["CPU: A CPU here, Another there", "threads: 1 here, 4 there"],
    ),
}


@pytest.mark.parametrize(("fields", "sentences"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_speedup_is_shown_only_where_both_sides_are_alike_in(fields: dict[str, Any], sentences: list[str]) -> None:
    there = HERE.model_copy(update=fields)
    comparison = summary_of(four(), two_at_a_time(environment=HERE), one_by_one(environment=there)).comparison
    assert comparison is not None
    assert list(comparison.differences) == sentences
    assert comparison.elapsed_ratio == 2
    assert comparison.speedup == (None if sentences else 2)
    assert comparison.efficiency == (None if sentences else 1)


UNLIKE_RUNS: dict[str, tuple[list[Record], list[Record], str]] = {
    "a trial is missing there": (two_at_a_time(), one_by_one()[:3], "trials: 4 here, 3 there"),
    "trials are missing here": (two_at_a_time()[:2], one_by_one(), "trials: 2 here, 4 there"),
    "trials failed": (two_at_a_time(outcome=FAILED), one_by_one(), "outcomes: 4 Crashed here, 4 Succeeded there"),
    "the baseline ran two at once": (
        two_at_a_time(), two_at_a_time(), "baseline: ran 2 trials at once, a baseline runs one",
    ),
    "many CPUs here": (
        [ran(0, 1, trial=n, environment=HERE.model_copy(update={"cpu": f"CPU {n}"})) for n in range(4)],
        one_by_one(environment=HERE),
        "CPU: CPU 0, CPU 1, CPU 2 and 1 more here, A CPU there",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "sentence"), UNLIKE_RUNS.values(), ids=UNLIKE_RUNS)
def test_runs_that_are_not_alike_have_a_ratio_but_no_speedup(
    ours: list[Record], theirs: list[Record], sentence: str
) -> None:
    comparison = summary_of(four(), ours, theirs).comparison
    assert comparison is not None
    assert sentence in comparison.differences
    assert comparison.elapsed_ratio > 0
    assert (comparison.speedup, comparison.efficiency) == (None, None)


record_sets = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([0.1, 0.2, 0.3, Outcome.CRASHED, Outcome.HOST_OOM, Outcome.SKIPPED, Outcome.EVICTED]),
        st.integers(0, 50),
        st.integers(0, 20),
        st.sampled_from([0, 30]),
        st.booleans(),
    ),
    max_size=8,
)


def records_of(drawn: Sequence[tuple[int, float | Outcome, int, int, int, bool]]) -> list[Record]:
    """Records whose attempts are numbered as they come."""
    return [
        ran(
            accepted + start,
            accepted + start + lasted,
            trial=trial,
            accepted=accepted,
            attempt=number,
            final=final,
            **({"outcome": value} if isinstance(value, Outcome) else {"value": value}),
        )
        for number, (trial, value, start, lasted, accepted, final) in enumerate(drawn, start=1)
    ]


# Two attempts at a trial that end at the same moment.
@example([*[(0, 0.1, 0, 0, 0, False)] * 5, (1, 0.1, 18, 20, 0, False), (1, 0.1, 0, 8, 30, True)], [], Random(1))
@given(record_sets, record_sets, st.randoms())
@settings(max_examples=60)
def test_the_order_of_records_does_not_matter(ours: Any, theirs: Any, rng: Any) -> None:
    records, baseline = records_of(ours), records_of(theirs)
    before = summary_of(four(), records, baseline)
    rng.shuffle(records)
    rng.shuffle(baseline)
    assert summary_of(four(), records, baseline) == before


@given(record_sets)
@settings(max_examples=60)
def test_records_read_back_make_the_same_summary(ours: Any) -> None:
    records = records_of(ours)
    before = summary_of(four(), records, one_by_one())
    assert summary_of(four(), [decode(encode(record)) for record in records], one_by_one()) == before
    assert Summary.model_validate_json(before.model_dump_json(by_alias=True)) == before


@given(record_sets)
@settings(max_examples=60)
def test_counts_add_up_and_times_fit_each_other(ours: Any) -> None:
    summary = summary_of(four(), records_of(ours))
    counts = summary.counts
    assert counts.done == counts.succeeded + counts.failed + counts.skipped == sum(counts.outcomes.values())
    assert counts.done <= counts.total
    if summary.timing is not None:
        assert summary.timing.most_at_once >= 1
        assert summary.timing.wall >= 0
