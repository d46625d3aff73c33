"""What the operator does for cells alone: it measures their floor, limits them by it, and skips those too large."""

from typing import Any

import pytest

from trainer.experiment.judge import RankExit
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Charged, Memory, RankReport, Record
from trainer.scheduling.workload import Workload
from trialrun_operator import conditions as c
from trialrun_operator import status
from trialrun_operator.names import MAX_ATTEMPT, job_name
from trialrun_operator.observe import Attempt
from trialrun_operator.plan import Plan, plan
from unit.builders import START, a_record
from unit.objects import KEY, UID, a_job, a_running_pod, a_workload, an_ended_pod, kept

MIB = 2**20
NOW = START + 90_000


def a_test(*, workers: tuple[int, ...] = (1, 2), **spec: Any) -> Workload:
    axes = {"multipliers": [1, 10, 50], "workers": list(workers)}
    return a_workload(name="scale", kind="ScaleTest", **({"axes": axes} | spec))


WORK = a_test(cell={"memoryAboveFloor": "128Mi"})
UNLIMITED = a_test()
ALONE, PEERS = WORK.floors


def memory(floor: int) -> Memory:
    charged = Charged(floor_bytes=floor * MIB, peak_bytes=(floor + 9) * MIB, mean_bytes=(floor + 5) * MIB)
    return Memory(peak_bytes=800 * MIB, mean_bytes=700 * MIB, floor_bytes=540 * MIB, cgroup=charged)


MEASURED = [
    a_record(ALONE, memory=(memory(300),)),
    a_record(PEERS, memory=(memory(350), memory(352))),
]


def plan_of(
    *records: Record, attempts: tuple[Attempt, ...] = (), work: Workload = WORK, accepted: int = START
) -> Plan:
    ledger: dict[str, list[Record]] = {}
    for record in records:
        ledger.setdefault(record.id, []).append(record)
    return plan(work, ledger, attempts, accepted=accepted, now=NOW)


def created(found: Plan) -> list[tuple[str, int, str | None]]:
    return [(each.trial.id, each.attempt, each.memory) for each in found.creates]


def status_of(*records: Record, found: Plan, work: Workload = WORK) -> dict[str, Any]:
    ledger = {record.id: [record] for record in records}
    made = status.status(
        work,
        KEY,
        UID,
        1,
        ledger=ledger,
        plan=found,
        running=found.running,
        accepted=START,
        problem=None,
        old={},
        now=NOW,
    )
    return kept(made)


def said(made: dict[str, Any], kind: str) -> tuple[str, str]:
    return next((each["status"], each["reason"]) for each in made["conditions"] if each["type"] == kind)


def test_the_smallest_cell_of_one_worker_and_of_several_measures_the_floor_without_a_limit() -> None:
    assert [(each.id, each.workers, each.training.data.multiplier) for each in WORK.floors] == [
        ("floor-1", 1, 1), ("floor-2", 2, 1),
    ]  # fmt: skip
    assert {each.training.train.epochs for each in WORK.floors} == {1}
    assert {each.index for each in WORK.floors}.isdisjoint(each.index for each in WORK.trials)
    assert [each.id for each in a_test(workers=(8, 4), cell={"memoryLimit": "1Gi"}).floors] == ["floor-4"]
    assert UNLIMITED.floors == a_workload().floors == ()
    assert len(job_name("a" * 39, "floor-64", 99)) <= 53


def test_cells_wait_until_the_floor_is_written_down() -> None:
    assert created(plan_of()) == [("floor-1", 1, None)]
    found = plan_of(attempts=(Attempt(a_job(ALONE), (a_running_pod(ALONE),)),))
    assert (created(found), found.over, found.running) == ([], False, {"floor-1"})
    assert created(plan_of(MEASURED[0])) == [("floor-2", 1, None)]
    report = RankReport(memory=memory(350), clock=START + 60_000)
    ended = Attempt(a_job(PEERS, ended=NOW), tuple(an_ended_pod(PEERS, RankExit(rank, 0, report)) for rank in (0, 1)))
    found = plan_of(MEASURED[0], attempts=(ended,))
    assert [record.id for record in found.records] == ["floor-2"]
    assert (created(found), found.over) == ([], False)


def test_every_cell_may_use_so_much_more_than_the_floor_of_as_many_workers() -> None:
    work = a_test(cell={"memoryAboveFloor": "128Mi"}, parallelTrials=100)
    found = {identity: limit for identity, _, limit in created(plan_of(*MEASURED, work=work))}
    limits = [found[trial.id] for trial in work.trials]
    assert limits == [str(428 * MIB)] * 3 + [str(480 * MIB)] * 3


def test_a_limit_that_the_file_gives_is_handed_on_as_it_stands_there() -> None:
    work = a_test(cell={"memoryLimit": "1Gi"})
    assert created(plan_of(*MEASURED, work=work)) == [(work.trials[0].id, 1, "1Gi")]
    untold = [a_record(trial) for trial in work.floors]
    assert created(plan_of(*untold, work=work)) == [(work.trials[0].id, 1, "1Gi")], (
        "a trainer need not tell its floor"
    )


def test_without_a_limit_nothing_is_measured() -> None:
    assert created(plan_of(work=UNLIMITED)) == [(UNLIMITED.trials[0].id, 1, None)]


def test_a_floor_that_a_failed_attempt_told_counts_and_stays_through_a_rerun() -> None:
    failed = [record.model_copy(update={"outcome": Outcome.DIVERGED}) for record in MEASURED]
    first = (WORK.trials[0].id, 1, str(428 * MIB))
    assert created(plan_of(*failed)) == created(plan_of(*failed, accepted=START + 1)) == [first]
    lost = MEASURED[0].model_copy(update={"outcome": Outcome.EVICTED, "final": False, "memory": (None,)})
    assert created(plan_of(lost)) == [("floor-1", 2, None)]


def test_without_a_floor_no_cell_runs_and_the_status_says_why() -> None:
    killed = a_record(ALONE, outcome=Outcome.DATA_UNAVAILABLE, error="data: no such file.", memory=(None,))
    found = plan_of(killed, MEASURED[1])
    assert (created(found), found.over) == ([], True)
    made = status_of(killed, MEASURED[1], found=found)
    assert (made["phase"], made["done"]) == ("Failed", "0/6")
    assert said(made, c.FINISHED) == ("True", c.FLOOR_UNKNOWN)
    assert said(made, c.SUCCEEDED) == ("False", c.FLOOR_UNKNOWN)
    message = made["conditions"][-1]["message"]
    assert "The smallest cell with 1 worker, run without a limit to measure it, ended as DataUnavailable" in message
    assert "(data: no such file)" in message
    assert created(plan_of(killed, MEASURED[1], accepted=START + 1)) == [("floor-1", 2, None)]


def test_a_floor_trial_that_succeeded_and_told_no_floor_runs_again_after_a_raised_rerun() -> None:
    silent = a_record(ALONE, memory=(None,))
    found = plan_of(silent, MEASURED[1])
    assert (created(found), found.over) == ([], True)
    message = status_of(silent, MEASURED[1], found=found)["conditions"][-1]["message"]
    assert "raise spec.rerun, or apply the test under another name with memoryLimit in its place" in message
    assert created(plan_of(silent, MEASURED[1], accepted=START + 1)) == [("floor-1", 2, None)]
    told = MEASURED[0].model_copy(update={"attempt": 2, "accepted_at": START + 1})
    found = plan_of(silent, told, MEASURED[1], accepted=START + 1)
    assert created(found) == [(WORK.trials[0].id, 1, str(428 * MIB))]
    last = silent.model_copy(update={"attempt": MAX_ATTEMPT})
    assert plan_of(last, MEASURED[1], accepted=START + 1).over
    given = a_test(cell={"memoryLimit": "1Gi"})
    found = plan_of(silent, MEASURED[1], work=given, accepted=START + 1)
    assert created(found) == [(given.trials[0].id, 1, "1Gi")], "no limit counts from it"


def test_a_limit_below_the_floor_is_told_before_any_cell_runs() -> None:
    work = a_test(cell={"memoryLimit": "320Mi"})
    found = plan_of(*MEASURED, work=work)
    assert (created(found), found.over) == ([], True)
    made = status_of(*MEASURED, found=found, work=work)
    assert said(made, c.SUCCEEDED) == ("False", c.LIMIT_BELOW_FLOOR)
    assert "must be more than the 352 MiB that a worker was measured to need" in made["conditions"][-1]["message"]


def test_the_status_says_that_the_floor_is_measured() -> None:
    made = status_of(found=plan_of())
    assert said(made, c.PROGRESSING) == ("True", c.MEASURING_FLOOR)
    assert (made["done"], made["trials"][0]["state"]) == ("0/6", "Pending")


@pytest.mark.parametrize("outcome", [Outcome.HOST_OOM, Outcome.DEVICE_OOM])
def test_larger_cells_with_as_many_workers_are_skipped_and_those_with_more_run(outcome: Outcome) -> None:
    one, ten, fifty, *with_peers = UNLIMITED.trials
    ran_out = a_record(ten, outcome=outcome)
    found = plan_of(a_record(one), ran_out, work=UNLIMITED)
    assert [(record.id, record.outcome, record.error) for record in found.records] == [
        (fifty.id, Outcome.SKIPPED, f"10x with 1 worker ended as {outcome}")
    ]
    assert created(found) == [(with_peers[0].id, 1, None)]
    after = plan_of(a_record(one), ran_out, *found.records, work=UNLIMITED)
    assert after.records == (), "it is written once"
    assert created(after) == created(found)


def test_the_end_of_a_cell_is_heeded_before_it_is_written() -> None:
    one, ten, fifty, *with_peers = UNLIMITED.trials
    killed = RankExit(0, exit_code=137, platform=Outcome.HOST_OOM, error="OOMKilled")
    ended = Attempt(a_job(ten, ended=NOW), (an_ended_pod(ten, killed),))
    found = plan_of(a_record(one), attempts=(ended,), work=UNLIMITED)
    assert [(record.id, record.outcome) for record in found.records] == [
        (ten.id, Outcome.HOST_OOM), (fifty.id, Outcome.SKIPPED),
    ]  # fmt: skip
    assert created(found) == [(with_peers[0].id, 1, None)]


def test_a_larger_cell_that_runs_already_is_left_alone() -> None:
    one, ten, fifty, *_ = UNLIMITED.trials
    runs = Attempt(a_job(fifty), (a_running_pod(fifty),))
    ran_out = a_record(ten, outcome=Outcome.HOST_OOM)
    assert plan_of(a_record(one), ran_out, attempts=(runs,), work=UNLIMITED).records == ()


def test_with_run_every_cell_runs() -> None:
    work = a_test(cell={"afterOutOfMemory": "Run"})
    found = plan_of(a_record(work.trials[0], outcome=Outcome.HOST_OOM), work=work)
    assert (found.records, created(found)) == ((), [(work.trials[1].id, 1, None)])


def test_a_raised_rerun_runs_the_cell_that_ran_out_of_memory_and_those_that_were_skipped() -> None:
    records = [a_record(UNLIMITED.trials[0], outcome=Outcome.HOST_OOM)]
    records += plan_of(*records, work=UNLIMITED).records
    records += [a_record(trial) for trial in UNLIMITED.trials[3:]]
    assert plan_of(*records, work=UNLIMITED).over
    again = plan_of(*records, work=UNLIMITED, accepted=START + 1)
    assert (again.records, created(again)) == ((), [(UNLIMITED.trials[0].id, 2, None)])
    passed = a_record(UNLIMITED.trials[0], attempt=2, accepted_at=START + 1)
    again = plan_of(*records, passed, work=UNLIMITED, accepted=START + 1)
    assert (again.records, created(again)) == ((), [(UNLIMITED.trials[1].id, 2, None)])
    made = status_of(*records, found=plan_of(*records, work=UNLIMITED), work=UNLIMITED)
    assert (made["phase"], made["done"], made["oom"], made["largest"]) == ("Succeeded", "6/6", 1, "50x")
