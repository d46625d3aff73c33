"""How jobs of each kind and their pods are read, which kind is chosen, and which job a pod is found to belong to."""

import json
from dataclasses import replace
from typing import Any

import pytest

from jobs import PYTORCH_JOBS, TRAIN_JOBS, pytorch_job, train_job
from trialrun_operator import observe
from trialrun_operator.backends import AUTO, BACKENDS, backend_of_pod, choose
from trialrun_operator.backends.backend import Backend, JobState, Place
from trialrun_operator.observe import Job, Pod, timestamp
from trialrun_operator.store import Store
from unit.builders import START
from unit.fakekube import Document
from unit.lookout import EITHER
from unit.objects import KEY, UID, a_workload

WORK = a_workload()
TRIAL = WORK.trials[0]
THEN, LATER = "2026-05-01T10:00:00Z", "2026-05-01T10:05:00Z"


def a_job(backend: Backend, link: str = "a-link", uid: str = "job-uid", **document: Any) -> Document:
    """The job of an attempt as the API server has it."""
    if backend is TRAIN_JOBS:
        made = train_job(WORK, KEY, UID, TRIAL, 1, "trainer:1", link=link)[0]
    else:
        made = pytorch_job(WORK, KEY, UID, TRIAL, 1, "trainer:1")
    made["metadata"] |= {"uid": uid, "resourceVersion": "5", "creationTimestamp": THEN}
    return made | document


def a_condition(kind: str, status: str = "True", when: str = LATER, **more: str) -> Document:
    return {"type": kind, "status": status, "lastTransitionTime": when} | more


GOING_ON = JobState(ended=None, message="", suspended=False, released=None)
SUCCEEDS = {PYTORCH_JOBS: "Succeeded", TRAIN_JOBS: "Complete"}


# --- the status of a job --------------------------------------------------------------------------------------------


@EITHER
def test_a_job_goes_on_until_a_condition_says_otherwise(backend: str) -> None:
    of = BACKENDS[backend]
    job = a_job(of)
    for status in (None, {}, {"conditions": None}, {"conditions": [a_condition("Created")]},
                   {"conditions": [a_condition(SUCCEEDS[of], "False"), a_condition("Failed", "Unknown")]},
                   {"jobsStatus": [{"name": "node", "active": 1, "failed": 1}]}):  # fmt: skip
        assert of.state(job | {"status": status}) == GOING_ON
    assert of.state(job) == GOING_ON


@EITHER
@pytest.mark.parametrize("succeeded", [True, False])
def test_a_job_has_ended_when_its_condition_became_true(backend: str, succeeded: bool) -> None:
    of = BACKENDS[backend]
    kind = SUCCEEDS[of] if succeeded else "Failed"
    ended = of.state(a_job(of, status={"conditions": [a_condition("Suspended", "False", THEN),
                                                      a_condition(kind, message="said why")]}))  # fmt: skip
    assert ended == JobState(ended=LATER, message="said why", suspended=False, released=THEN)


@EITHER
def test_a_job_is_suspended_as_soon_as_it_is_to_be_and_until_its_controller_says_otherwise(backend: str) -> None:
    of = BACKENDS[backend]
    job = a_job(of)
    queued = json.loads(json.dumps(job["spec"]))
    if backend == "TrainJob":
        queued["suspend"] = True
    else:
        queued["runPolicy"]["suspend"] = True

    def state(spec: Document, *conditions: Document) -> tuple[bool, str | None]:
        found = of.state(job | {"spec": spec, "status": {"conditions": list(conditions)}})
        return found.suspended, found.released

    assert state(queued) == (True, None)
    assert state(queued, a_condition("Suspended")) == (True, None)
    assert state(job["spec"], a_condition("Suspended")) == (True, None), "its controller has not heard of it"
    assert state(job["spec"], a_condition("Suspended", "False")) == (False, LATER)
    assert state(queued, a_condition("Suspended", "False"))[0], "taken back, of which the condition doesn't tell yet"


@EITHER
def test_a_job_that_was_never_suspended_may_have_pods_since_it_was_created(backend: str) -> None:
    job = observe.job(BACKENDS[backend], a_job(BACKENDS[backend]))
    assert job is not None
    assert job.released == job.created
    assert (job.resource, job.suspended) == (BACKENDS[backend].jobs, False)


def test_jobs_are_named_by_their_pods_by_uid_or_by_a_label_that_no_other_has() -> None:
    assert PYTORCH_JOBS.link(a_job(PYTORCH_JOBS)["metadata"]) == "job-uid"
    assert TRAIN_JOBS.link(a_job(TRAIN_JOBS)["metadata"]) == "a-link"
    bare = a_job(TRAIN_JOBS)["metadata"] | {"labels": {}}
    assert TRAIN_JOBS.link(bare) == "job-uid", "somebody has taken its label away"


# --- the place of a pod ---------------------------------------------------------------------------------------------


def a_pod(
    rank: str = "0", owner: str = "Job", link: str | None = "a-link", uid: str = "pod", **labels: str
) -> Document:
    """A pod of a TrainJob; `labels` are more, and `link` None takes that label away."""
    found = a_job(TRAIN_JOBS)["metadata"]["labels"] | {"batch.kubernetes.io/job-completion-index": rank} | labels
    found |= {"trialrun.dev/job": link} if link is not None else {}
    if link is None:
        del found["trialrun.dev/job"]
    return {
        "metadata": {
            "name": f"pod-{uid}", "namespace": KEY.namespace, "uid": uid, "resourceVersion": "7",
            "creationTimestamp": timestamp(START), "labels": found,
            "ownerReferences": [{"kind": "Node", "uid": "x"}, {"kind": owner, "uid": "batch", "controller": True}],
        },
        "spec": {"containers": [{"name": "node"}]},
    }  # fmt: skip


def test_a_train_job_s_pod_is_found_by_its_job_s_labels() -> None:
    document = a_pod("2")
    assert backend_of_pod(document) is TRAIN_JOBS
    assert TRAIN_JOBS.place(document["metadata"]) == Place(2, "a-link")
    pod = observe.pod(document)
    assert pod is not None
    assert (pod.rank, pod.link, pod.trial, pod.attempt, pod.key) == (2, "a-link", TRIAL.id, 1, KEY)


@pytest.mark.parametrize(
    "document",
    [a_pod(""), a_pod("first"), a_pod("-1"), a_pod(link=None), a_pod(link=""), a_pod(owner="ReplicaSet")],
    ids=["no index", "a word", "less than none", "no link", "an empty link", "another owner"],
)
def test_a_pod_that_is_no_job_s_is_passed_over(document: Document) -> None:
    assert observe.pod(document) is None


def test_the_training_container_is_called_otherwise_in_a_train_job_and_others_do_not_count() -> None:
    state = {"terminated": {"exitCode": 3, "startedAt": THEN, "finishedAt": LATER}}
    runs = {"running": {"startedAt": THEN}}
    for name, ended in (("node", True), ("pytorch", False)):
        statuses = [{"name": "proxy", "state": runs}, {"name": name, "state": state}]
        pod = observe.pod(a_pod() | {"status": {"phase": "Running", "containerStatuses": statuses}})
        assert pod is not None
        assert (pod.exit is not None) == ended


# --- which kind -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        (AUTO, ("PyTorchJob", "TrainJob"), PYTORCH_JOBS),
        (AUTO, ("TrainJob", "PyTorchJob"), PYTORCH_JOBS),
        (AUTO, ("TrainJob",), TRAIN_JOBS),
        (AUTO, (), None),
        ("TrainJob", ("PyTorchJob", "TrainJob"), TRAIN_JOBS),
        ("TrainJob", ("PyTorchJob",), None),
        ("PyTorchJob", ("TrainJob",), None),
    ],
)
def test_the_kind_that_is_wanted_is_chosen_if_it_is_there(
    wanted: str, there: tuple[str, ...], chosen: Backend | None
) -> None:
    assert choose(wanted, there) is chosen


# --- which job a pod belongs to -------------------------------------------------------------------------------------


def seen(document: Document, **fields: Any) -> Job:
    job = observe.job(TRAIN_JOBS, document)
    assert job is not None
    return replace(job, **fields)


def seen_pod(document: Document, **fields: Any) -> Pod:
    pod = observe.pod(document)
    assert pod is not None
    return replace(pod, **fields)


def attempts(store: Store) -> list[tuple[str | None, list[str]]]:
    """Uids of jobs and their pods."""
    return sorted(
        (each.job and each.job.uid, [pod.uid for pod in each.pods]) for each in store.attempts(KEY, UID)
    )  # fmt: skip


def test_pods_find_their_job_whichever_is_seen_first() -> None:
    job, pods = seen(a_job(TRAIN_JOBS)), [seen_pod(a_pod(str(rank), uid=f"pod-{rank}")) for rank in range(2)]
    for order in ([job, *pods], [*pods, job], [pods[0], job, pods[1]]):
        store = Store(lambda: START)
        for value in order:
            store.put(value)
        assert attempts(store) == [("job-uid", ["pod-0", "pod-1"])]


def test_a_job_made_anew_by_another_link_has_none_of_the_old_one_s_pods() -> None:
    store = Store(lambda: START)
    old, new = seen(a_job(TRAIN_JOBS, "old", "1")), seen(a_job(TRAIN_JOBS, "new", "2"))
    lingers, runs = seen_pod(a_pod(link="old", uid="a")), seen_pod(a_pod(link="new", uid="b"))
    for value in (old, lingers):
        store.put(value)
    store.remove(old.uid)
    for value in (runs, new):
        store.put(value)
    found = {each.job.uid if each.job else None: [pod.uid for pod in each.pods] for each in store.attempts(KEY, UID)}
    assert found == {None: ["a"], "2": ["b"]}
    store.remove(lingers.uid)
    assert attempts(store) == [("2", ["b"])]


@pytest.mark.parametrize("late", [False, True])
def test_a_job_replaced_by_its_copy_keeps_the_link_and_its_pods_whichever_is_seen_first(late: bool) -> None:
    store = Store(lambda: START)
    old, new = seen(a_job(TRAIN_JOBS, uid="1")), seen(a_job(TRAIN_JOBS, uid="2"), version=9)
    store.put(old)
    store.put(seen_pod(a_pod(uid="a")))
    if late:
        store.put(new)
        store.remove(old.uid)
    else:
        store.remove(old.uid)
        store.put(new)
    assert attempts(store) == [("2", ["a"])]


def test_a_job_whose_link_was_changed_by_hand_is_one_attempt_and_no_two() -> None:
    store = Store(lambda: START)
    store.put(seen(a_job(TRAIN_JOBS)))
    store.put(seen_pod(a_pod()))
    store.put(seen(a_job(TRAIN_JOBS, link="mine"), version=9))
    assert [each.job.uid for each in store.attempts(KEY, UID) if each.job] == ["job-uid"]
    store.remove("job-uid")
    assert [each.job for each in store.attempts(KEY, UID)] == [None]
    store.remove("pod")
    assert store.attempts(KEY, UID) == []


def test_a_pod_whose_link_was_changed_by_hand_belongs_to_one_job() -> None:
    store = Store(lambda: START)
    store.put(seen(a_job(TRAIN_JOBS)))
    store.put(seen_pod(a_pod()))
    store.put(seen_pod(a_pod(link="another"), version=9))
    assert {each.job and each.job.uid: len(each.pods) for each in store.attempts(KEY, UID)} == {"job-uid": 0, None: 1}
    store.put(seen_pod(a_pod(), version=10))
    assert attempts(store) == [("job-uid", ["pod"])]
