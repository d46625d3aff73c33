"""When a search's baseline is measured, and what is made of how that ended."""

from dataclasses import replace
from typing import Any

import pytest

from trainer.experiment.baseline import figures, rests_on
from trainer.experiment.judge import RankExit
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import RankReport, Record, encode, hash_number
from trainer.scheduling.decide import Start
from trainer.scheduling.workload import Workload
from trialrun_operator import conditions as c
from trialrun_operator.backends.pytorchjob import JOBS
from trialrun_operator.baseline_status import FILE, BaselineStatus, imported, measured
from trialrun_operator.ledger_format import BASELINE, BaselineEntry, entry_of, line_of
from trialrun_operator.observe import Attempt
from trialrun_operator.plan import Plan, plan
from unit.builders import START, a_record, an_experiment, four
from unit.objects import a_job, a_running_pod, a_workload, an_ended_pod

PARAMETERS = [{"name": "model.layers", "choices": [1, 2, 3, 4]}]
WORK = a_workload(parameters=PARAMETERS, baseline="Measure", maxFailedTrials=1)
assert WORK.baseline is not None  # so that mypy knows too
TRIAL = WORK.baseline
NOW = START + 90_000
DONE = [a_record(trial) for trial in WORK.trials]
ONE_BY_ONE = figures(four(), WORK.trials, DONE)
assert ONE_BY_ONE is not None
REPORT = RankReport(run=ONE_BY_ONE, clock=START + 60_000)


def planned(
    *attempts: Attempt,
    work: Workload = WORK,
    records: list[Record] = DONE,
    known: tuple[BaselineEntry, ...] = (),
    accepted: int = START,
    **more: Any,
) -> Plan:
    return plan(work, ledger_of(records, known), attempts, accepted=accepted, now=NOW, **more)


def ledger_of(records: list[Record], known: tuple[BaselineEntry, ...]) -> dict[str, list[Record]]:
    measured = {TRIAL.id: [entry.record for entry in known]} if known else {}
    return {record.id: [record] for record in records} | measured


def created(*attempts: Attempt, **more: Any) -> list[int]:
    """The attempts at the baseline that are to be made."""
    return [each.attempt for each in planned(*attempts, **more).creates if each.trial.id == TRIAL.id]


def running(attempt: int = 1) -> Attempt:
    return Attempt(a_job(TRIAL, attempt), (a_running_pod(TRIAL, attempt),))


def ended(exit_: RankExit | None = None, attempt: int = 1) -> Attempt:
    exit_ = exit_ or RankExit(0, exit_code=0, report=REPORT)
    job = a_job(TRIAL, attempt, ended=START + 60_000)
    return Attempt(job, (an_ended_pod(TRIAL, exit_, attempt, image="sha256:7"),))


def measured_by(attempt: Attempt, **more: Any) -> BaselineEntry:
    (only,) = planned(attempt, **more).measured
    return only


LOST = RankExit(0, platform=Outcome.NODE_LOST, error="DeletionByTaintManager")
KILLED = RankExit(0, exit_code=137, platform=Outcome.HOST_OOM, error="OOMKilled")


def test_it_is_measured_once_the_search_is_over_and_written_down() -> None:
    assert created() == [1]
    assert created(records=DONE[:3]) == []
    trial = WORK.trials[3]
    last = Attempt(a_job(trial, ended=START + 60_000), (an_ended_pod(trial),))
    found = planned(last, records=DONE[:3])
    assert [record.id for record in found.records] == [trial.id], "first its last record is written"
    assert not found.creates


@pytest.mark.parametrize(
    ("why", "work", "records"),
    [
        ("it is not wanted", a_workload(parameters=PARAMETERS), DONE),
        ("the search is suspended", a_workload(parameters=PARAMETERS, baseline="Measure", suspend=True), DONE),
        ("the search failed", WORK,
         [*DONE[:2], *(record.model_copy(update={"outcome": Outcome.CRASHED}) for record in DONE[2:])]),
    ],
)  # fmt: skip
def test_it_is_not_measured_where(why: str, work: Workload, records: list[Record]) -> None:
    assert created(work=work, records=records) == [], why


def test_planning_again_makes_no_second_one() -> None:
    assert created(running()) == []
    assert created(ended()) == []
    found = measured_by(ended())
    assert created(ended(), known=(found,)) == []
    assert created(known=(found,)) == [], "its job was deleted"
    assert created(blocked=frozenset({(TRIAL.id, 1)})) == []


def test_what_its_pod_reported_is_kept_with_the_image_and_how_long_it_ran() -> None:
    found = measured_by(ended())
    assert found.figures is not None
    assert {each.image for each in found.figures.environments} == {"sha256:7"}
    assert found.figures.pod_seconds == found.record.seconds.total > 0
    assert found.figures.wall == ONE_BY_ONE.wall
    assert entry_of(BASELINE, line_of(found)) == found


def test_a_lost_node_is_another_attempt_and_a_failure_is_the_end() -> None:
    lost = measured_by(ended(LOST))
    assert (lost.record.final, lost.figures) == (False, None)
    assert created(ended(LOST), known=(lost,)) == [2]
    killed = measured_by(ended(KILLED))
    assert killed.record.final
    assert created(ended(KILLED), known=(killed,)) == []
    assert created(ended(KILLED), known=(killed,), accepted=START + 70_000) == [2], "a raised rerun tries again"


def test_the_third_loss_is_the_last() -> None:
    known: tuple[BaselineEntry, ...] = ()
    for attempt in (1, 2, 3):
        known = (*known, measured_by(ended(LOST, attempt), known=known))
    assert [each.record.final for each in known] == [False, False, True]
    assert created(known=known) == []


def test_success_without_figures_is_none() -> None:
    found = measured_by(ended(RankExit(0, exit_code=0, report=RankReport(clock=START + 60_000))))
    assert (found.record.outcome, found.figures) == (Outcome.METRICS_MISSING, None)


def test_a_search_that_runs_again_waits_until_its_baseline_is_gone() -> None:
    found = planned(running(), records=DONE[:3])
    assert [(each.resource, each.name) for each in found.deletes] == [(JOBS, f"{WORK.experiment.name}-baseline-1")]
    assert found.creates == ()
    assert not found.idle
    dying = replace(running(), job=a_job(TRIAL, deleting=True))
    found = planned(dying, records=DONE[:3])
    assert (found.creates, found.deletes) == ((), ())
    assert planned(records=DONE[:3]).creates == (Start(WORK.trials[3], 1),)


def test_a_baseline_is_no_trial_of_the_search() -> None:
    found = planned(running())
    assert (found.over, found.running, found.measuring) == (True, frozenset(), 1)
    failure = measured_by(ended(KILLED)).record
    assert failure.outcome is Outcome.HOST_OOM
    strict = a_workload(parameters=PARAMETERS, baseline="Measure", maxFailedTrials=0)
    found = plan(strict, ledger_of(DONE, ()) | {TRIAL.id: [failure]}, (), accepted=START, now=NOW)
    assert found.worthwhile, "its failure is none of the search's"


def deadline(work: Workload) -> int:
    assert work.baseline is not None
    return work.deadline_of(work.baseline)


def test_it_may_take_as_long_as_its_trials_together() -> None:
    work = a_workload(parameters=PARAMETERS, baseline="Measure", deadlineSeconds=50, workers=2)
    assert deadline(work) == 4 * 2 * 50
    longest = a_workload(parameters=PARAMETERS, baseline="Measure", deadlineSeconds=31_536_000, repeats=1000)
    assert deadline(longest) == 2**31 - 1


# --- how it stands --------------------------------------------------------------------------------------------------


def status_of(*attempts: Attempt, known: tuple[BaselineEntry, ...] = (), **more: Any) -> BaselineStatus:
    work, records = more.get("work", WORK), more.get("records", DONE)
    found = planned(*attempts, known=known, **more)
    return measured(work, found, ledger_of(records, known), known[-1].figures if known else None, None)


def test_the_condition_says_how_far_the_measuring_is() -> None:
    assert status_of(records=DONE[:2]).verdict[:2] == ("Unknown", c.BASELINE_PENDING)
    status, reason, message = status_of(running()).verdict
    assert (status, reason) == ("Unknown", c.BASELINE_RUNNING)
    assert f"{WORK.experiment.name}-baseline-1" in message
    assert "2400 s" in message
    killed = measured_by(ended(KILLED))
    status, reason, message = status_of(ended(KILLED), known=(killed,)).verdict
    assert (status, reason) == ("False", c.BASELINE_FAILED)
    assert "HostOOM" in message
    assert "spec.rerun" in message
    found = measured_by(ended())
    assert status_of(known=(found,)) == BaselineStatus(found.figures)


def test_a_measured_baseline_tells_what_it_rests_on() -> None:
    hashes = {"dataHash": hash_number("0123456789ab"), "validationHash": hash_number("fedcba987654")}
    found = measured_by(ended(RankExit(0, exit_code=0, report=REPORT.model_copy(update={"metrics": hashes}))))
    kept = entry_of(BASELINE, line_of(found))
    assert isinstance(kept, BaselineEntry)
    assert status_of(known=(kept,)).rests_on == {"data": "0123456789ab", "validation": "fedcba987654"}


def test_a_search_too_long_for_one_variable_says_so() -> None:
    paths = [f"{'ψ' * 1000}{number}" for number in range(64)]
    long = a_workload(
        baseline="Measure",
        parameters=[{"name": "data.path", "choices": paths}],
        training={"data": {"source": "csv", "path": "a.csv"}},
    )
    records = [a_record(trial) for trial in long.trials]
    assert created(work=long, records=records) == []
    status, reason, message = status_of(work=long, records=records).verdict
    assert (status, reason) == ("False", c.BASELINE_TOO_LARGE)
    assert "Import" in message


# --- one that is imported -------------------------------------------------------------------------------------------

IMPORTS = a_workload(parameters=PARAMETERS, baseline="Import")
LINES = "".join(encode(record) + "\n" for record in DONE)
OTHERS = "".join(encode(a_record(trial)) + "\n" for trial in a_workload(training={"train": {"epochs": 3}}).trials)


def test_a_ledger_can_serve_as_baseline() -> None:
    found = imported(IMPORTS, {FILE: LINES})
    assert found.figures == ONE_BY_ONE
    assert found.rests_on == rests_on(WORK.experiment, WORK.trials, DONE) != {}
    assert imported(IMPORTS, {FILE: OTHERS + LINES}).figures == ONE_BY_ONE, "records of other trials do not count"


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (None, c.BASELINE_MISSING, "There is no ConfigMap sp500-grid-baseline"),
        ({}, c.BASELINE_UNREADABLE, "has no key results.jsonl"),
        ({FILE: LINES + "{torn"}, c.BASELINE_UNREADABLE, "1 of 5 lines are no record"),
        ({FILE: OTHERS}, c.BASELINE_UNREADABLE, "none is of a trial of this search"),
    ],
)
def test_an_import_that_will_not_do_says_why_and_what_to_do(
    data: dict[str, str] | None, reason: str, says: str
) -> None:
    found = imported(IMPORTS, data)
    assert found.figures is None
    assert found.verdict[:2] == ("False", reason)
    assert says in found.verdict[2]
    assert "kubectl create configmap sp500-grid-baseline --from-file=results.jsonl" in found.verdict[2]


def test_an_experiment_has_no_name_that_its_baseline_could_not_have() -> None:
    assert len(f"{'a' * 39}-{TRIAL.id}-99") <= 53
    assert an_experiment(name="a" * 39)
