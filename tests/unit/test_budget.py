"""What ends a search before all its points are tried, on small ledgers, and in whatever order records come."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.experiment.budget import Ended, Spending
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, Seconds
from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.summary import summarize
from unit.builders import START, a_record, an_experiment

LAYERS = [{"name": "model.layers", "choices": [1, 2, 3, 4, 5, 6]}]
POD = {"resources": {"requests": {"cpu": "500m", "memory": "2Gi"}}}
FAILED, STOPPED = Outcome.CRASHED, Outcome.STOPPED


def a_search(*, plateau: int | None = None, target: float | None = None, **spec: Any) -> HyperparamSearch:
    """A search of six points with a budget; keywords are further fields of its spec."""
    budget = {"plateau": plateau, "target": target} | spec.pop("budget", {})
    given = {name: value for name, value in budget.items() if value is not None}
    experiment = an_experiment(**{"parameters": LAYERS, "budget": given} | spec)
    assert isinstance(experiment, HyperparamSearch)
    return experiment


def told(search: HyperparamSearch, records: Sequence[Record], **now: int) -> Ended | None:
    trials, spending = {trial.id: trial for trial in expand(search)}, Spending(search)
    for record in records:
        spending.add(trials[record.id], record)
    return spending.ended(**now)


def ledger(search: HyperparamSearch, *values: float | Outcome, **fields: Any) -> list[Record]:
    """Records of the first trials, which end one after another: an objective, or how a trial ended."""
    return [
        a_record(trial, **({"outcome": value} if isinstance(value, Outcome) else {"value": value}), **fields)
        for trial, value in zip(expand(search), values, strict=False)
    ]


def spanning(search: HyperparamSearch, *spans: tuple[float, float]) -> list[Record]:
    """Records of trials that ran in these spans, in seconds."""
    return [
        a_record(
            trial,
            seconds=end - begin,
            started_at=START + round(1000 * begin),
            finished_at=START + round(1000 * end),
        )
        for trial, (begin, end) in zip(expand(search), spans, strict=False)
    ]


def test_a_search_without_a_budget_goes_on() -> None:
    search = a_search()
    assert told(search, ledger(search, 0.5, FAILED, 0.1)) is None
    assert told(search, []) is None


def test_a_target_is_reached_by_the_first_point_that_is_as_good() -> None:
    search = a_search(target=0.25)
    assert told(search, ledger(search, 0.5, FAILED, 0.26)) is None
    reached = Ended("Target", "spec.budget.target 0.25 is reached by trial 2 with 0.25.")
    assert told(search, ledger(search, 0.5, FAILED, 0.25, 0.1)) == reached


def test_a_target_of_what_is_to_be_large_is_reached_from_below() -> None:
    search = a_search(target=0.9, objective={"metric": "validMse", "direction": "Maximize"})
    assert told(search, ledger(search, 0.5, 0.89)) is None
    assert told(search, ledger(search, 0.5, 0.912)) == Ended(
        "Target", "spec.budget.target 0.9 is reached by trial 1 with 0.912."
    )


def test_a_target_is_about_the_mean_of_all_repeats() -> None:
    search = a_search(target=0.2, repeats=2)
    records = ledger(search, 0.1, 0.4, 0.1, 0.2)
    assert told(search, records[:3]) is None
    assert told(search, records) == Ended("Target", "spec.budget.target 0.2 is reached by trial 2 with 0.15.")
    assert told(search, [*records[:3], a_record(expand(search)[3], outcome=FAILED)]) is None


def test_what_breaks_a_constraint_reaches_no_target() -> None:
    search = a_search(target=0.2, constraints=[{"metric": "totalSeconds", "atMost": 1}])
    assert told(search, ledger(search, 0.1, seconds=2)) is None
    assert told(search, ledger(search, 0.1, seconds=1)) is not None


PLATEAUS: dict[str, tuple[tuple[float | Outcome, ...], str | None]] = {
    "equal is no better": ((0.3, 0.3, 0.4, 0.3), "up to trial 3, were no better than trial 0 with 0.3."),
    "a better one begins anew": ((0.3, 0.4, 0.5, 0.2, 0.3, 0.4), None),
    "failed and stopped ones are no better": (
        (0.3, FAILED, 0.4, STOPPED), "up to trial 3, were no better than trial 0 with 0.3."
    ),
    "before the first best nothing counts": ((FAILED, FAILED, FAILED, 0.3, 0.4, 0.5), None),
    "that the row was then left changes nothing": (
        (0.3, 0.4, 0.4, 0.4, 0.1), "up to trial 3, were no better than trial 0 with 0.3."
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PLATEAUS)
def test_a_plateau_is_a_row_of_points_that_were_no_better_than_the_best_before(case: str) -> None:
    values, ending = PLATEAUS[case]
    search = a_search(plateau=3)
    found = told(search, ledger(search, *values))
    begin = "spec.budget.plateau 3 is reached: so many points in a row, "
    assert found == (None if ending is None else Ended("Plateau", begin + ending))


def test_points_count_as_they_ended_not_as_they_are_listed() -> None:
    search = a_search(plateau=2)
    first, second, third = ledger(search, 0.1, 0.3, 0.2)
    late = first.model_copy(update={"finished_at": third.finished_at + 1})
    assert told(search, [first, second, third]) is not None
    assert told(search, [late, second, third]) is None


def test_a_constraint_that_is_broken_makes_a_point_no_better() -> None:
    search = a_search(plateau=2, constraints=[{"metric": "validMae", "atMost": 10}])
    assert told(search, ledger(search, 0.2, 0.3, 0.1)) is None
    records = ledger(search, 0.2, 0.3)
    heavy = a_record(expand(search)[2], metrics={"validMse": 0.1, "validMae": 11.0})
    assert told(search, [*records, heavy]) is not None


def test_a_trial_that_is_tried_again_counts_by_its_latest_attempt() -> None:
    search = a_search(plateau=2)
    records = ledger(search, 0.3, FAILED, 0.4)
    assert told(search, records) is not None
    evicted = records[1].model_copy(update={"outcome": Outcome.EVICTED, "final": False})
    assert told(search, [records[0], evicted, records[2]]) is None
    better = a_record(expand(search)[1], value=0.2, attempt=2, finished_at=START + 60_000)
    assert told(search, [*records, better]) is None
    assert told(search, [better, *records]) is None


def test_seconds_are_those_in_which_anything_ran() -> None:
    search = a_search(budget={"maxSeconds": 10})
    assert told(search, spanning(search, (0, 4), (2, 5), (100, 104.9))) is None
    assert told(search, spanning(search, (0, 4), (2, 5), (100, 105), (101, 102))) == Ended(
        "MaxSeconds", "spec.budget.maxSeconds 10 is reached: trials ran for 10.0 s."
    )


def test_what_runs_now_counts_once() -> None:
    search = a_search(budget={"maxSeconds": 10})
    records = spanning(search, (0, 4), (5, 6))
    assert told(search, records, busy_since=START + 2000, now=START + 9999 - 1000) is None  # 0 to 8.999
    assert told(search, records, busy_since=START + 2000, now=START + 9999) is None
    assert told(search, records, busy_since=START + 2000, now=START + 10_000) is not None
    assert told(search, records, busy_since=START + 20_000, now=START + 24_999) is None
    assert told(search, records, busy_since=START + 20_000, now=START + 25_000) is not None
    assert told(search, records, busy_since=START + 9000, now=START + 1000) is None  # the clock was set back


def test_a_cost_is_that_of_the_summary() -> None:
    prices = {"cpuHour": 0.3, "gibHour": 0.07}
    search = a_search(prices=prices, pod=POD, workers=2, budget={"maxCost": 1000})
    records = ledger(search, 0.1, FAILED, 0.3, seconds=1234.567)
    again = records[1].model_copy(update={"attempt": 2, "seconds": Seconds(total=0.1)})
    cost = summarize(search, expand(search), [*records, again]).cost
    assert cost is not None
    enough = a_search(prices=prices, pod=POD, workers=2, budget={"maxCost": cost})
    assert told(enough, [*records, again]) == Ended(
        "MaxCost", f"spec.budget.maxCost {cost:g} is reached: trials cost {cost:.6g}."
    )
    assert told(enough, records) is None


outcomes = st.sampled_from([Outcome.SUCCEEDED, Outcome.SUCCEEDED, FAILED, STOPPED, Outcome.EVICTED])
attempts = st.tuples(
    outcomes,
    st.sampled_from([0.1, 0.2, 0.3, 0.4]),
    st.integers(0, 40),  # when it began, in seconds
    st.floats(0.001, 20),  # how long it took
    st.booleans(),
)
ledgers = st.lists(st.lists(attempts, max_size=3), min_size=6, max_size=6)


def recorded(search: HyperparamSearch, ledger: Sequence[Sequence[Any]]) -> list[Record]:
    return [
        a_record(
            trial,
            value=value,
            seconds=seconds,
            outcome=outcome,
            attempt=attempt,
            final=final or attempt == len(of_trial),
            started_at=START + 1000 * began,
        )
        for trial, of_trial in zip(expand(search), ledger, strict=True)
        for attempt, (outcome, value, began, seconds, final) in enumerate(of_trial, 1)
    ]


BUDGETS = ({"plateau": 2}, {"target": 0.2}, {"maxSeconds": 60}, {"maxCost": 0.02})


@settings(max_examples=150)
@given(ledger=ledgers, shuffle=st.randoms(use_true_random=False), budget=st.sampled_from(BUDGETS))
def test_the_order_of_records_makes_no_difference(ledger: Any, shuffle: Any, budget: dict[str, float]) -> None:
    points = [{"name": "model.layers", "choices": [1, 2, 3]}]
    search = a_search(parameters=points, repeats=2, budget=budget, prices={"cpuHour": 1}, pod=POD)
    records = recorded(search, ledger)
    shuffled = list(records)
    shuffle.shuffle(shuffled)
    assert told(search, records) == told(search, shuffled)
    # Also where it was asked after every one.
    trials, spending = {trial.id: trial for trial in expand(search)}, Spending(search)
    for record in shuffled:
        spending.add(trials[record.id], record)
        spending.ended()
    assert spending.ended() == told(search, records)


@settings(max_examples=100)
@given(ledger=ledgers, since=st.integers(0, 60), lasts=st.integers(1, 30))
def test_the_seconds_that_count_are_the_milliseconds_in_which_something_ran(
    ledger: Any, since: int, lasts: int
) -> None:
    search = a_search(budget={"maxSeconds": 1})
    records = recorded(search, ledger)
    moments: set[int] = set(range(START + 1000 * since, START + 1000 * (since + lasts)))
    for record in records:
        moments.update(range(record.started_at, record.finished_at))
    found = told(search, records, busy_since=START + 1000 * since, now=START + 1000 * (since + lasts))
    assert found is not None
    assert found.sentence.endswith(f"trials ran for {len(moments) / 1000:.1f} s.")
