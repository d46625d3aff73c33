"""Trials that a queue of Kueue's admits: why they wait, and that being taken back costs them nothing."""

import random
from functools import partial
from itertools import product
from typing import Any

import pytest

from cluster import podstatus
from conftest import Sweep
from trialrun_operator import conditions as c
from trialrun_operator.backends import BACKENDS
from trialrun_operator.kube import Unreachable
from trialrun_operator.names import PODS, QUEUE_LABEL
from unit.controllers import has_ended, is_suspended, rank_of
from unit.fakekube import Document, Fault, refused
from unit.kueue import EVICTED, WAITS
from unit.lookout import CRASHES, EITHER, Lookout, Stage, a_search, attempt, succeeds
from unit.test_operator_disturbed import WATCHES

pytestmark = EITHER
LIST = "list workloads"
# How a pod may end that is told to.
ENDS: dict[str, Stage | None] = {
    "by the first signal": partial(podstatus.ended, exit_code=143),
    "by the second signal": partial(podstatus.ended, exit_code=137),
    "with an error": CRASHES,
    "well, with a report": succeeds(),
    "unseen": None,
}


def queued(backend: str, trials: int = 3, quota: int = 0, **spec: Any) -> Lookout:
    """A search in a queue for so many jobs at once, whose controllers have looked once at its jobs."""
    here = Lookout(backend=backend)
    here.with_kueue(quota)
    here.apply(a_search(trials, queue="team-queue", **spec))
    here.wait(3)
    here.pods_run()
    return here


def quota(here: Lookout, number: int) -> None:
    assert here.kueue is not None
    here.kueue.quota = number


def preempt(here: Lookout, name: str) -> None:
    """A queue takes a job's quota back, its controller sees it and tells its pods to end."""
    assert here.kueue is not None
    quota(here, 0)
    here.kueue.preempt(here.job(name))
    here.pods_run()


def said(here: Lookout) -> str:
    return next(str(each["message"]) for each in here.status()["conditions"] if each["type"] == c.PROGRESSING)


def pods(here: Lookout, name: str) -> list[str]:
    return [pod["metadata"]["uid"] for pod in here.of(PODS) if attempt(pod) == name]


def assert_nothing_was_changed(here: Lookout) -> None:
    """The operator writes no job after it has created it: `suspend` and what the queue adds are not its own."""
    plurals = {backend.jobs.plural for backend in BACKENDS.values()} | {"trainingruntimes"}
    written = {write for operator in here.operators for write in operator.kube.writes}
    assert not {f"{verb} {plural}" for verb, plural in product(("patch", "update", "replace"), plurals)} & written


# --- jobs that wait -------------------------------------------------------------------------------------------------


def test_jobs_are_born_suspended_and_the_search_says_why_they_wait(backend: str) -> None:
    here = queued(backend)
    assert {job["metadata"]["labels"][QUEUE_LABEL] for job in here.job_objects()} == {"team-queue"}
    assert all(is_suspended(job) for job in here.job_objects())
    here.wait(15)
    assert here.condition() == ("False", c.QUEUED)
    assert f"3 jobs wait in queue team-queue; search-{here.trials()[0].id}-1: {WAITS}." in said(here)
    assert here.of(PODS) == []
    before = list(here.kube.writes)
    here.wait(100)
    assert here.kube.writes == before, "nothing changes"
    here.restart()
    here.wait(100)
    assert here.kube.writes == before, "a process that has just started knows no better"
    quota(here, 3)
    here.play()
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "3/3")
    assert "wait in queue" not in said(here)
    assert_nothing_was_changed(here)


def test_of_jobs_some_of_which_wait_the_search_runs_and_says_how_many(backend: str) -> None:
    here = queued(backend, quota=1)
    here.wait(15)
    assert here.condition() == ("True", c.RUNNING)
    assert "2 jobs wait in queue team-queue; " in said(here)


def test_of_many_jobs_the_one_is_found_that_is_told_why_it_waits(backend: str) -> None:
    here = Lookout(backend=backend)
    here.with_kueue(1).laconic = True
    here.apply(a_search(50, queue="team-queue", repeats=5, parallelTrials=250))
    here.wait(30)
    here.pods_run()
    here.wait(15)
    assert f"249 jobs wait in queue team-queue; search-{here.trials()[-1].id}-1: {WAITS}." in said(here)


@pytest.mark.parametrize(("code", "words"), [
    (404, "this cluster has no Kueue (kueue.x-k8s.io/v1beta2), which would release them"),
    (403, "the operator may not read Workloads (the chart's kueue.enabled)"),
])  # fmt: skip
def test_what_keeps_the_operator_from_knowing_why_is_told(backend: str, code: int, words: str) -> None:
    here = queued(backend)
    here.kube.fails[LIST] = [Fault(refused(code))] * 9
    here.restart()
    here.wait(30)
    assert here.condition() == ("False", c.QUEUED)
    assert words in said(here)
    here.kube.fails.clear()
    here.wait(15)
    assert WAITS in said(here)


def test_a_queue_that_nobody_manages_is_told(backend: str) -> None:
    here = Lookout(backend=backend)
    here.with_kueue(0).blind = True
    here.apply(a_search(queue="team-queue"))
    here.wait(15)
    assert (here.condition(), c.NO_WORKLOAD in said(here)) == (("False", c.QUEUED), True)


def test_workloads_that_can_not_be_listed_hold_up_nothing_else(backend: str) -> None:
    here = Lookout(backend=backend)
    here.with_kueue(0)
    here.kube.fails[LIST] = [Fault(refused(500, "InternalError", "conversion webhook failed"))] * 1000
    here.apply(a_search(3, queue="team-queue"))
    here.wait(30)
    assert (here.condition(), "3 jobs wait in queue team-queue, suspended." in said(here)) == (
        ("False", c.QUEUED),
        True,
    )
    assert len(here.kube.fails[LIST]) >= 995, "not with every look"
    quota(here, 1)
    here.play(seconds=30)
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "3/3")


@pytest.mark.parametrize("failure", [Unreachable("no answer"), refused(410, "Expired")])
def test_a_list_of_workloads_that_goes_wrong_is_made_again(backend: str, failure: Exception) -> None:
    here = Lookout(backend=backend)
    here.with_kueue(0)
    here.kube.fails[LIST] = [Fault(failure)] * 2
    here.apply(a_search(3, queue="team-queue"))
    here.wait(3)
    here.pods_run()
    here.wait(20)
    assert (here.kube.fails[LIST], WAITS in said(here)) == ([], True)


def test_that_a_queue_knows_of_no_job_is_not_said_before_it_can(backend: str) -> None:
    here = Lookout(backend=backend)
    here.with_kueue(0)
    here.apply(a_search(3, queue="team-queue"))
    for _ in range(6):
        here.wait(0.5)
        here.pods_run()
        assert c.NO_WORKLOAD not in said(here)
    here.wait(5)
    assert WAITS in said(here)


def test_workloads_are_left_alone_for_as_long_as_the_api_server_asks(backend: str) -> None:
    here = queued(backend)
    here.kube.fails[LIST] = [Fault(refused(429, retry_after=20))]
    while here.kube.fails[LIST]:
        here.wait(1)
    quota(here, 3)
    here.play(seconds=60)
    assert here.status()["phase"] == "Succeeded"


def test_more_parallel_trials_than_quota_do_no_harm(backend: str) -> None:
    here = queued(backend, trials=7, quota=2, parallelTrials=7)
    for _ in range(20):
        assert sum(not is_suspended(job) for job in here.job_objects() if not has_ended(job)) <= 2
        here.play(seconds=2)
    assert here.records() == {f"{index}.1": "Succeeded" for index in range(7)}
    assert_nothing_was_changed(here)


def test_no_deadline_counts_while_a_job_waits(backend: str) -> None:
    here = queued(backend, pendingDeadlineSeconds=20, deadlineSeconds=20)
    here.wait(1000)
    assert (here.records(), here.condition()) == ({}, ("False", c.QUEUED))
    quota(here, 3)
    here.play()
    assert here.records() == dict.fromkeys(("0.1", "1.1", "2.1"), "Succeeded")
    assert all(record.seconds.queued > 900 for record in here.ledger())


def test_a_released_job_that_gets_no_pods_waits_from_its_release(backend: str) -> None:
    here = queued(backend, trials=1, pendingDeadlineSeconds=60)
    here.wait(1000)
    assert here.kueue is not None
    quota(here, 1)
    here.kueue.look()
    for controller in here.controllers:  # it sees the release, and can't make the pod
        controller.missing = lambda *_: []  # type: ignore[method-assign]
    here.pods_run()
    here.wait(55)
    assert here.records() == {}
    here.wait(40)
    assert here.records() == {"0.1": "Unschedulable"}


def test_a_search_that_is_suspended_or_deleted_while_its_jobs_wait(backend: str) -> None:
    here = queued(backend, trials=4, parallelTrials=2)
    here.change(suspend=True)
    here.wait(5)
    assert here.condition() == ("False", c.SUSPENDED)
    quota(here, 4)
    here.play()
    assert sorted(here.records()) == ["0.1", "1.1"], "what was in the queue goes on"
    quota(here, 0)
    here.change(suspend=False)
    here.wait(5)
    here.delete()
    here.play()
    assert (here.job_objects(), here.of(PODS)) == ([], [])


# --- jobs that are taken back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS)
def test_a_trial_that_is_taken_back_goes_on_with_the_same_attempt_in_another_pod(backend: str, end: str) -> None:
    here = queued(backend, trials=1, quota=1)
    here.wait(5)
    before = pods(here, "0.1")
    preempt(here, "0.1")
    here.wait(2)
    here.pods_end(lambda _: None, told=ENDS[end])
    here.wait(40)
    assert (here.records(), here.jobs(), pods(here, "0.1")) == ({}, ["0.1"], [])
    assert (here.condition(), EVICTED in said(here) or WAITS in said(here)) == (("False", c.QUEUED), True)
    quota(here, 1)
    here.wait(700)
    here.pods_run()
    assert pods(here, "0.1") != before
    here.play()
    (record,) = here.ledger()
    assert (here.records(), record.final) == ({"0.1": "Succeeded"}, True)
    assert "TrialRetried" not in here.told()
    assert_nothing_was_changed(here)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("again", [False, True])
def test_however_late_the_watch_of_jobs_is_no_attempt_is_lost(backend: str, end: str, again: bool) -> None:
    here = queued(backend, trials=1, quota=1)
    here.wait(5)
    (operator,) = here.operators
    operator.hear(operator.unheard())
    operator.deaf = True
    preempt(here, "0.1")
    here.wait(2)
    here.pods_end(lambda _: None, told=ENDS[end])
    if again:
        quota(here, 1)
        here.wait(2)
        here.pods_run()
    operator.hear([each for each in operator.unheard() if each["object"]["kind"] == PODS.kind])
    here.wait(42)
    assert here.records() == {}, "no LIST of everything came by"
    operator.deaf = False
    quota(here, 1)
    here.play()
    assert here.records() == {"0.1": "Succeeded"}


def test_taken_back_while_no_operator_ran(backend: str) -> None:
    here = queued(backend, trials=2, quota=2)
    here.wait(5)
    here.operators.clear()
    preempt(here, "1.1")
    here.pods_end(lambda name: None if name == "1.1" else succeeds(), told=ENDS["by the first signal"])
    here.another()
    here.wait(40)
    assert here.records() == {"0.1": "Succeeded"}
    quota(here, 2)
    here.play()
    assert here.records() == {"0.1": "Succeeded", "1.1": "Succeeded"}


@pytest.mark.parametrize("first", [0, 1])
def test_taken_back_when_one_rank_of_two_had_succeeded(backend: str, first: int) -> None:
    here = queued(backend, trials=1, quota=1, workers=2)
    here.wait(5)

    def stage(pod: Document, now: str) -> Document:
        return succeeds()(pod, now) if rank_of(pod) == first else dict(pod["status"])

    here.pods_end(lambda _: stage)
    here.wait(3)
    assert here.records() == {}
    preempt(here, "0.1")
    here.pods_end(lambda _: None, told=ENDS["by the first signal"])
    here.wait(40)
    assert here.records() == {}
    quota(here, 1)
    here.play()
    assert here.records() == {"0.1": "Succeeded"}
    assert here.condition("Finished")[0] == "True"


def test_a_trial_that_fails_by_itself_fails_though_its_job_was_taken_back_before(backend: str) -> None:
    here = queued(backend, trials=1, quota=1, maxFailedTrials=3)
    here.wait(5)
    preempt(here, "0.1")
    here.pods_end(lambda _: None, told=ENDS["by the first signal"])
    quota(here, 1)
    here.wait(5)
    here.play(lambda _: CRASHES)
    assert here.records() == {"0.1": "Crashed"}


def test_a_trial_that_had_failed_by_itself_before_it_was_taken_back_has_failed(backend: str) -> None:
    here = queued(backend, trials=1, quota=1, workers=2, maxFailedTrials=3)
    here.wait(5)

    def stage(pod: Document, now: str) -> Document:
        return CRASHES(pod, now) if rank_of(pod) == 1 else dict(pod["status"])

    here.pods_end(lambda _: stage)
    here.wait(4)
    preempt(here, "0.1")
    here.pods_end(lambda _: None, told=ENDS["by the second signal"])
    here.wait(50)
    assert here.records() == {"0.1": "Crashed"}
    (record,) = here.ledger()
    assert "boom" in record.error


def test_in_whatever_weather_trials_that_are_taken_back_run_to_their_end_once(backend: str, sweep: Sweep) -> None:
    for seed in sweep.seeds(sample=4, full=400):
        luck, here = random.Random(seed), queued(backend, trials=4, quota=2, parallelTrials=3)
        later = list[Document]()
        here.operators[0].deaf = True
        for step in range(200):
            if step < 40 and luck.random() < 0.3:
                running = [attempt(job) for job in here.job_objects() if not (is_suspended(job) or has_ended(job))]
                live = [name for name in running if name not in here.records()]
                if live and any(
                    attempt(pod) in live and pod["status"]["phase"] == "Running" for pod in here.of(PODS)
                ):
                    preempt(here, luck.choice(live))
            now, later = WATCHES[luck.choice(list(WATCHES))](later + here.operators[0].unheard(), luck)
            here.operators[0].hear(now)
            quota(here, luck.randrange(4) if step < 40 else 2)
            here.wait(luck.choice([1, 2, 7]))
            here.pods_run()
            here.wait(luck.choice([1, 2, 3]))
            here.pods_end(
                lambda _, luck=luck: succeeds() if luck.random() < 0.5 else None, told=ENDS[luck.choice(list(ENDS))]
            )
            if here.condition("Finished")[0] == "True":
                break
        assert here.records() == {f"{index}.1": "Succeeded" for index in range(4)}, f"seed {seed}"
        assert_nothing_was_changed(here)
