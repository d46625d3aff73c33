"""What the operator tells MLflow: each trial of the ledger once, over kills and beside another; no look waits."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from local.badserver import BadServer
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, decode, latest
from trainer.scheduling.workload import Workload, workload
from trainer.tracking.client import Failure
from trialrun_operator import settings, tracker
from trialrun_operator.child_process import ChildProcess
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import Key
from trialrun_operator.tracker import Tracked, Tracker
from unit.builders import START, a_record, an_experiment
from unit.fakekube import Fault, Killed
from unit.fakemlflow import FakeMlflow, KilledMidway
from unit.lookout import CRASHES, IS_EVICTED, Lookout, a_search, succeeds

KEY = Key("HyperparamSearch", "team-a", "search")
DOWN = Failure("it gave no answer (Connection refused)")


def assert_told(cluster: Lookout, mlflow: FakeMlflow) -> None:
    """MLflow has what the ledger has, each trial once, under its parent."""
    records = latest(cluster.ledger())
    runs = mlflow.by_trial()
    assert runs.keys() == {"", *records}
    for trial, record in records.items():
        run = runs[trial]
        assert record.metrics.items() <= mlflow.metrics(trial).items()
        assert run["tags"]["trialrun.outcome"] == record.outcome
        assert run["tags"]["trialrun.attempt"] == str(record.attempt)
        assert run["tags"]["mlflow.parentRunId"] == runs[""]["info"]["run_id"]
        assert (run["info"]["start_time"], run["info"]["end_time"]) == (record.started_at, record.finished_at)


def test_a_search_is_told_under_its_namespace_and_name() -> None:
    mlflow = FakeMlflow()
    cluster = Lookout(mlflow=mlflow)
    cluster.apply(a_search(3))
    cluster.play(lambda attempt: CRASHES if attempt.startswith("1.") else succeeds())
    assert cluster.condition("Finished")[0] == "True"
    assert mlflow.experiments == ["team-a/search"]
    assert_told(cluster, mlflow)
    runs = mlflow.by_trial()
    assert sorted(run["info"]["status"] for run in runs.values()) == ["FAILED", "FINISHED", "FINISHED", "FINISHED"]
    assert mlflow.metrics("") == {"best_validMse": 1.0}
    asked = len(mlflow.asked)
    cluster.wait(300)
    assert len(mlflow.asked) == asked, "nothing is new"
    cluster.restart()
    cluster.wait(1)
    assert mlflow.asked[asked:] == ["experiment team-a/search", "search"]


def test_an_operator_that_starts_anew_changes_nothing_of_a_search_that_is_over() -> None:
    mlflow = FakeMlflow()
    cluster = Lookout(mlflow=mlflow)
    cluster.apply(a_search(40))  # more than are told at once
    cluster.play()
    assert_told(cluster, mlflow)
    asked = len(mlflow.asked)
    cluster.restart()
    cluster.wait(60)
    assert mlflow.asked[asked:] == ["experiment team-a/search", "search"]


def test_trials_are_told_as_they_are_recorded() -> None:
    mlflow = FakeMlflow()
    cluster = Lookout(mlflow=mlflow)
    cluster.apply(a_search(4, parallelTrials=1))
    cluster.play(seconds=6)
    assert 2 <= len(mlflow.by_trial()) < 5
    assert mlflow.by_trial()[""]["info"]["status"] == "RUNNING"
    assert_told(cluster, mlflow)


def test_an_attempt_that_follows_takes_the_place_of_the_one_before() -> None:
    mlflow = FakeMlflow()
    cluster = Lookout(mlflow=mlflow)
    cluster.apply(a_search(2))
    cluster.play(lambda attempt: IS_EVICTED if attempt == "0.1" else succeeds())
    assert_told(cluster, mlflow)
    assert len(mlflow.all) == 4, "one was deleted"


def test_runs_are_listed_once_however_many_trials_are_told_and_once_more_at_the_end() -> None:
    mlflow = FakeMlflow()
    cluster = Lookout(mlflow=mlflow)
    cluster.apply(a_search(9, parallelTrials=1))
    cluster.play()
    assert_told(cluster, mlflow)
    assert mlflow.asked.count("search") == 2


def test_an_experiment_that_is_deleted_while_mlflow_is_down_is_tried_no_more() -> None:
    mlflow = FakeMlflow()
    cluster = Lookout(mlflow=mlflow)
    cluster.apply(a_search(3))
    mlflow.down = DOWN
    cluster.play()
    cluster.delete()
    cluster.wait(120)
    asked = len(mlflow.asked)
    cluster.wait(600)
    assert len(mlflow.asked) == asked
    assert b"trialrun_tracking_trials_untold 0.0" in cluster.operators[0].metrics.text()


def test_floors_of_a_scale_test_are_no_trials() -> None:
    mlflow = FakeMlflow()
    cluster = Lookout(mlflow=mlflow)
    axes = {"multipliers": [1, 2], "workers": [1]}
    cluster.apply(
        a_search(1, name="cells") | {"kind": "ScaleTest", "spec": {"axes": axes, "cell": {"memoryAboveFloor": "1Gi"}}}
    )
    cluster.play(seconds=30)
    assert any(each.id.startswith("floor") for each in cluster.ledger())
    assert not [trial for trial in mlflow.by_trial() if trial.startswith("floor")]


def test_a_tracker_that_is_down_changes_nothing_but_a_line_and_a_figure(caplog: pytest.LogCaptureFixture) -> None:
    mlflow, without = FakeMlflow(), Lookout()
    mlflow.down = DOWN
    cluster = Lookout(mlflow=mlflow)
    for each in (cluster, without):
        each.apply(a_search(3))
        each.play()
    assert cluster.status() == without.status()
    said = [each.getMessage() for each in caplog.records if "MLflow" in each.getMessage()]
    assert said == [f"{cluster.key}: MLflow was not told: {DOWN}; experiments go on, and it is tried again"]
    (operator,) = cluster.operators
    assert b"trialrun_tracking_trials_untold 3.0" in operator.metrics.text()
    assert len(mlflow.asked) < 12, "ever more rarely"
    mlflow.down = None
    cluster.wait(180)
    assert_told(cluster, mlflow)
    assert b"trialrun_tracking_trials_untold 0.0" in operator.metrics.text()


def test_what_mlflow_refuses_of_one_trial_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    mlflow = FakeMlflow()
    cluster = Lookout(mlflow=mlflow)
    cluster.apply(a_search(3))
    mlflow.refuses = cluster.trials()[1].id
    cluster.play()
    cluster.wait(180)
    assert len(mlflow.by_trial()) == 3
    said = [each.getMessage() for each in caplog.records if "refuses trial" in each.getMessage()]
    assert len(said) == 1


@given(some.integers(0, 10**6))
def test_each_trial_is_told_once_after_ten_kills_of_operators_and_of_what_they_ask(seed: int) -> None:
    chance, mlflow = random.Random(seed), FakeMlflow()
    cluster = Lookout(mlflow=mlflow)
    cluster.another()
    cluster.apply(a_search(6, parallelTrials=2))
    for _ in range(10):
        if chance.random() < 0.5:
            error = chance.choice([KilledMidway(), DOWN])
            mlflow.fails[len(mlflow.asked) + chance.randrange(8)] = error, chance.random() < 0.5
        else:
            asked = chance.choice(["create configmaps", "patch configmaps", "create pytorchjobs"])
            cluster.kube.fails[asked] = [None] * chance.randrange(2) + [Fault(Killed(), done=chance.random() < 0.5)]
        cluster.play(seconds=4)
    mlflow.fails.clear()
    cluster.kube.fails.clear()
    cluster.play(seconds=120)
    for number in range(2):
        cluster.restart(number)
        cluster.wait(1)
    assert len(latest(cluster.ledger())) == 6
    assert_told(cluster, mlflow)


def test_a_look_waits_less_than_ten_milliseconds_a_trial_for_a_tracker_that_hangs(
    monkeypatch: pytest.MonkeyPatch, say: Callable[[str], None]
) -> None:
    """The real process in front of a real server that never answers, and 1,000 trials recorded meanwhile."""
    work = many_trials(1000)
    ledger: dict[str, list[Any]] = {}

    async def test(server: BadServer) -> None:
        telling = Tracker(ChildProcess(tracker.PROGRAM, tracker.PROCESS), Metrics(lambda: 0.0), time.monotonic)
        task = asyncio.create_task(telling.run())
        took, late = [], 0.0
        for trial in work.trials:
            ledger[trial.id] = [a_record(trial)]
            began = time.perf_counter()
            telling.changed(KEY, Tracked("uid", work, ledger, START, None))
            took.append(1000 * (time.perf_counter() - began))
            began = time.perf_counter()
            await asyncio.sleep(0)  # as looks let others run
            late = max(late, 1000 * (time.perf_counter() - began))
        async with asyncio.timeout(60):
            while not server.asked:
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        mean = sum(took) / len(took)
        say(f"  a look waits {mean:.4f} ms a trial, {max(took):.2f} at most; others waited {late:.1f} ms at most")
        assert mean < 10

    with BadServer("hangs") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        asyncio.run(test(server))


class Told:
    """Stands in for the process that tells MLflow; `trials` are those that it was told of, with their attempt."""

    def __init__(self) -> None:
        self.trials: dict[str, int] = {}
        self.lacks: list[str] = []

    async def tell(self, *requests: Mapping[str, Any]) -> None:
        for record in map(decode, requests[0]["records"]):
            self.trials[record.id] = record.attempt

    async def hear(self) -> dict[str, Any]:
        lacking, self.lacks = self.lacks, []
        return {"event": "told", "refused": {}, "lacking": lacking}

    async def end(self) -> None:
        self.trials.clear()


class Counted(dict[str, list[Record]]):
    """A ledger that counts how often one of its runs is looked at."""

    looks = 0

    def __getitem__(self, identity: str) -> list[Record]:
        self.looks += 1
        return super().__getitem__(identity)

    def __iter__(self) -> Iterator[str]:
        for each in super().__iter__():
            self.looks += 1
            yield each

    def __reversed__(self) -> Iterator[str]:  # type: ignore[override]
        for each in super().__reversed__():
            self.looks += 1
            yield each


def many_trials(count: int) -> Workload:
    space = [{"name": "train.learningRate", "range": {"min": 0.1, "max": 1.0}}]
    return workload(an_experiment(parameters=space, algorithm="Random", trials=count))


@pytest.mark.parametrize("at_once", [1, 40, 1000])
def test_what_a_turn_costs_does_not_grow_with_what_was_told(at_once: int) -> None:
    work, ledger, process = many_trials(1000), Counted(), Told()
    telling = Tracker(process, Metrics(lambda: 0.0), lambda: 0.0)
    for i in range(0, 1000, at_once):
        for trial in work.trials[i : i + at_once]:
            dict.__setitem__(ledger, trial.id, [a_record(trial)])
        telling.changed(KEY, Tracked("uid", work, ledger, START, None))
        asyncio.run(telling.work_off())
    assert len(process.trials) == 1000
    assert telling.untold == 0
    assert ledger.looks < 8 * 1000, ledger.looks


@given(some.integers(0, 10**6))
def test_whatever_becomes_of_a_ledger_the_latest_attempt_of_each_trial_is_told(seed: int) -> None:
    chance, work, process = random.Random(seed), many_trials(8), Told()
    telling, ledger, accepted = Tracker(process, Metrics(lambda: 0.0), lambda: 0.0), dict[str, list[Record]](), START

    def add(trial: Trial, *, final: bool) -> None:
        records = ledger.setdefault(trial.id, [])
        outcome = Outcome.SUCCEEDED if final else Outcome.EVICTED
        records.append(a_record(trial, outcome=outcome, final=final, attempt=len(records) + 1))

    for _ in range(30):
        trial = chance.choice(work.trials)
        of_run = ledger.get(trial.id)
        match chance.randrange(6):
            case 0 if of_run:  # its ConfigMap was read again, where another operator may have added to it
                ledger[trial.id] = ledger.pop(trial.id).copy()
                if not of_run[-1].final and chance.random() < 0.5:
                    add(trial, final=True)
            case 1:  # its ConfigMap was deleted
                ledger.pop(trial.id, None)
            case 2 if of_run:
                accepted += 1
                add(trial, final=True)
            case 3:
                process.lacks = [trial.id] if process.trials.pop(trial.id, None) is not None else []
                telling.changed(KEY, Tracked("uid", work, ledger, accepted, {"asked": chance.random()}))
                asyncio.run(telling.work_off())
            case _ if of_run is None or not of_run[-1].final:
                add(trial, final=chance.random() < 0.5)
        if chance.random() < 0.5:
            telling.changed(KEY, Tracked("uid", work, ledger, accepted, None))
            asyncio.run(telling.work_off())
            latest = {identity: records[-1].attempt for identity, records in ledger.items()}
            assert latest.items() <= process.trials.items()
            assert telling.untold == 0


def test_mlflow_is_told_where_the_chart_says_so() -> None:
    assert not settings.from_environment({}).tracking
    assert settings.from_environment({"MLFLOW_TRACKING_URI": "http://mlflow:5000"}).tracking
