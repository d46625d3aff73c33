"""What pods and jobs look like to the operator; statuses are those that a kubelet and controllers leave."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from cluster import podstatus
from jobs import PYTORCH_JOBS, pytorch_job
from trainer.experiment.judge import RankExit
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Memory, Record
from trialrun_operator import observe
from trialrun_operator.attempt_state import (
    ASKED_MILLISECONDS,
    BACKSTOP_MILLISECONDS,
    CONFIRMED_MILLISECONDS,
    GRACE_MILLISECONDS,
    PODLESS_MILLISECONDS,
    AttemptState,
    Finished,
    NeedsReason,
    NeedsRelist,
    Pending,
    attempt_state,
)
from trialrun_operator.observe import Attempt, Job, milliseconds, timestamp
from trialrun_operator.pod_outcome import refusal_of
from trialrun_operator.store import Store
from unit.builders import START
from unit.objects import KEY, UID, a_job, a_running_pod, a_workload, an_ended_pod, message, observed, pod_document

WORK = a_workload()
TRIAL = WORK.trials[0]
THEN = timestamp(START + 59_000)[:-5] + "Z"


def after(*stages: Any, deleting: bool = False) -> dict[str, Any]:
    """A pod that went through statuses one after the other."""
    document = pod_document(TRIAL)
    for stage in stages:
        document["status"] |= stage(document, THEN)
    if deleting:
        document["metadata"]["deletionTimestamp"] = THEN
    return document


def waits_for(reason: str, text: str = "") -> Any:
    return partial(podstatus.waiting, reason=reason, message=text)


def ends(code: int = 0, text: str = "", reason: str = "") -> Any:
    return partial(podstatus.ended, exit_code=code, message=text, reason=reason)


def by_kubelet(reason: str, disruption: str = "") -> Any:
    return partial(podstatus.ended_by_kubelet, reason=reason, message="the node says why", disruption=disruption)


def refused(reason: str) -> Any:
    """The kubelet ends a pod without touching its containers."""
    return lambda *_: {"phase": "Failed", "reason": reason, "message": "the node says why"}


def in_init(*_: Any) -> dict[str, Any]:
    return {"initContainerStatuses": [{"name": "wait", "state": {"running": {"startedAt": THEN}}}]}


RUNS = podstatus.running
REPORT = message()
SO_FAR = message(provisional=True, metrics={}, samples=845, memory=Memory(peak_bytes=7, mean_bytes=5))
OWN_ERROR = message(outcome="Diverged", error="loss is NaN in epoch 3", metrics={})


@pytest.mark.parametrize(
    ("document", "outcome", "error"),
    [
        (after(RUNS, ends(0, REPORT)), Outcome.SUCCEEDED, ""),
        (after(RUNS, ends(137, reason="OOMKilled")), Outcome.HOST_OOM, "OOMKilled, exit code 137"),
        (after(RUNS, ends(0, REPORT, "OOMKilled")), Outcome.HOST_OOM, "OOMKilled, exit code 0"),
        (after(RUNS, ends(137)), Outcome.CRASHED, "killed by signal 9 (exit code 137)"),
        (after(RUNS, ends(192)), Outcome.CRASHED, "killed by signal 64 (exit code 192)"),
        (after(RUNS, ends(193)), Outcome.CRASHED, "ended with exit code 193 without a report"),
        (after(RUNS, ends(255)), Outcome.CRASHED, "ended with exit code 255 without a report"),
        (after(RUNS, ends(128)), Outcome.CRASHED, "ended with exit code 128 without a report"),
        (after(RUNS, ends(-1)), Outcome.CRASHED, "ended with exit code -1 without a report"),
        (after(RUNS, ends(-1073741819)), Outcome.CRASHED, "ended with exit code -1073741819 without a report"),
        (after(RUNS, ends(255, reason="Unknown")), Outcome.CRASHED, "Unknown: ended with exit code 255"),
        (after(RUNS, ends(0, '{"metrics": {"validMse": NaN}}')), Outcome.DIVERGED,
         "the objective validMse was reported as nan"),
        (after(RUNS, ends(0, '{"metrics": {"validMse": -Infinity}}')), Outcome.DIVERGED, "was reported as -inf"),
        (after(RUNS, ends(0, '{"metrics": {"validMse": 1, "other": NaN}}')), Outcome.SUCCEEDED, ""),
        (after(RUNS, ends(0, '{"metrics": {"validMse": 1}, "metric": "x"}')), Outcome.METRICS_MISSING,
         'rank 0 left what is not a report: metric: no such field (did you mean metrics?), got "x"'),
        (after(RUNS, ends(0, '{"metrics": {"validMse": null}}')), Outcome.METRICS_MISSING,
         "metrics.validMse: must be a number, got null"),
        (after(RUNS, ends(0, '{"metrics": {"validMse": 1}')), Outcome.METRICS_MISSING,
         "not a report: must be JSON (EOF while parsing an object"),
        (after(RUNS, ends(0, "done!")), Outcome.METRICS_MISSING, 'got "done!"'),
        (after(RUNS, ends(0, '"low"')), Outcome.METRICS_MISSING, "not a report: must be a mapping"),
        (after(RUNS, ends(0, "1" * 4094 + "}}")), Outcome.METRICS_MISSING, "a report has at most 4096 bytes"),
        (after(RUNS, ends(3, "1" * 4094 + "}}")), Outcome.CRASHED, "a report has at most 4096 bytes"),
        (after(RUNS, ends(3, '{"metrics": {"validMse": "low"}, "rank": "0"}')), Outcome.CRASHED,
         'not a report: rank: must be a whole number, got "0"; metrics.validMse: must be a number, got "low"'),
        (after(RUNS, ends(66, '{"outcome": "Diverged", "error": "loss is NaN", "note": 1}')), Outcome.DIVERGED,
         "loss is NaN; it left what is not a report: note: no such field"),
        (after(RUNS, ends(67, '{"outcome": "DeviceOOM", "error": "CUDA out of')), Outcome.DEVICE_OOM,
         "it left what is not a report: must be JSON"),
        (after(RUNS, ends(3, '{"provisional": true, "outcome": "Diverged", "note": 1}')), Outcome.CRASHED,
         "note: no such field"),
        (after(RUNS, ends(3, '{"outcome": "Exploded", "error": "boom"}')), Outcome.CRASHED,
         'outcome: must be one of'),
        (after(RUNS, ends(134, "what():  std::bad_alloc")), Outcome.HOST_OOM, "std::bad_alloc"),
        (after(RUNS, ends(137, SO_FAR, "OOMKilled")), Outcome.HOST_OOM, "OOMKilled, exit code 137"),
        (after(RUNS, ends(137, SO_FAR)), Outcome.CRASHED, "killed by signal 9 (exit code 137) without a report"),
        (after(RUNS, ends(137, SO_FAR), deleting=True), Outcome.EVICTED, "Deleted"),
        (after(RUNS, ends(3, SO_FAR)), Outcome.CRASHED, "ended with exit code 3 without a report"),
        (after(RUNS, ends(0, SO_FAR)), Outcome.METRICS_MISSING, "rank 0 ended without a report"),
        (after(RUNS, partial(podstatus.past_deadline, left=SO_FAR)), Outcome.TIMED_OUT, "DeadlineExceeded"),
        (after(RUNS, ends(1, "Traceback: boom")), Outcome.CRASHED, "Traceback: boom"),
        (after(RUNS, ends(66, OWN_ERROR)), Outcome.DIVERGED, "loss is NaN in epoch 3"),
        (after(RUNS, ends(67, message(outcome="DeviceOOM", error="CUDA"))), Outcome.DEVICE_OOM, "CUDA"),
        (after(RUNS, ends(65, message(outcome="DataUnavailable"))), Outcome.DATA_UNAVAILABLE, ""),
        (after(RUNS, ends(2, message(outcome="InvalidConfig"))), Outcome.INVALID_CONFIG, ""),
        (after(RUNS, ends(0, "done!")), Outcome.METRICS_MISSING, ""),
        (after(RUNS, ends(0, message(metrics={"loss": 1.0}))), Outcome.METRICS_MISSING, "validMse was not reported"),
        (after(RUNS, podstatus.past_deadline), Outcome.TIMED_OUT, "It trained for 0 s of deadlineSeconds 600"),
        (after(RUNS, by_kubelet("Evicted", "TerminationByKubelet")), Outcome.EVICTED, "the node says why"),
        (after(RUNS, by_kubelet("Terminated", "TerminationByKubelet")), Outcome.NODE_LOST, "the node says why"),
        (after(by_kubelet("Preempting", "PreemptionByScheduler")), Outcome.EVICTED, "the node says why"),
        (after(lambda *_: {"phase": "Failed", "reason": "OutOfcpu"}), Outcome.EVICTED, "OutOfcpu"),
        (after(refused("TopologyAffinityError")), Outcome.EVICTED, "TopologyAffinityError: the node says why"),
        (after(waits_for("ContainerCreating"), refused("PodOSNotSupported")), Outcome.EVICTED, "PodOSNotSupported"),
        (after(RUNS, ends(3), refused("NodePorts")), Outcome.CRASHED, "NodePorts: the node says why"),
        (after(in_init, refused("NodePorts")), Outcome.CRASHED,
         "NodePorts: the node says why; the pod failed, and nothing is known about its container"),
        (after(RUNS, podstatus.orphaned), Outcome.NODE_LOST, "node no longer exists"),
        (after(RUNS, podstatus.tainted, deleting=True), Outcome.NODE_LOST, "NoExecute taint"),
        (after(waits_for("ErrImagePull"), lambda *_: {"phase": "Failed", "reason": "DeadlineExceeded"}),
         Outcome.IMAGE_UNAVAILABLE, "ErrImagePull"),
    ],
)  # fmt: skip
def test_the_end_of_a_pod_becomes_an_outcome_with_its_evidence(
    document: dict[str, Any], outcome: Outcome, error: str
) -> None:
    attempt = Attempt(a_job(TRIAL), (observed(document),), confirmed=START + 60_000)
    found = attempt_state(attempt, TRIAL, WORK, accepted=START, retries_left=True, now=START + 60_000)
    assert isinstance(found, Finished)
    assert found.record.outcome is outcome
    assert error in found.record.error
    assert found.record.final == (outcome not in (Outcome.EVICTED, Outcome.NODE_LOST))


@pytest.mark.parametrize(
    ("document", "evidence"),
    [
        (after(RUNS, ends(137, SO_FAR, "OOMKilled")), {"exitCode": 137, "containerReason": "OOMKilled"}),
        (after(RUNS, partial(podstatus.past_deadline, left=SO_FAR)),
         {"exitCode": 137, "containerReason": "Error", "podReason": "DeadlineExceeded"}),
        (after(RUNS, by_kubelet("Evicted", "TerminationByKubelet")),
         {"exitCode": 137, "containerReason": "Error", "podReason": "Evicted", "disruption": "TerminationByKubelet"}),
        (after(RUNS, ends(66, OWN_ERROR)), {"exitCode": 66, "containerReason": "Error"}),
        (after(lambda *_: {"phase": "Failed", "reason": "OutOfcpu"}), {"podReason": "OutOfcpu"}),
    ],
)  # fmt: skip
def test_the_words_that_prove_an_end_stand_in_its_record(document: dict[str, Any], evidence: dict[str, Any]) -> None:
    ending = observed(document).exit
    assert ending is not None
    assert ending.evidence == evidence


def test_what_a_killed_pod_had_written_so_far_counts_but_for_its_outcome() -> None:
    pod = observed(after(RUNS, ends(137, SO_FAR + " " * 40, "OOMKilled")))
    found = attempt_state(Attempt(a_job(TRIAL), (pod,)), TRIAL, WORK, accepted=START, retries_left=True, now=START)
    assert isinstance(found, Finished)
    assert found.record.memory == (Memory(peak_bytes=7, mean_bytes=5),)
    assert (found.record.samples, found.record.metrics, found.record.exit_code) == (845, {}, 137)


@pytest.mark.parametrize(
    ("document", "outcome", "final"),
    [
        (after(waits_for("ImagePullBackOff", "not found")), Outcome.IMAGE_UNAVAILABLE, False),
        (after(waits_for("InvalidImageName")), Outcome.IMAGE_UNAVAILABLE, True),
        (after(waits_for("CreateContainerConfigError")), Outcome.INVALID_CONFIG, False),
        (pod_document(TRIAL, conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]),
         Outcome.UNSCHEDULABLE, False),
    ],
)  # fmt: skip
def test_a_pod_that_does_not_start_says_why(document: dict[str, Any], outcome: Outcome, final: bool) -> None:
    pod = observed(document)
    assert pod.exit is None
    assert pod.start_failure is not None
    assert (pod.start_failure.outcome, pod.start_failure.final) == (outcome, final)


@pytest.mark.parametrize(
    "document", [pod_document(TRIAL), after(RUNS), after(podstatus.in_init), after(RUNS, deleting=True)]
)
def test_a_pod_that_runs_or_is_being_set_up_has_not_ended(document: dict[str, Any]) -> None:
    assert observed(document).exit is None


def test_missing_metrics_are_not_believed_before_the_pods_were_listed() -> None:
    attempt = Attempt(a_job(TRIAL), (observed(after(RUNS, ends(0))),))
    found = attempt_state(attempt, TRIAL, WORK, accepted=START, retries_left=True, now=START)
    assert isinstance(found, NeedsRelist)


def test_a_failed_job_without_pods_has_lost_its_node_once_the_pods_were_listed() -> None:
    job = a_job(TRIAL, ended=START, message="it failed")
    bare = attempt_state(Attempt(job, ()), TRIAL, WORK, accepted=START, retries_left=True, now=START)
    assert isinstance(bare, NeedsRelist)
    sure = attempt_state(Attempt(job, (), START), TRIAL, WORK, accepted=START, retries_left=True, now=START)
    assert isinstance(sure, Finished)
    assert sure.record.outcome is Outcome.NODE_LOST
    assert "it failed" in sure.record.error


def test_a_job_that_succeeded_while_no_watch_told_of_its_pod_has_not_lost_it() -> None:
    job, stale, late = (
        a_job(TRIAL, ended=START),
        observed(after(RUNS)),
        START + max(GRACE_MILLISECONDS, CONFIRMED_MILLISECONDS),
    )
    unseen = attempt_state(Attempt(job, (stale,)), TRIAL, WORK, accepted=START, retries_left=True, now=late)
    assert isinstance(unseen, NeedsRelist)
    old = attempt_state(Attempt(job, (stale,), START), TRIAL, WORK, accepted=START, retries_left=True, now=late)
    assert isinstance(old, NeedsRelist), "a LIST of half a minute ago settles nothing"
    hangs = attempt_state(Attempt(job, (stale,), late), TRIAL, WORK, accepted=START, retries_left=True, now=late)
    assert isinstance(hangs, Finished)
    assert hangs.record.outcome is Outcome.NODE_LOST
    assert "its pods have not ended" in hangs.record.error


def test_a_pod_that_was_deleted_while_it_ran_is_evicted_unless_its_job_was_deleted() -> None:
    pod = observed(after(RUNS, ends(137), deleting=True))
    unread = attempt_state(Attempt(a_job(TRIAL), (pod,)), TRIAL, WORK, accepted=START, retries_left=True, now=START)
    assert isinstance(unread, NeedsRelist), "a queue may have suspended its job"
    read = Attempt(a_job(TRIAL), (pod,), confirmed=START)
    found = attempt_state(read, TRIAL, WORK, accepted=START, retries_left=True, now=START)
    assert isinstance(found, Finished)
    assert found.record.outcome is Outcome.EVICTED
    for job in (None, a_job(TRIAL, deleting=True)):
        found = attempt_state(Attempt(job, (pod,)), TRIAL, WORK, accepted=START, retries_left=True, now=START)
        assert isinstance(found, Pending)


def test_pods_that_a_queue_took_back_do_not_count_and_one_that_had_ended_by_itself_does() -> None:
    taken, again = observed(after(RUNS, ends(143), deleting=True)), observed(after(RUNS))
    suspended, released = a_job(TRIAL, suspended=True), a_job(TRIAL, released=START + 90_000)
    assert Attempt(suspended, (taken,)).ranks == {}
    later = replace(again, uid="2", created=START + 91_000)
    assert Attempt(released, (taken, later)).ranks == {0: later}
    for job in (suspended, released):
        found = attempt_state(Attempt(job, (taken,)), TRIAL, WORK, accepted=START, retries_left=True, now=START)
        assert isinstance(found, Pending)
    ended = replace(taken, withdrawn=False)
    assert Attempt(released, (ended, later)).ranks == {0: ended}


@pytest.mark.parametrize(("ended", "withdrawn"), [("10:00:00", False), ("10:00:05", True), ("10:00:09", True)])
def test_a_pod_is_withdrawn_if_it_had_not_ended_before_it_was_told_to(ended: str, withdrawn: bool) -> None:
    document = after(RUNS, ends(0), deleting=True)
    document["metadata"] |= {"deletionTimestamp": "2026-05-01T10:00:15Z", "deletionGracePeriodSeconds": 10}
    document["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = f"2026-05-01T{ended}Z"
    assert observed(document).withdrawn == withdrawn


@pytest.mark.parametrize(("code", "withdrawn"), [(0, False), (1, True), (137, True)])
def test_of_a_pod_that_its_kubelet_lets_go_it_is_not_known_when_it_was_told_to_end(
    code: int, withdrawn: bool
) -> None:
    document = after(RUNS, ends(code), deleting=True)
    document["metadata"] |= {"deletionTimestamp": "2026-05-01T10:00:05Z", "deletionGracePeriodSeconds": 0}
    document["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = "2026-05-01T10:00:04Z"
    assert observed(document).withdrawn == withdrawn


def test_the_first_end_of_a_rank_counts_when_its_pod_is_made_anew() -> None:
    first = replace(observed(after(RUNS, podstatus.orphaned)), uid="1", deleting=True)
    second = replace(observed(after(RUNS)), uid="2", created=first.created + 1)
    assert Attempt(a_job(TRIAL), (second, first)).ranks == {0: first}


def test_ranks_are_master_then_workers() -> None:
    work = a_workload(workers=3)
    pods = [observed(pod_document(work.trials[0], rank, work)) for rank in range(3)]
    assert [pod.rank for pod in pods] == [0, 1, 2]


def timed(document: dict[str, Any], began: int = 46_000) -> Record:
    """The record of a pod that was given a node 10 s after its creation, and whose container started at `began`."""
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp(START + 10_000)}
    document["status"]["conditions"].append(scheduled)
    document["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"] = timestamp(START + began)
    attempt = Attempt(a_job(TRIAL), (observed(document),))
    found = attempt_state(attempt, TRIAL, WORK, accepted=START, retries_left=True, now=START + 60_000)
    assert isinstance(found, Finished)
    return found.record


def test_an_attempt_starts_with_its_node_and_its_times_add_up_to_its_end() -> None:
    spent = {"start": 2.0, "data": 0.5, "train": 9.75, "total": 12.75}
    record = timed(after(RUNS, ends(0, message(clock=START + 59_400, seconds=spent))))
    assert (record.started_at, record.finished_at) == (START + 10_999, START + 59_400)
    # From the node to the process, which began 12.75 s before the report, and from there to its training code.
    assert record.seconds.start == pytest.approx(46.65 - 10.999 + 2)
    seconds = record.seconds
    assert seconds.queued == 10.999
    assert seconds.total == pytest.approx(seconds.start + seconds.data + seconds.train + 0.5)


def test_a_clock_that_does_not_fit_the_node_is_not_believed() -> None:
    record = timed(after(RUNS, ends(0, message(clock=START + 90_400, seconds={"start": 1.0, "total": 12.75}))))
    assert record.finished_at == START + 59_000
    assert record.seconds.start == pytest.approx(46 - 10.999 + 1)


def test_without_a_report_what_came_before_the_container_is_known() -> None:
    record = timed(after(RUNS, ends(137)))
    assert (record.seconds.start, record.seconds.train) == (pytest.approx(46 - 10.999), 0)
    assert record.seconds.total == pytest.approx(59 - 10.999)


def test_a_trial_never_starts_before_the_one_whose_place_it_took_had_ended() -> None:
    # The node was given at 10.9, which the API server wrote down as 10.0; the other trial had ended at 10.8.
    spent = {"start": 0.25, "train": 0.25, "total": 0.5}
    record = timed(after(RUNS, ends(0, message(clock=START + 59_000, seconds=spent))), began=58_000)
    assert record.started_at >= START + 10_800


def queued(suspend: bool, **condition: str) -> Job:
    """A job that a queue took on at START, with its condition Suspended."""
    document = pytorch_job(WORK, KEY, UID, TRIAL, 1, "trainer:1")
    document["metadata"] |= {"uid": "u", "resourceVersion": "1", "creationTimestamp": timestamp(START)}
    document["spec"]["runPolicy"]["suspend"] = suspend
    document["status"] = {"conditions": [{"type": "Suspended"} | condition]}
    job = observe.job(PYTORCH_JOBS, document)
    assert job is not None
    return job


def test_a_job_that_a_queue_held_back_waits_for_its_pods_from_its_release() -> None:
    hour, deadline = 3_600_000, 1000 * WORK.experiment.spec.pending_deadline_seconds
    for job in (queued(True, status="True"), queued(False, status="True", lastTransitionTime=timestamp(START))):
        held = attempt_state(Attempt(job, ()), TRIAL, WORK, accepted=START, retries_left=True, now=START + hour)
        assert held == Pending()
    job = queued(False, status="False", lastTransitionTime=timestamp(START + hour))
    due = START + hour + deadline
    early = attempt_state(Attempt(job, (), asked=due), TRIAL, WORK, accepted=START, retries_left=True, now=due - 1)
    assert early == Pending(due)
    late = attempt_state(Attempt(job, (), due), TRIAL, WORK, accepted=START, retries_left=True, now=due)
    assert isinstance(late, Finished)
    assert (late.record.outcome, late.record.seconds.queued) == (Outcome.UNSCHEDULABLE, hour / 1000)


def test_a_job_and_a_pod_of_nobody_are_no_business_of_ours() -> None:
    job = pytorch_job(WORK, KEY, UID, TRIAL, 1, "trainer:1")
    seen = {"uid": "u", "resourceVersion": "1", "creationTimestamp": THEN}
    assert observe.job(PYTORCH_JOBS, {**job, "metadata": job["metadata"] | seen}) is not None
    job["metadata"]["ownerReferences"] = []
    assert observe.job(PYTORCH_JOBS, {**job, "metadata": job["metadata"] | seen}) is None
    pod = pod_document(TRIAL)
    pod["metadata"]["labels"] = {"trialrun.dev/experiment": "sp500-grid"}
    assert observe.pod(pod) is None


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("trialrun.dev/attempt", "0"),
        ("trialrun.dev/attempt", "100"),
        ("trialrun.dev/attempt", "first"),
        ("training.kubeflow.org/replica-index", "abc"),
        ("training.kubeflow.org/replica-index", ""),
    ],
)
def test_a_pod_with_a_label_that_nobody_of_ours_writes_is_nobodys(label: str, value: str) -> None:
    work = a_workload(workers=2)
    pod = pod_document(work.trials[0], 1, work)
    assert observe.pod(pod) is not None
    pod["metadata"]["labels"] |= {label: value}
    assert observe.pod(pod) is None


def test_times_survive_the_api_server() -> None:
    assert milliseconds(timestamp(START + 123)) == START + 123
    assert milliseconds("2023-11-14T22:13:20Z") == START


def on_a_node(behind: int, *stages: Any) -> dict[str, Any]:
    """A pod bound at START + 10 s to a node whose clock is so far behind, after it went through statuses there."""
    document = pod_document(TRIAL)
    for seconds, stage in zip((11, 40), stages, strict=False):
        document["status"] |= stage(document, timestamp(START + 1000 * seconds - behind))
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp(START + 10_000)}
    document["status"]["conditions"].append(scheduled)
    return document


@pytest.mark.parametrize("behind", [-90_000, 0, 30_000, 90_000])
def test_a_node_whose_clock_is_off_ends_no_attempt_before_its_deadline(behind: int) -> None:
    pod = observed(on_a_node(behind, RUNS))

    def state(now: int) -> AttemptState:
        return attempt_state(
            Attempt(a_job(TRIAL), (pod,), confirmed=now), TRIAL, WORK, accepted=START, retries_left=True, now=now
        )

    ends = START + 10_000 + 1000 * WORK.deadline_of(TRIAL) + BACKSTOP_MILLISECONDS
    assert isinstance(state(START + 12_000), Pending)
    assert isinstance(state(ends - 1000), Pending)
    late = state(ends + 1000 + max(0, -behind))
    assert isinstance(late, Finished)
    assert late.record.outcome is Outcome.TIMED_OUT


@pytest.mark.parametrize("behind", [-90_000, 0, 30_000, 90_000])
def test_how_long_an_attempt_took_is_told_by_one_clock(behind: int) -> None:
    store = Store(lambda: START + 41_000)
    store.put(observed(on_a_node(behind, RUNS, ends(0, message(clock=START + 40_000 - behind)))))
    found = attempt_state(
        *(store.attempts(KEY, UID)[0], TRIAL, WORK), accepted=START, retries_left=True, now=START + 41_000
    )
    assert isinstance(found, Finished)
    assert found.record.seconds.total == pytest.approx(30, abs=2)
    assert found.record.seconds.start == pytest.approx(1, abs=2)


@pytest.mark.parametrize("behind", [-90_000, 0, 90_000])
def test_other_ranks_are_waited_for_from_when_a_failure_was_noticed(behind: int) -> None:
    work, seen = a_workload(workers=2), START + 60_000
    trial = work.trials[0]
    store = Store(lambda: seen)
    store.put(a_job(trial))
    store.put(an_ended_pod(trial, RankExit(0, 1), ended=seen - behind))
    store.put(a_running_pod(trial, rank=1))
    (attempt,) = store.attempts(KEY, UID)

    def state(now: int) -> AttemptState:
        return attempt_state(attempt, trial, work, accepted=START, retries_left=True, now=now)

    assert state(seen + GRACE_MILLISECONDS - 1) == Pending(seen + GRACE_MILLISECONDS)
    assert not isinstance(state(seen + GRACE_MILLISECONDS), Pending)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ('pods "p" is forbidden: no PriorityClass with name missing was found', Outcome.INVALID_CONFIG),
        ('Pod "p" is invalid: spec.containers[0].image: Required value', Outcome.INVALID_CONFIG),
        ('admission webhook "policy" denied the request: no team label', Outcome.INVALID_CONFIG),
        ('pods "p" is forbidden: exceeded quota: few, requested: pods=1, used: pods=6, limited: pods=6', None),
        ('pods "p" is forbidden: error looking up service account a/default: not found', None),
        ("Internal error occurred: failed calling webhook", None),
    ],
)
def test_of_a_job_without_pods_its_events_are_asked_why(said: str, outcome: Outcome | None) -> None:
    job, then = a_job(TRIAL), START + PODLESS_MILLISECONDS

    def state(now: int, **asked: Any) -> AttemptState:
        attempt = Attempt(job, (), confirmed=now, **asked)
        return attempt_state(attempt, TRIAL, WORK, accepted=START, retries_left=True, now=now)

    assert state(then - 1) == Pending(then)
    assert state(then) == NeedsReason(job)
    told = {"asked": then, "refusal": refusal_of(f"Error creating: {said}")}
    found, late = state(then, **told), state(START + 1000 * WORK.experiment.spec.pending_deadline_seconds, **told)
    assert isinstance(late, Finished)
    assert said in late.record.error
    if outcome is None:
        assert found == Pending(then + ASKED_MILLISECONDS), "it may be answered otherwise later"
        assert late.record.outcome is Outcome.UNSCHEDULABLE
    else:
        assert isinstance(found, Finished)
        assert (found.record.outcome, found.record.error) == (outcome, said)
