"""What users read in the status: conditions that can be waited for, columns, and a table that stays small."""

import json
from typing import Any

import pytest

from trainer.experiment.outcome import ADVICE, Outcome
from trainer.experiment.record import Record
from trainer.experiment.summary import summarize
from trainer.scheduling.workload import Workload
from trialrun_operator import conditions as c
from trialrun_operator import status
from trialrun_operator.backends import BACKENDS
from trialrun_operator.observe import Attempt
from trialrun_operator.plan import plan
from unit.builders import START, a_record
from unit.objects import KEY, UID, a_job, a_running_pod, a_workload, kept

NOW = START + 90_000
WORK = a_workload()


def status_of(
    *records: Record,
    work: Workload = WORK,
    running: int = 0,
    accepted: int | None = START,
    now: int = NOW,
    **more: Any,
) -> dict[str, Any]:
    ledger = {record.id: [record] for record in records}
    attempts = [Attempt(a_job(t), (a_running_pod(t),)) for t in work.trials[len(records) :][:running]]
    found = plan(work, ledger, attempts, accepted=accepted, now=now) if accepted is not None else None
    problem, old = more.get("problem"), more.get("old", {})
    return kept(
        status.status(
            work,
            KEY,
            UID,
            3,
            ledger=ledger,
            plan=found,
            running=found.running if found else frozenset(),
            accepted=accepted,
            problem=problem,
            old=old,
            now=now,
        )
    )


def conditions_of(made: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in made["conditions"]}


def message_of(made: dict[str, Any], kind: str) -> str:
    return str(next(each["message"] for each in made["conditions"] if each["type"] == kind))


def failed(index: int, outcome: Outcome = Outcome.HOST_OOM, **fields: Any) -> Record:
    return a_record(WORK.trials[index], outcome=outcome, **fields)


ALL = [a_record(trial, value=0.5 - trial.index / 100) for trial in WORK.trials]


@pytest.mark.parametrize(
    ("made", "phase", "finished", "succeeded", "progressing"),
    [
        (status_of(accepted=None), "Pending", "False", "Unknown", ("True", c.NOT_STARTED)),
        (status_of(running=4), "Running", "False", "Unknown", ("True", c.RUNNING)),
        (status_of(*ALL), "Succeeded", "True", "True", ("False", c.ALL_TRIALS_DONE)),
        (status_of(*ALL[:-1], failed(17)), "Succeeded", "True", "True", ("False", c.ALL_TRIALS_DONE)),
        (status_of(*(failed(i) for i in range(4)), running=2), "Running", "False", "Unknown", ("True", c.WINDING_UP)),
        (status_of(*(failed(i) for i in range(4))), "Failed", "True", "False", ("False", c.TOO_MANY_FAILURES)),
        (status_of(work=a_workload(suspend=True), accepted=None), "Suspended", "False", "Unknown",
         ("False", c.SUSPENDED)),
        (status_of(accepted=None, problem=c.backend_missing("Auto", BACKENDS)), "Pending", "False", "Unknown",
         ("False", c.BACKEND_MISSING)),
    ],
)  # fmt: skip
def test_phase_and_conditions_tell_where_a_search_stands(
    made: dict[str, Any], phase: str, finished: str, succeeded: str, progressing: tuple[str, str]
) -> None:
    found = conditions_of(made)
    assert made["phase"] == phase
    assert found[c.FINISHED][0] == finished
    assert found[c.SUCCEEDED][0] == succeeded
    assert found[c.PROGRESSING] == progressing
    assert all(each["observedGeneration"] == 3 for each in made["conditions"])


def test_the_columns_of_a_search() -> None:
    made = status_of(*ALL[:12], running=6)
    assert (made["done"], made["running"], made["failed"], made["best"]) == ("12/18", 6, 0, "0.39")


def test_the_columns_of_a_scale_test() -> None:
    work = a_workload(name="scale", kind="ScaleTest")
    made = status_of(
        *(a_record(t) for t in work.trials[:3]), a_record(work.trials[3], outcome=Outcome.HOST_OOM), work=work
    )
    assert (made["done"], made["largest"], made["oom"]) == ("4/5", "50x", 1)


def test_the_summary_is_that_of_the_local_side() -> None:
    made = status_of(*ALL)
    assert made["summary"] == summarize(WORK.experiment, WORK.trials, ALL).document()


def test_a_failed_search_says_what_to_do() -> None:
    made = status_of(*(failed(i) for i in range(4)))
    assert "4 HostOOM" in message_of(made, c.SUCCEEDED)
    assert ADVICE[Outcome.HOST_OOM] in message_of(made, c.SUCCEEDED)


def test_each_failed_trial_of_the_table_has_its_error_and_what_to_do() -> None:
    made = status_of(failed(0, error="rank 0: " + "x" * 900))
    row = made["trials"][0]
    assert row["state"] == "HostOOM"
    assert len(row["error"]) <= 256
    assert row["error"].endswith(ADVICE[Outcome.HOST_OOM])


def test_a_transition_time_moves_only_with_its_condition() -> None:
    first = status_of(*ALL[:3], running=3, now=NOW)
    later = status_of(*ALL[:5], running=3, now=NOW + 60_000, old=first)
    assert [each["lastTransitionTime"] for each in first["conditions"]] == [
        each["lastTransitionTime"] for each in later["conditions"]
    ]
    over = status_of(*ALL, now=NOW + 60_000, old=first)
    moved = [
        a["type"]
        for a, b in zip(first["conditions"], over["conditions"], strict=True)
        if a["lastTransitionTime"] != b["lastTransitionTime"]
    ]
    assert set(moved) == {c.FINISHED, c.SUCCEEDED, c.PROGRESSING}


def test_a_trial_that_is_to_be_run_again_is_not_done() -> None:
    made = status_of(*ALL[:17], failed(17), accepted=START + 1)
    assert (made["done"], made["failed"], made["phase"]) == ("17/18", 0, "Running")


def test_all_mistakes_of_an_invalid_experiment_stand_in_one_condition() -> None:
    made = kept(status.invalid(("spec.a: must be x, got y", "spec.b: is required"), 1, {}, NOW))
    assert made["phase"] == "Invalid"
    assert message_of(made, c.ACCEPTED) == "spec.a: must be x, got y\nspec.b: is required"
    assert conditions_of(made)[c.FINISHED][0] == "True"


def test_the_status_of_thousands_of_trials_stays_small() -> None:
    parameters = [
        {"name": "train.learningRate", "choices": [round(0.001 + i / 1e6, 6) for i in range(60)]},
        {"name": "model.hiddenSize", "choices": list(range(1, 61))},
    ]
    work = a_workload(parameters=parameters)
    records = [
        a_record(trial, outcome=Outcome.CRASHED if trial.index % 3 else Outcome.SUCCEEDED, error="e" * 1000)
        for trial in work.trials
    ]
    made = status_of(*records, work=work)
    assert len(made["trials"]) <= 100
    assert len(json.dumps(made)) < 64 * 1024


def test_a_null_that_the_api_server_left_out_is_no_difference() -> None:
    assert status.same({"a": None, "b": [1.0, {"c": None}]}, {"b": [1, {}]})
    assert not status.same({"a": 1}, {"a": 2})
