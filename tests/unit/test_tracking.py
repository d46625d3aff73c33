"""What MLflow is told of records, and that each trial is told once, whatever fails or is killed on the way."""

import json
import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trainer.experiment.best import Best
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import STEP, Record
from trainer.tracking.address import from_environment
from trainer.tracking.client import Failure, Point
from trainer.tracking.runs import TrackedRun, metric_name, of_experiment, of_record
from trainer.tracking.teller import Teller, Wanted, no_curve
from unit.builders import START, a_record, an_experiment
from unit.fakemlflow import FakeMlflow, KilledMidway

SEARCH = an_experiment()
TRIALS = expand(SEARCH)
PARENT = of_experiment(SEARCH, START)
RUN = "5a1bd0a2-0000-0000-0000-000000000000"


def a_curve(length: int = 3) -> Callable[[], Sequence[Point]]:
    return lambda: [Point("loss", 1.0 / (step + 1), START + step, step) for step in range(length)]


def wanted(records: Sequence[Record], curve: Callable[[], Sequence[Point]] = no_curve) -> list[Wanted]:
    return [(of_record(record, SEARCH), curve) for record in records]


def a_teller(server: FakeMlflow) -> Teller:
    return Teller(server, "search", RUN)  # type: ignore[arg-type]


def tell(server: FakeMlflow, *what: Wanted, teller: Teller | None = None, parent: TrackedRun = PARENT) -> Teller:
    teller = teller or a_teller(server)
    told = teller.tell(parent, what, lambda: None)
    assert not told.refused
    return teller


# --- what is told


def test_a_trial_is_told_with_what_its_record_says() -> None:
    record = a_record(TRIALS[4], value=0.25, error="", evidence={STEP: 7})
    run = of_record(record, SEARCH)
    assert (run.name, run.status, run.started, run.ended) == (
        "trial 4", "FINISHED", record.started_at, record.finished_at,
    )  # fmt: skip
    assert run.params == {name: json.dumps(value) for name, value in record.parameters.items()}
    assert record.metrics.items() <= run.metrics.items()
    assert (run.metrics["totalSeconds"], run.metrics["peakMemoryBytes"]) == (2.0, 412 * 2**20)
    assert run.step == 7
    assert run.tags["trialrun.outcome"] == "Succeeded"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (each, {"Succeeded": "FINISHED", "Stopped": "KILLED", "Skipped": "KILLED"}.get(each, "FAILED"))
        for each in Outcome
    ],
)
def test_every_outcome_becomes_a_status_of_mlflows(outcome: Outcome, status: str) -> None:
    error = "login with password=hunter22 failed " + "x" * 20_000
    run = of_record(a_record(outcome=outcome, error=error), SEARCH)
    assert run.status == status
    assert "hunter22" not in run.tags["trialrun.error"]
    assert len(run.tags["trialrun.error"]) <= 1000


def test_a_trial_that_was_left_out_has_a_start() -> None:
    skipped = a_record(outcome=Outcome.SKIPPED, started_at=0, finished_at=START + 5)
    assert (of_record(skipped, SEARCH).started, of_record(skipped, SEARCH).ended) == (START + 5, START + 5)


def test_a_cell_is_told_with_its_workers() -> None:
    test = an_experiment(kind="ScaleTest", axes={"multipliers": [1, 10], "workers": [2]})
    run = of_record(a_record(expand(test)[1]), test)
    assert run.params == {"data.multiplier": "10", "workers": "2"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("val/loss", "val/loss"), ("val//loss", "val::loss"), ("loss/", "loss:"), ("a/./b", "a:.:b"),
        ("a/../b", "a:..:b"), ("/a", ":a"), ("a\n<b>", "a__b_"), ("x" * 300, "x" * 250),
    ],
)  # fmt: skip
def test_names_of_metrics_are_mlflows_where_it_takes_them(ours: str, theirs: str) -> None:
    assert metric_name(ours) == theirs


def test_the_experiment_is_told_with_its_best() -> None:
    best = Best(
        index=3, id=TRIALS[3].id, parameters=TRIALS[3].parameters, metric="validMse", direction="Minimize", value=0.5,
        deviation=None, repeats=1,
    ).document()  # fmt: skip
    run = of_experiment(SEARCH, START, state="Succeeded", ended=START + 9, done=18, best=best)
    assert (run.status, run.metrics, run.step) == ("FINISHED", {"best_validMse": 0.5}, 18)
    assert json.loads(run.tags["trialrun.bestParameters"]) == TRIALS[3].parameters
    assert run.params["objective"] == "validMse"


# --- how it is told


def test_what_was_told_is_not_told_again_by_the_same_process_or_another() -> None:
    server = FakeMlflow()
    records = [a_record(trial) for trial in TRIALS]
    teller = tell(server, *wanted(records, a_curve()))
    count = len(server.asked)
    tell(server, *wanted(records, a_curve()), teller=teller)
    assert len(server.asked) == count
    tell(server, *wanted(records, a_curve()))
    assert server.asked[count:] == ["experiment search", "search"]
    assert len(server.by_trial()) == len(TRIALS) + 1


def test_a_growing_curve_is_told_as_it_grows_and_ends_with_the_final_figures() -> None:
    server, record = FakeMlflow(), a_record(TRIALS[0], metrics={"loss": 0.25, "other": 3.0}, epochs=2)
    running = TrackedRun(record.id, "trial 0", "RUNNING", record.started_at, attempt=1)
    teller = tell(server, (running, a_curve(1)))
    tell(server, (running, a_curve(3)), teller=teller)
    assert server.by_trial()[record.id]["info"]["status"] == "RUNNING"
    tell(server, *wanted([record], a_curve(4)), teller=teller)
    assert server.curve(record.id, "loss") == [(0, 1.0), (1, 1 / 2), (2, 1 / 3), (3, 1 / 4)], "that is the final one"
    assert server.curve(record.id, "other") == [(3, 3.0)]


def test_a_final_figure_that_is_another_than_the_last_of_the_curve_is_the_last_for_mlflow() -> None:
    server, record = FakeMlflow(), a_record(TRIALS[0], metrics={"loss": 0.5}, epochs=3)
    tell(server, *wanted([record], a_curve(3)))
    assert server.metrics(record.id)["loss"] == 0.5
    assert server.curve(record.id, "loss") == [(0, 1.0), (1, 1 / 2), (2, 1 / 3), (3, 0.5)]


def test_a_further_attempt_takes_the_place_of_the_one_before_with_nothing_of_it() -> None:
    server = FakeMlflow()
    failed = a_record(TRIALS[0], outcome=Outcome.CRASHED, metrics={"loss": 9.0}, epochs=100)
    teller = tell(server, *wanted([failed], a_curve(9)))
    again = a_record(TRIALS[0], attempt=2, started_at=START + 10_000, metrics={"loss": 1 / 3}, epochs=2)
    tell(server, *wanted([again], a_curve(3)), teller=teller)
    assert server.curve(failed.id, "loss") == [(0, 1.0), (1, 1 / 2), (2, 1 / 3)]
    tell(server, *wanted([failed], a_curve(9)))
    assert server.by_trial()[failed.id]["tags"]["trialrun.attempt"] == "2", "another knew less"


def test_points_that_are_no_numbers_are_told_once() -> None:
    server, record = FakeMlflow(), a_record(TRIALS[0])
    curve = [Point("loss", math.nan, START, 0), Point("up", math.inf, START, 0)]
    running = TrackedRun(record.id, "trial 0", "RUNNING", record.started_at, attempt=1)
    tell(server, (running, lambda: curve))
    tell(server, *wanted([record], lambda: curve))
    assert [len(server.curve(record.id, name)) for name in ("loss", "up")] == [1, 1]


def test_a_trial_that_mlflow_refuses_keeps_no_other_waiting() -> None:
    server = FakeMlflow()
    server.refuses = TRIALS[1].id
    told = a_teller(server).tell(PARENT, wanted([a_record(trial) for trial in TRIALS[:4]]), lambda: None)
    assert told.refused == {TRIALS[1].id: "it answered 400 (no)"}
    assert told.right == 4
    assert server.by_trial().keys() == {"", TRIALS[0].id, TRIALS[2].id, TRIALS[3].id}


def test_runs_that_someone_deleted_come_back() -> None:
    server, records = FakeMlflow(), [a_record(trial) for trial in TRIALS[:3]]
    teller = tell(server, *wanted(records))
    for each in list(server.active())[:2]:  # the experiment's, and a trial's
        server.delete(each["info"]["run_id"])
    changed = [a_record(trial, value=7.0) for trial in TRIALS[:3]]
    tell(server, *wanted(changed), parent=of_experiment(SEARCH, START, state="Failed", ended=START), teller=teller)
    tell(server, *wanted(changed), parent=of_experiment(SEARCH, START, state="Failed", ended=START))
    parent = server.by_trial().pop("")["info"]["run_id"]
    assert len(server.by_trial()) == 4
    others = [each["tags"]["mlflow.parentRunId"] for trial, each in server.by_trial().items() if trial]
    assert others == [parent] * 3


def test_where_of_two_runs_the_one_stays_that_has_less_it_is_told_the_rest() -> None:
    server, record = FakeMlflow(), a_record(TRIALS[0])
    teller = tell(server, *wanted([record], a_curve()))
    has_all = server.by_trial()[record.id]
    late = {key: value for key, value in has_all["tags"].items() if key not in ("trialrun.told", "trialrun.outcome")}
    info = has_all["info"] | {
        "run_id": "",
        "status": "RUNNING",
    }  # a request of someone's who was killed; first by its id
    server.all[""] = {"info": info, "tags": late, "params": {}, "metrics": {}}
    teller.check()
    assert teller.lacking() == [record.id]
    tell(server, *wanted([record], a_curve()), teller=teller)
    assert not teller.lacking()
    assert record.metrics.items() <= server.metrics(record.id).items()
    assert server.by_trial()[record.id]["info"]["status"] == "FINISHED"


@given(some.integers(0, 10**6))
def test_each_trial_is_told_once_whatever_fails_or_is_killed_on_the_way(seed: int) -> None:
    chance, server = random.Random(seed), FakeMlflow()
    records = [a_record(trial, value=trial.index / 3) for trial in TRIALS[:5]]
    teller = a_teller(server)
    for _ in range(10):
        at = len(server.asked) + chance.randrange(12)
        error = chance.choice(
            [KilledMidway(), Failure("no answer"), Failure("it answered 500", 500, "INTERNAL_ERROR")]
        )
        server.fails[at] = error, chance.random() < 0.5
        if chance.random() < 0.3:  # an attempt follows
            trial = chance.randrange(5)
            records[trial] = records[trial].model_copy(
                update={"attempt": records[trial].attempt + 1, "started_at": records[trial].started_at + 1}
            )
        try:
            teller.tell(PARENT, wanted(records, a_curve()), lambda: None)
        except Failure:
            pass
        except KilledMidway:
            teller = a_teller(server)
    server.fails.clear()
    tell(server, *wanted(records, a_curve()), teller=teller)
    if teller.unsure:
        teller.check()
    lacking = teller.lacking()
    tell(server, *wanted([record for record in records if record.id in lacking], a_curve()), teller=teller)
    assert server.by_trial().keys() == {"", *(record.id for record in records)}
    for record in records:
        assert record.metrics.items() <= server.metrics(record.id).items()
        assert server.curve(record.id, "loss") == [(0, 1.0), (1, 1 / 2), (2, 1 / 3)]
        assert server.by_trial()[record.id]["tags"]["trialrun.attempt"] == str(record.attempt)


@given(some.integers(0, 10**6))
def test_two_that_tell_at_once_come_to_one_run_for_each_trial(seed: int) -> None:
    chance, server = random.Random(seed), FakeMlflow()
    records = [a_record(trial) for trial in TRIALS[:4]]
    both = [a_teller(server), a_teller(server)]
    for each in both:
        each.check()  # neither knows of the other's
    for _ in range(6):
        tell(server, *wanted(chance.sample(records, 2)), teller=chance.choice(both))
    for each in (*both, *both):
        each.check()
        tell(server, *wanted(records), teller=each)
    assert server.by_trial().keys() == {"", *(record.id for record in records)}


# --- where


def test_the_address_and_the_credentials_are_apart() -> None:
    address = from_environment({"MLFLOW_TRACKING_URI": "https://mary:p%40ss@host:8443/base/"})
    assert address is not None
    assert address.url == "https://host:8443/base"
    assert address.authorization == "Basic bWFyeTpwQHNz"
    assert "p@ss" not in repr(address)
    assert "bWFyeTpwQHNz" not in repr(address)
    assert address.hidden("p@ss, p%40ss, bWFyeTpwQHNz") == "***, ***, ***"


@pytest.mark.parametrize(
    ("given_", "authorization"),
    [
        ({}, ""),
        ({"MLFLOW_TRACKING_USERNAME": "a", "MLFLOW_TRACKING_PASSWORD": "b"}, "Basic YTpi"),
        ({"MLFLOW_TRACKING_TOKEN": "t0"}, "Bearer t0"),
        (
            {"MLFLOW_TRACKING_TOKEN": "t0", "MLFLOW_TRACKING_USERNAME": "a", "MLFLOW_TRACKING_PASSWORD": "b"},
            "Basic YTpi",
        ),
        ({"MLFLOW_TRACKING_TOKEN": "t0", "MLFLOW_TRACKING_USERNAME": "a"}, "Bearer t0"),
    ],
)
def test_a_user_and_a_password_come_before_a_token(given_: dict[str, str], authorization: str) -> None:
    address = from_environment({"MLFLOW_TRACKING_URI": "http://[::1]:5000"} | given_)
    assert address is not None
    assert (address.url, address.authorization) == ("http://[::1]:5000", authorization)
