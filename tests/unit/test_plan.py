"""What should exist now: tables of situations, and properties of any course of events."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.scheduling.history import is_done
from trainer.scheduling.workload import Workload
from trialrun_operator.attempt_state import GRACE_MILLISECONDS
from trialrun_operator.backends.pytorchjob import JOBS
from trialrun_operator.names import PODS
from trialrun_operator.observe import Attempt, Job, Pod
from trialrun_operator.plan import DAY_SECONDS, HELD_MILLISECONDS, Plan, plan
from trialrun_operator.pod_outcome import StartFailure
from unit.builders import START, a_record
from unit.objects import KEY, OK, UID, a_job, a_pod, a_running_pod, a_workload, an_ended_pod

WORK = a_workload(parallelTrials=4)
T = WORK.trials
NOW = START + 61_000


def ledger_of(*records: Record) -> dict[str, list[Record]]:
    ledger: dict[str, list[Record]] = {}
    for record in records:
        ledger.setdefault(record.id, []).append(record)
    return ledger


def plan_of(
    attempts: list[Attempt],
    *records: Record,
    work: Workload = WORK,
    now: int = NOW,
    accepted: int = START,
    **more: Any,
) -> Plan:
    return plan(work, ledger_of(*records), attempts, accepted=accepted, now=now, **more)


def created(found: Plan) -> list[tuple[int, int]]:
    return [(create.trial.index, create.attempt) for create in found.creates]


def failed(trial: Trial, outcome: Outcome = Outcome.CRASHED, **fields: object) -> Record:
    return a_record(trial, outcome=outcome, **fields)


def evicted(trial: Trial, attempt: int, **fields: object) -> Record:
    return failed(trial, Outcome.EVICTED, attempt=attempt, final=False, **fields)


def test_a_new_search_starts_parallel_trials_of_its_trials() -> None:
    assert created(plan_of([])) == [(0, 1), (1, 1), (2, 1), (3, 1)]


def test_a_running_attempt_takes_a_slot_and_a_finished_one_none() -> None:
    found = plan_of(
        [Attempt(a_job(T[0]), ()), Attempt(a_job(T[1], ended=NOW), (an_ended_pod(T[1]),))], a_record(T[1])
    )
    assert created(found) == [(2, 1), (3, 1), (4, 1)]
    assert found.running == {T[0].id}


def test_a_job_that_is_being_deleted_keeps_its_slot_and_its_trial() -> None:
    found = plan_of([Attempt(a_job(T[0], deleting=True), ())])
    assert created(found) == [(1, 1), (2, 1), (3, 1)]


def test_pods_of_a_deleted_job_keep_the_slot_until_they_end() -> None:
    assert created(plan_of([Attempt(None, (a_running_pod(T[0]),))])) == [(1, 1), (2, 1), (3, 1)]


def test_a_recorded_pod_that_was_told_to_end_holds_up_nothing_even_if_it_never_does() -> None:
    stuck = Attempt(None, (a_running_pod(T[0], deleting=True),))
    assert len(created(plan_of([stuck]))) == 3, "its ending is still to come"
    found = plan_of([stuck], failed(T[0], Outcome.TIMED_OUT))
    assert created(found) == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert not found.running
    rest = [a_record(trial) for trial in T[1:]]
    assert plan_of([stuck], failed(T[0], Outcome.TIMED_OUT), *rest).over


def test_a_stuck_pod_of_an_ended_job_that_is_kept_holds_up_nothing_once_it_is_recorded() -> None:
    work = a_workload(parallelTrials=1, workers=2)
    ended = an_ended_pod(work.trials[0], RankExit(0, 1), ended=START)
    left = a_running_pod(work.trials[0], rank=1)
    stuck = Attempt(a_job(work.trials[0], ended=START), (ended, replace(left, deleting=True)))
    kept = Attempt(stuck.job, (ended, left))
    record = failed(work.trials[0])
    assert created(plan_of([stuck], work=work)) == [], "it is not recorded yet"
    assert created(plan_of([kept], record, work=work)) == [], "it was not told to end"
    assert created(plan_of([stuck], record, work=work)) == [(1, 1)]


def test_a_recorded_pod_that_was_not_told_to_end_keeps_its_slot() -> None:
    left = Attempt(None, (a_running_pod(T[0]),))
    assert len(created(plan_of([left], failed(T[0], Outcome.TIMED_OUT)))) == 3


def test_of_attempts_with_nodes_for_some_of_their_workers_all_but_the_oldest_give_way() -> None:
    work = a_workload(parallelTrials=4, workers=2)
    held = START + 1_000 + HELD_MILLISECONDS
    halves = [
        Attempt(a_job(t, created=START + t.index), (a_running_pod(t), a_pod(t, rank=1))) for t in work.trials[:3]
    ]
    podless = replace(halves[1], pods=halves[1].pods[:1])
    early = plan_of(halves, work=work, now=held - 1)
    assert (early.creates, early.deletes, early.some_nodes, early.wake) == ((), (), False, held)
    late = plan_of(list(reversed(halves)), work=work, now=held)
    assert [each.name for each in late.deletes] == [each.job.name for each in halves[1:] if each.job is not None]
    assert (late.creates, late.records, late.some_nodes) == ((), (), True)
    assert plan_of([podless, halves[0]], work=work, now=held).deletes == late.deletes[:1], "a quota may refuse a pod"
    crashed = replace(halves[1], pods=(an_ended_pod(work.trials[1], RankExit(0, 1)), halves[1].pods[1]))
    assert plan_of([halves[0], crashed], work=work, now=held).deletes == (), "its end is to be recorded"
    alone = plan_of(halves[:1], work=work, now=held)
    assert (alone.creates, alone.deletes, alone.some_nodes) == ((), (), True), "nobody waits for its nodes"


@pytest.mark.parametrize(
    ("first", "others"),
    [
        ("waits with all its pods", 3),
        ("has nodes for all", 3),
        ("has nodes for one", 0),
        ("is held by a queue", 3),
        ("was told to end", 3),
    ],
)
def test_nothing_starts_while_an_attempt_has_nodes_for_some_of_its_workers_only(first: str, others: int) -> None:
    work = a_workload(parallelTrials=4, workers=2)
    t = work.trials[0]
    one = (a_running_pod(t), a_pod(t, rank=1))
    attempt = {
        "waits with all its pods": Attempt(a_job(t), (a_pod(t), a_pod(t, rank=1))),
        "has nodes for all": Attempt(a_job(t), (a_running_pod(t), a_running_pod(t, rank=1))),
        "has nodes for one": Attempt(a_job(t), one),
        "is held by a queue": Attempt(a_job(t, suspended=True), one),
        "was told to end": Attempt(a_job(t, deleting=True), one),
    }[first]
    assert len(plan_of([attempt], work=work, now=START + 2_000).creates) == others


def test_a_recorded_attempt_without_a_pod_for_each_worker_is_deleted_and_holds_up_nothing() -> None:
    """A job of several workers would go on to make the pod that is missing."""
    work = a_workload(parallelTrials=2, workers=2)
    left = Attempt(a_job(work.trials[0]), (an_ended_pod(work.trials[0], RankExit(0, 1)),))
    found = plan_of([left], failed(work.trials[0]), work=work)
    assert [each.resource for each in found.deletes] == [JOBS]
    assert len(found.creates) == 1


def test_lowering_parallel_trials_kills_nothing() -> None:
    work = a_workload(parallelTrials=1)
    found = plan_of([Attempt(a_job(t), (a_running_pod(t),)) for t in T[:4]], work=work)
    assert (found.creates, found.deletes) == ((), ())


def test_a_suspended_search_starts_nothing_and_is_not_over() -> None:
    found = plan_of([], work=a_workload(suspend=True))
    assert (found.creates, found.over) == ((), False)


def test_a_blocked_name_is_passed_over() -> None:
    found = plan_of([], blocked=frozenset({(T[0].id, 1)}))
    assert created(found) == [(1, 1), (2, 1), (3, 1), (4, 1)]


def test_more_failures_than_the_budget_start_nothing_new_and_what_runs_may_finish() -> None:
    records = [failed(t) for t in T[:4]]
    running = Attempt(a_job(T[4]), (a_running_pod(T[4]),))
    found = plan_of([running], *records)
    assert (found.creates, found.deletes, found.over) == ((), (), False)
    assert plan_of([], *records).over


def test_a_budget_that_is_raised_goes_on() -> None:
    work = a_workload(parallelTrials=4, maxFailedTrials=10)
    assert created(plan_of([], *(failed(t) for t in T[:4]), work=work)) == [(4, 1), (5, 1), (6, 1), (7, 1)]


def test_failures_do_not_stop_a_scale_test() -> None:
    work = a_workload(name="scale", kind="ScaleTest", maxFailedTrials=0)
    found = plan_of([], failed(work.trials[0], Outcome.TIMED_OUT), work=work)
    assert created(found) == [(1, 1)]


def test_a_trial_that_lost_its_node_gets_three_attempts() -> None:
    rest = [a_record(trial) for trial in T[1:]]
    assert created(plan_of([], evicted(T[0], 1), *rest)) == [(0, 2)]
    assert created(plan_of([], evicted(T[0], 1), evicted(T[0], 2), *rest)) == [(0, 3)]
    third = Attempt(a_job(T[0], 3), (an_ended_pod(T[0], RankExit(0, platform=Outcome.EVICTED), 3),))
    found = plan_of([third], evicted(T[0], 1), evicted(T[0], 2))
    assert [(record.attempt, record.final) for record in found.records] == [(3, True)]


def test_no_attempt_follows_on_a_record_that_is_not_written_yet() -> None:
    lost = Attempt(a_job(T[0]), (an_ended_pod(T[0], RankExit(0, platform=Outcome.NODE_LOST)),))
    found = plan_of([lost])
    assert [record.final for record in found.records] == [False]
    assert (0, 2) not in created(found)


def test_rerun_runs_failed_and_missing_trials_only() -> None:
    records = [a_record(T[0]), failed(T[1]), failed(T[2]), failed(T[3]), failed(T[4])]
    assert created(plan_of([], *records, accepted=START)) == []
    wide = a_workload(parallelTrials=len(T))
    never_tried = [(trial.index, 1) for trial in T[5:]]
    again = [(1, 2), (2, 2), (3, 2), (4, 2)]
    assert created(plan_of([], *records, work=wide, accepted=START + 1)) == never_tried + again


def test_a_rerun_gives_three_attempts_again() -> None:
    before = [evicted(T[0], 1), evicted(T[0], 2), failed(T[0], Outcome.EVICTED, attempt=3)]
    again = Attempt(a_job(T[0], 4), (an_ended_pod(T[0], RankExit(0, platform=Outcome.EVICTED), 4),))
    assert [record.final for record in plan_of([again], *before, accepted=START + 1).records] == [False]


def test_the_search_is_over_with_its_last_record_and_has_nothing_left_to_do_once_that_is_written() -> None:
    records = [a_record(t) for t in T]
    written = plan_of([], *records)
    assert (written.over, written.idle) == (True, True)
    last = Attempt(a_job(T[-1], ended=NOW), (an_ended_pod(T[-1]),))
    due = plan_of([last], *records[:-1])
    assert (len(due.records), due.over, due.idle) == (1, True, False)
    lost = Attempt(a_job(T[-1], ended=NOW), (an_ended_pod(T[-1], RankExit(0, platform=Outcome.EVICTED)),))
    assert not plan_of([lost], *records[:-1]).over, "it is run again"


@pytest.mark.parametrize(
    ("age", "gone"),
    [(9_000, False), (10_000, True)],
    ids=["it is kept for ten seconds, whatever the TTL", "then it goes"],
)
def test_a_recorded_job_goes_by_its_ttl(age: int, gone: bool) -> None:
    work = a_workload(ttlSecondsAfterFinished=0)
    ended = Attempt(a_job(T[0], ended=NOW - age), (an_ended_pod(T[0]),))
    found = plan_of([ended], a_record(T[0]), work=work)
    assert [each.name for each in found.deletes] == ([ended.job.name] if gone and ended.job else [])
    assert gone or found.wake == NOW + 1_000
    assert plan_of([ended], work=work).deletes == ()  # not before it is recorded


def test_a_recorded_job_goes_after_a_day_where_no_ttl_is_given() -> None:
    def at(moment: int, *records: Record, **spec: object) -> Plan:
        ended = Attempt(a_job(T[0], ended=START), (an_ended_pod(T[0], ended=START),))
        return plan_of([ended], *records, work=a_workload(parallelTrials=4, **spec), now=moment)

    day = START + 1000 * DAY_SECONDS
    assert (at(day - 1, a_record(T[0])).deletes, at(day - 1, a_record(T[0])).wake) == ((), day)
    assert [each.resource for each in at(day, a_record(T[0])).deletes] == [JOBS]
    assert at(day).deletes == (), "not before it is recorded"
    assert at(day, a_record(T[0]), ttlSecondsAfterFinished=10 * DAY_SECONDS).deletes == ()


def test_room_is_made_by_recorded_jobs_of_which_the_failed_go_last() -> None:
    ended = [Attempt(a_job(t, ended=START + t.index), (an_ended_pod(t),)) for t in T[:4]]
    records = [failed(T[0]), a_record(T[1]), a_record(T[2])]

    def gone(now: int = NOW, **spec: object) -> list[str]:
        found = plan_of(ended, *records, work=a_workload(**{"parallelTrials": 3} | spec), now=now, crowded=True)
        assert found.waits_for_room == (not found.creates)
        return [each.name for each in found.room]

    names = [attempt.job.name for attempt in ended if attempt.job is not None]
    assert gone() == [names[1], names[2], names[0]], "the fourth is not recorded"
    assert gone(parallelTrials=2) == [names[1], names[2]], "no more than what starts"
    assert gone(now=START + 9_000) == [], "a create that is under way meets them"
    assert gone(ttlSecondsAfterFinished=600) == [], "so long they are kept"
    assert not plan_of(ended, *records, now=NOW).waits_for_room


def test_a_recorded_attempt_that_has_not_ended_is_deleted() -> None:
    hung = Attempt(a_job(T[0]), (a_running_pod(T[0]),))
    found = plan_of([hung], failed(T[0], Outcome.TIMED_OUT))
    assert [(each.resource, each.uid) for each in found.deletes] == [(JOBS, "job-" + (hung.job or a_job(T[0])).name)]


def test_a_job_whose_pods_all_ended_is_left_to_say_so_itself() -> None:
    done = Attempt(a_job(T[0]), (an_ended_pod(T[0]),))
    assert plan_of([done], a_record(T[0])).deletes == ()


def test_a_job_of_which_a_queue_took_pods_back_is_kept_when_its_trial_is_recorded() -> None:
    killed = RankExit(0, exit_code=137, platform=Outcome.EVICTED)
    taken = an_ended_pod(T[0], killed, deleting=True, withdrawn=True)
    again = replace(an_ended_pod(T[0]), uid="again", created=START + 91_000)
    released = a_job(T[0], released=START + 90_000)
    assert plan_of([Attempt(released, (taken, again))], a_record(T[0])).deletes == (), "it is about to end"
    left = plan_of([Attempt(released, (taken,))], a_record(T[0])).deletes
    assert [each.resource for each in left] == [JOBS], "it would make another pod"


def test_pods_that_outlive_their_ended_job_are_deleted_and_the_job_is_kept() -> None:
    left = Attempt(a_job(T[0], ended=START), (an_ended_pod(T[0], RankExit(0, 1)), a_pod(T[0], rank=1)))
    found = plan_of([left], failed(T[0]))
    assert [(each.resource, each.uid) for each in found.deletes] == [(PODS, left.pods[1].uid)]


def test_an_image_that_never_comes_ends_at_the_pending_deadline() -> None:
    obstacle = StartFailure(Outcome.IMAGE_UNAVAILABLE, "ImagePullBackOff: not found")
    stuck = Attempt(a_job(T[0]), (a_pod(T[0], start_failure=obstacle),))
    early = plan_of([stuck], now=START + 599_000)
    assert (early.records, early.wake) == ((), START + 600_000)
    late = plan_of([stuck], now=START + 600_000)
    assert (late.records, late.relists) == ((), (stuck.job,)), "its pods are listed first"
    sure = plan_of([replace(stuck, confirmed=START + 600_000)], now=START + 600_000)
    assert [record.outcome for record in sure.records] == [Outcome.IMAGE_UNAVAILABLE]


# --- properties -----------------------------------------------------------------------------------------------------


class World:
    """A cluster in miniature: jobs run, end, are lost, or are deleted by hand, and plans are carried out."""

    def __init__(self, work: Workload, seed: int) -> None:
        self.work, self.rng, self.now = work, random.Random(seed), START
        self.ledger: dict[str, list[Record]] = {}
        self.jobs: dict[str, tuple[Job, dict[int, Pod]]] = {}
        self.runs: list[tuple[str, int]] = []
        self.count = 0

    def attempts(self) -> list[Attempt]:
        found = [Attempt(job, tuple(pods.values()), confirmed=self.now) for job, pods in self.jobs.values()]
        self.rng.shuffle(found)
        return found

    def plan(self) -> Plan:
        return plan(self.work, self.ledger, self.attempts(), accepted=START, now=self.now)

    def apply(self, found: Plan) -> None:
        for record in found.records:
            written = self.ledger.setdefault(record.id, [])
            assert record.attempt not in [each.attempt for each in written]
            written.append(record)
        for delete in found.deletes:
            for uid, (_, pods) in list(self.jobs.items()):
                if delete.resource is JOBS and uid == delete.uid:
                    del self.jobs[uid]
                else:
                    for rank, pod in list(pods.items()):
                        if pod.uid == delete.uid:
                            del pods[rank]
        for create in found.creates:
            job = a_job(create.trial, create.attempt)
            assert job.name not in [each.name for each, _ in self.jobs.values()]
            self.count += 1
            job = replace(job, uid=f"{job.uid}/{self.count}", created=self.now, released=self.now)
            self.jobs[job.uid] = (job, {})
            self.runs.append((create.trial.id, create.attempt))

    def happen(self) -> None:
        """Something happens to one of the jobs."""
        self.now += self.rng.randrange(0, 40_000)
        open_jobs = [uid for uid, (job, _) in self.jobs.items() if job.ended is None]
        if not open_jobs:
            return
        uid = self.rng.choice(open_jobs)
        job, pods = self.jobs[uid]
        trial = self.work.by_id[job.trial]
        what = self.rng.random()
        if what < 0.05:
            del self.jobs[uid]
        elif what < 0.4:  # pods get nodes one by one, and perhaps not all
            for rank in self.rng.sample(range(trial.workers), self.rng.randint(1, trial.workers)):
                pods.setdefault(
                    rank, replace(a_running_pod(trial, job.attempt, rank), started=self.now, began=self.now)
                )
        elif what < 0.9:
            for rank in self.rng.sample(range(trial.workers), self.rng.randint(1, trial.workers)):
                ending = self.rng.choice([RankExit(rank, 0, OK), RankExit(rank, 0, OK), RankExit(rank, 1),
                                          RankExit(rank, 137, platform=Outcome.HOST_OOM),
                                          RankExit(rank, platform=Outcome.NODE_LOST)])  # fmt: skip
                pods[rank] = replace(an_ended_pod(trial, ending, job.attempt), started=self.now, ended=self.now)
            if self.rng.random() < 0.8:
                self.jobs[uid] = (replace(job, ended=self.now), pods)
        else:
            self.jobs[uid] = (replace(job, ended=self.now), {})


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), parallel=st.integers(1, 20), budget=st.integers(0, 20), workers=st.integers(1, 2))
def test_any_course_of_events_keeps_the_rules(seed: int, parallel: int, budget: int, workers: int) -> None:
    work = a_workload(parallelTrials=parallel, maxFailedTrials=budget, workers=workers)
    world = World(work, seed)
    for _ in range(60):
        settled = {identity for identity, records in world.ledger.items() if is_done(WORK, records[-1], START)}
        found = world.plan()
        assert found == world.plan(), "the order of observation makes no difference"
        assert not settled & {create.trial.id for create in found.creates}, "a finished trial never comes back"
        world.apply(found)
        again = world.plan()
        assert not again.records, "planning again finds no record that was just written"
        assert len(again.running) <= max(parallel, 0), "never more than parallelTrials are live"
        if not found.records and not found.deletes:
            assert not again.creates, "planning again creates nothing"
        world.happen()
    for _ in range(2000):
        found = world.plan()
        world.apply(found)  # what it is over with is yet to be written down
        if found.over:
            break
        world.happen()
    assert found.over, "every search comes to an end"
    failures = sum(1 for records in world.ledger.values() if records[-1].final and records[-1].outcome != "Succeeded")
    assert failures > budget or len(world.ledger) == len(work.trials)
    assert all(sum(1 for r in records if r.outcome == Outcome.NODE_LOST) <= 3 for records in world.ledger.values())


def test_a_record_waits_for_all_ranks_or_the_grace_period() -> None:
    work = a_workload(workers=2)
    first = an_ended_pod(work.trials[0], RankExit(0, 1), ended=START + 50_000)
    attempt = Attempt(a_job(work.trials[0], ended=START + 50_000), (first, a_running_pod(work.trials[0], rank=1)))
    early = plan_of([attempt], work=work, now=START + 51_000)
    assert (early.records, early.wake) == ((), START + 50_000 + GRACE_MILLISECONDS)
    due = START + 50_000 + GRACE_MILLISECONDS
    late = plan_of([attempt], work=work, now=due)
    assert (late.records, late.relists) == ((), (attempt.job,)), "its pods are listed first"
    sure = plan_of([replace(attempt, confirmed=due)], work=work, now=due)
    assert [record.outcome for record in sure.records] == [Outcome.CRASHED]


def test_ids_of_objects_follow_from_the_experiment() -> None:
    assert UID not in a_job(T[0]).name
    assert a_job(T[0]).name == f"{KEY.name}-{T[0].id}-1"
