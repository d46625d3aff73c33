"""What a ledger says, worked out by hand on small ones."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from trainer.experiment.baseline import figures
from trainer.experiment.best import objective_value
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Memory, Record, Seconds
from trainer.experiment.spec import Experiment
from trainer.experiment.summary import Summary, summarize
from trainer.experiment.timing import most_at_once, wall_seconds
from unit.builders import a_record, an_experiment, four, ran

FAILED = Outcome.CRASHED
PAIR = [{"name": "model.layers", "choices": [1, 2]}]


def ledger(experiment: Experiment, *values: float | Outcome | None, **fields: Any) -> list[Record]:
    """A record for each trial: its objective, how it failed, or None for no record at all."""
    return [
        a_record(trial, **({"outcome": value} if isinstance(value, Outcome) else {"value": value}), **fields)
        for trial, value in zip(expand(experiment), values, strict=True)
        if value is not None
    ]


def summary_of(experiment: Experiment, records: Sequence[Record]) -> Summary:
    return summarize(experiment, expand(experiment), records)


def test_trials_are_counted_by_outcome() -> None:
    experiment = an_experiment()
    oom = Outcome.HOST_OOM
    records = ledger(experiment, 0.3, 0.1, FAILED, oom, oom, Outcome.SKIPPED, *[None] * 12)
    counts = summary_of(experiment, records).counts
    assert (counts.total, counts.done, counts.succeeded, counts.failed, counts.skipped) == (18, 6, 2, 3, 1)
    assert counts.outcomes == {"Crashed": 1, "HostOOM": 2, "Skipped": 1, "Succeeded": 2}


def test_skipped_trials_are_neither_successes_nor_failures() -> None:
    records = ledger(four(), 0.3, FAILED, Outcome.SKIPPED, Outcome.SKIPPED)
    assert summary_of(four(), records).success_rate == 0.5


def test_stopped_trials_are_neither_successes_nor_failures() -> None:
    experiment = four(maxFailedTrials=0)
    found = summary_of(experiment, ledger(experiment, 0.3, Outcome.STOPPED, Outcome.STOPPED, Outcome.STOPPED))
    assert (found.counts.done, found.counts.failed, found.counts.stopped) == (4, 0, 3)
    assert (found.success_rate, found.state) == (1.0, "Succeeded")


def test_the_total_of_a_learning_search_is_what_it_will_have() -> None:
    experiment = an_experiment(parameters=PAIR, algorithm="Random", trials=2, repeats=2)
    records = ledger(experiment, 0.1, 0.2, 0.3, 0.4)
    assert summarize(experiment, expand(experiment), records).counts.total == 4
    found = summarize(experiment, expand(experiment), records, planned=5)
    assert (found.counts.total, found.counts.done, found.state) == (10, 4, "Incomplete")
    assert summarize(experiment, expand(experiment), records, planned=1).counts.total == 4


def test_a_search_that_its_budget_ended_has_succeeded_though_trials_are_missing() -> None:
    experiment = four(budget={"target": 0.2})
    assert summary_of(experiment, ledger(experiment, 0.3, None, None, None)).state == "Incomplete"
    found = summary_of(experiment, ledger(experiment, 0.3, 0.1, None, None))
    assert found.state == "Succeeded"
    assert found.ended_by == "spec.budget.target 0.2 is reached by trial 1 with 0.1."
    seconds = four(budget={"maxSeconds": 2})
    assert summary_of(seconds, ledger(seconds, FAILED, None, None, None)).state == "Failed"


MEMORY = {"metric": "peakMemoryBytes", "atMost": 2e9}


def with_memory(record: Record, peak: int) -> Record:
    return record.model_copy(update={"memory": (Memory(peak_bytes=peak, mean_bytes=peak),)})


def test_a_point_that_breaks_a_constraint_is_never_best_and_that_is_said() -> None:
    experiment = four(constraints=[MEMORY])
    records = ledger(experiment, 0.3, 0.1, 0.2, 0.4)
    records[1] = with_memory(records[1], 2_400_000_000)
    found = summary_of(experiment, records)
    assert found.best is not None
    assert (found.best.index, found.best.value) == (2, 0.2)
    (said,) = found.caveats
    assert said == (
        "The best that keeps to spec.constraints is named; trial 1 has 0.1 and breaks peakMemoryBytes at most 2e+09 "
        "with 2.4e+09."
    )
    records[1] = with_memory(ledger(experiment, 0.3, 0.5, 0.2, 0.4)[1], 2_400_000_000)
    assert summary_of(experiment, records).caveats == (), "it would not be the best anyway"


def test_where_every_point_breaks_a_constraint_there_is_no_best() -> None:
    experiment = four(constraints=[{"metric": "validMae", "atLeast": 100}, {"metric": "validR2", "atMost": 1}])
    found = summary_of(experiment, ledger(experiment, 0.3, 0.1, None, None))
    assert (found.best, found.leaders, found.course) == (None, (), ())
    (said,) = found.caveats
    assert said == (
        "Every point that was measured breaks one of spec.constraints, so there is no best; trial 1 has 0.1 and "
        "breaks validMae at least 100 with 4."
    )


def test_a_constraint_is_about_all_repeats() -> None:
    experiment = four(repeats=2, constraints=[{"metric": "totalSeconds", "atMost": 2}])
    records = ledger(experiment, 0.1, 0.1, 0.3, 0.3, None, None, None, None)
    records[0] = records[0].model_copy(update={"seconds": Seconds(total=2.5)})
    found = summary_of(experiment, records)
    assert found.best is not None
    assert found.best.index == 2
    assert "trial 0 has 0.1 and breaks totalSeconds at most 2 with 2.25." in found.caveats[0]


def test_an_unreported_figure_breaks_its_constraint() -> None:
    experiment = four(constraints=[{"metric": "validR2", "atMost": 1}])
    assert (
        "breaks validR2 at most 1 without having told it."
        in summary_of(experiment, ledger(experiment, 0.3, None, None, None)).caveats[0]
    )


def test_an_empty_ledger_says_nothing() -> None:
    summary = summary_of(four(), [])
    assert summary.counts.done == 0
    assert summary.state == "Incomplete"
    assert (summary.success_rate, summary.best, summary.timing, summary.comparison) == (None, None, None, None)


def test_a_trial_that_will_be_tried_again_is_not_done() -> None:
    records = ledger(four(), 0.3, 0.1, 0.2, Outcome.EVICTED)
    records[3] = records[3].model_copy(update={"final": False})
    summary = summary_of(four(), records)
    assert (summary.counts.done, summary.counts.failed, summary.state) == (3, 0, "Incomplete")


STATES: dict[str, tuple[Experiment, tuple[float | Outcome | None, ...], str]] = {
    "all succeeded": (four(), (0.1, 0.2, 0.3, 0.4), "Succeeded"),
    "one missing": (four(), (0.1, 0.2, 0.3, None), "Incomplete"),
    "as many failed as may": (four(maxFailedTrials=2), (0.1, 0.2, FAILED, FAILED), "Succeeded"),
    "more failed than may": (four(maxFailedTrials=1), (0.1, FAILED, FAILED, None), "Failed"),
    "all failed though all may": (four(maxFailedTrials=4), (FAILED,) * 4, "Failed"),
    "a scale test is there to find failures": (
        an_experiment(kind="ScaleTest", maxFailedTrials=0),
        (0.1, 0.1, Outcome.HOST_OOM, Outcome.SKIPPED, Outcome.SKIPPED),
        "Succeeded",
    ),
    "a scale test without any success": (
        an_experiment(kind="ScaleTest"),
        (Outcome.HOST_OOM, *[Outcome.SKIPPED] * 4),
        "Failed",
    ),
}


@pytest.mark.parametrize(("experiment", "values", "state"), STATES.values(), ids=STATES)
def test_the_state_of(experiment: Experiment, values: tuple[float | Outcome | None, ...], state: str) -> None:
    assert summary_of(experiment, ledger(experiment, *values)).state == state


BEST: dict[str, tuple[dict[str, Any], tuple[float | Outcome | None, ...], int | None]] = {
    "the smallest": ({}, (0.3, 0.1, 0.2, 0.4), 1),
    "the largest, if that is asked for": (
        {"objective": {"metric": "validMse", "direction": "Maximize"}},
        (0.3, 0.1, 0.2, 0.4),
        3,
    ),
    "of equals the one listed first": ({}, (0.3, 0.1, 0.1, 0.1), 1),
    "zero and minus zero are equals": ({}, (0.5, 0.0, -0.0, 0.0), 1),
    "never one that failed": ({}, (FAILED, Outcome.DIVERGED, 0.9, None), 2),
    "none where none succeeded": ({}, (FAILED, Outcome.DIVERGED, Outcome.SKIPPED, None), None),
}


@pytest.mark.parametrize(("spec", "values", "index"), BEST.values(), ids=BEST)
def test_the_best_is(spec: dict[str, Any], values: tuple[float | Outcome | None, ...], index: int | None) -> None:
    best = summary_of(four(**spec), ledger(four(**spec), *values)).best
    assert (best and best.index) == index
    if best is not None:
        assert best.value == values[best.index]
        assert best.parameters == {"model.layers": best.index + 1}
        assert (best.metric, best.repeats, best.deviation) == ("validMse", 1, None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_best(value: float) -> None:
    records = ledger(four(), 0.3, 0.1, 0.2, 0.4)
    # No record holds such a value once it is checked; a summary must not depend on that.
    records[0] = records[0].model_copy(update={"metrics": {"validMse": value}})
    best = summary_of(four(), records).best
    assert best is not None
    assert best.index == 1


@pytest.mark.parametrize("metrics", [{}, {"validMae": 0.0}])
def test_a_success_without_the_objective_is_not_best(metrics: dict[str, float]) -> None:
    records = ledger(four(), 0.3, 0.1, None, None)
    records[1] = records[1].model_copy(update={"metrics": metrics})
    best = summary_of(four(), records).best
    assert best is not None
    assert best.index == 0


def test_metrics_know_which_way_is_better() -> None:
    experiment = four(objective={"metric": "validR2"})
    records = ledger(experiment, 0.3, 0.1, 0.2, 0.4)
    records = [record.model_copy(update={"metrics": {"validR2": record.metrics["validMse"]}}) for record in records]
    best = summary_of(experiment, records).best
    assert best is not None
    assert (best.index, best.direction, best.value) == (3, "Maximize", 0.4)


@pytest.mark.parametrize(("metric", "value"), [("dataSeconds", 2), ("trainSeconds", 3), ("totalSeconds", 6)])
def test_a_time_can_be_the_objective(metric: str, value: float) -> None:
    record = a_record().model_copy(update={"seconds": Seconds(start=1, data=2, train=3, total=6)})
    assert objective_value(record, metric) == value


def test_the_best_of_repeats_is_by_their_mean() -> None:
    experiment = four(repeats=2)
    best = summary_of(experiment, ledger(experiment, 0.1, 0.5, 0.2, 0.3, 0.0, FAILED, 0.0, None)).best
    assert best is not None
    assert (best.index, best.value, best.repeats) == (2, 0.25, 2)
    assert best.deviation == pytest.approx(math.sqrt(0.005))
    assert best.parameters == {"model.layers": 2}


def test_a_point_counts_only_with_all_its_repeats() -> None:
    experiment = four(repeats=2)
    assert summary_of(experiment, ledger(experiment, 0.1, None, 0.2, FAILED, None, None, None, None)).best is None


def test_a_trainer_that_reports_no_samples_has_cells_and_no_scaling() -> None:
    experiment = an_experiment(kind="ScaleTest", axes={"multipliers": [1, 10], "workers": [1, 2]})
    trials = expand(experiment)
    found = summarize(experiment, trials, [a_record(trial, samples=0, epochs=0) for trial in trials])
    assert found.scale is not None
    assert len(found.scale.cells) == 4
    assert found.scale.scaling == ()
    assert found.state == "Succeeded"


def test_a_scale_test_has_no_best() -> None:
    experiment = an_experiment(kind="ScaleTest")
    assert summary_of(experiment, ledger(experiment, 1, 2, 3, 4, 5)).best is None


def test_the_latest_attempt_counts() -> None:
    first = ran(0, 2, value=0.1, attempt=1)
    again = ran(3, 4, outcome=FAILED, attempt=2)
    summary = summary_of(four(), [again, first])
    assert summary.best is None
    assert summary.counts.outcomes == {"Crashed": 1}


def test_records_of_other_trials_are_passed_over() -> None:
    others = ledger(four(training={"train": {"epochs": 3}}), 0.0, 0.0, 0.0, 0.0)
    mine = ledger(four(), 0.3, 0.1, FAILED, None)
    assert summary_of(four(), [*others, *mine]) == summary_of(four(), mine)
    assert figures(four(), expand(four()), [*others, *mine]) == figures(four(), expand(four()), mine)


OVERLAPS: dict[str, tuple[list[tuple[float, float]], int]] = {
    "none": ([], 0),
    "one": ([(0, 2)], 1),
    "one after another": ([(0, 2), (2, 4), (4, 6)], 1),
    "two at once": ([(0, 2), (1, 3), (3, 4)], 2),
    "three at once for a moment": ([(0, 10), (1, 9), (4, 5)], 3),
    "many short ones beside a long one": ([(0, 10), (1, 2), (2, 3), (3, 4)], 2),
    "two that took no time, at one moment": ([(1, 1), (1, 1)], 2),
    "all at one moment": ([(0, 1)] * 5, 5),
}


@pytest.mark.parametrize(("spans", "most"), OVERLAPS.values(), ids=OVERLAPS)
def test_the_most_trials_at_once(spans: list[tuple[float, float]], most: int) -> None:
    assert most_at_once([ran(start, end) for start, end in spans]) == most


def test_a_skipped_trial_takes_no_time_and_no_slot() -> None:
    records = [ran(0, 2), ran(0, 9, trial=1, outcome=Outcome.SKIPPED)]
    timing = summary_of(four(), records).timing
    assert timing is not None
    assert (timing.wall, timing.trials, timing.mean_trial, timing.most_at_once) == (2, 2, 2, 1)


def test_the_wall_time_runs_from_acceptance_to_the_last_end() -> None:
    assert wall_seconds([ran(5, 6, accepted=1), ran(2, 11, accepted=1)]) == 10


def test_a_pause_between_two_runs_is_left_out() -> None:
    first = [ran(1, 4, accepted=0), ran(4, 6, accepted=0, trial=1)]
    second = [ran(101, 104, accepted=100, trial=2), ran(102, 109, accepted=100, trial=3)]
    assert wall_seconds([*second, *first]) == 6 + 9
    timing = summary_of(four(), [*first, *second]).timing
    assert timing is not None
    assert (timing.wall, timing.trials, timing.mean_trial, timing.most_at_once) == (15, 15, 3.75, 2)


def test_two_acceptances_that_overlap_are_counted_once() -> None:
    assert wall_seconds([ran(1, 10, accepted=0), ran(6, 14, accepted=5)]) == 14
    assert wall_seconds([ran(1, 10, accepted=0), ran(6, 8, accepted=5)]) == 10


def test_an_attempt_that_was_superseded_still_took_its_time() -> None:
    lost = ran(0, 8, attempt=1, outcome=Outcome.NODE_LOST)
    again = ran(101, 103, accepted=100, attempt=2)
    beside = ran(1, 3, trial=1)
    timing = summary_of(four(), [lost, again, beside]).timing
    assert timing is not None
    assert (timing.wall, timing.most_at_once) == (8 + 3, 2)
    assert (timing.trials, timing.mean_trial) == (4, 2)
