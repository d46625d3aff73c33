"""What the operator remembers: the newest of each object, whatever the order in which it heard."""

import itertools
import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from trialrun_operator.names import Key
from trialrun_operator.observe import Attempt, Job, Pod
from trialrun_operator.store import Store
from unit.builders import START
from unit.objects import KEY, UID, a_job, a_pod, a_running_pod, a_workload, an_ended_pod

NOW = START + 61_000

T = a_workload().trials


def test_an_older_version_never_replaces_a_newer_one() -> None:
    store = Store(lambda: NOW)
    assert store.put(a_job(T[0], version=5, ended=7))
    assert not store.put(a_job(T[0], version=4))
    assert store.attempts(KEY, UID)[0].job == a_job(T[0], version=5, ended=7)


def test_what_is_deleted_does_not_come_back() -> None:
    store = Store(lambda: NOW)
    store.put(a_job(T[0], version=5))
    store.remove(a_job(T[0]).uid)
    assert not store.put(a_job(T[0], version=6))
    assert store.attempts(KEY, UID) == []


def test_a_list_removes_what_is_gone_and_keeps_what_is_newer() -> None:
    store = Store(lambda: NOW)
    store.put(a_job(T[0], version=5))
    store.put(a_job(T[1], version=20))
    news = store.replace([a_job(T[2], version=9)], 10, lambda value: isinstance(value, Job))
    assert {attempt.identity[0] for attempt in store.attempts(KEY, UID)} == {T[1].id, T[2].id}
    assert len(news) == 1


def test_a_list_of_pods_leaves_jobs_alone() -> None:
    store = Store(lambda: NOW)
    store.put(a_job(T[0], version=5))
    store.replace([], 10, lambda value: isinstance(value, Pod))
    assert len(store.attempts(KEY, UID)) == 1


def test_pods_without_their_job_are_an_attempt_until_they_go() -> None:
    store = Store(lambda: NOW)
    pod = a_pod(T[0])
    store.put(pod)
    assert store.attempts(KEY, UID)[0].pods == (pod,)
    store.remove(pod.uid)
    assert store.attempts(KEY, UID) == []


def test_how_a_pod_ended_is_remembered_until_its_job_is_gone() -> None:
    store = Store(lambda: NOW)
    store.put(a_job(T[0]))
    ended = an_ended_pod(T[0])
    store.put(ended)
    store.remove(ended.uid)
    assert store.attempts(KEY, UID)[0].pods == (replace(ended, deleting=True, noticed=NOW),)
    assert store.replace([], 99, lambda value: isinstance(value, Pod)) == set(), "a LIST has no news of it"
    store.remove(a_job(T[0]).uid)
    assert store.attempts(KEY, UID) == []


def test_whether_a_pod_ended_by_itself_follows_from_how_its_end_was_first_seen() -> None:
    for withdrawn in (True, False):
        store = Store(lambda: NOW)
        store.put(replace(an_ended_pod(T[0]), withdrawn=withdrawn))
        store.put(replace(an_ended_pod(T[0]), withdrawn=not withdrawn, deleting=True, version=99))
        (pod,) = store.attempts(KEY, UID)[0].pods
        assert (pod.withdrawn, pod.deleting) == (withdrawn, True)


def test_what_another_namespace_labels_as_ours_is_not_ours() -> None:
    store = Store(lambda: NOW)
    job, pod = a_job(T[0]), a_running_pod(T[0])
    elsewhere = replace(KEY, namespace="team-b")
    theirs = Key(KEY.kind, "team-b", "theirs")
    store.put(job)
    store.put(pod)
    store.put(an_ended_pod(T[0], key=elsewhere, uid="1"))
    store.put(an_ended_pod(T[0], key=theirs, uid="2", experiment_uid="their-uid"))
    store.put(an_ended_pod(T[1], key=elsewhere, uid="3", link="made-up"))
    store.put(a_job(T[2], key=elsewhere, uid="4", ended=9))
    assert [attempt.pods for attempt in store.attempts(theirs, "their-uid") if attempt.job] == []
    assert store.attempts(KEY, UID) == [Attempt(job, (pod,))]
    for uid in ("1", "2", "3", "4"):
        store.remove(uid)
    assert store.attempts(theirs, "their-uid") == []
    assert store.attempts(KEY, UID) == [Attempt(job, (pod,))]


def test_a_pod_whose_labels_were_changed_by_hand_goes_over() -> None:
    store = Store(lambda: NOW)
    store.put(a_job(T[0]))
    store.put(a_running_pod(T[0]))
    assert len(store.attempts(KEY, UID)[0].pods) == 1
    moved = a_running_pod(T[0], version=2, experiment_uid="another")
    store.put(moved)
    assert store.attempts(KEY, UID) == [Attempt(a_job(T[0]), ())]
    assert store.attempts(KEY, "another") == [Attempt(None, (moved,))]


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_any_order_of_the_same_events_leaves_the_same_memory(seed: int) -> None:
    versions = itertools.count(1)
    events: list[tuple[str, Job | Pod]] = []
    for trial in T[:4]:
        job, pod = a_job(trial), a_pod(trial)
        events += [("put", replace(job, version=next(versions))), ("put", replace(pod, version=next(versions)))]
        events.append(("put", replace(a_running_pod(trial), version=next(versions))))
        events.append(("put", replace(job, ended=9, version=next(versions))))
    events.append(("remove", a_job(T[0])))
    events.append(("remove", a_pod(T[1])))

    def memory(order: list[tuple[str, Job | Pod]]) -> set[object]:
        store = Store(lambda: NOW)
        for what, value in order:
            store.put(value) if what == "put" else store.remove(value.uid)
        return set(store.attempts(KEY, UID))

    shuffled = list(events)
    random.Random(seed).shuffle(shuffled)
    assert memory(shuffled + shuffled[:5]) == memory(events)


def test_deletions_are_forgotten_in_time_and_how_a_deleted_pod_had_ended_is_not() -> None:
    moments = [NOW]
    store = Store(lambda: moments[-1])
    store.put(a_job(T[0], version=5))
    ended = an_ended_pod(T[0], version=6)
    store.put(ended)
    store.remove(ended.uid)
    store.put(a_job(T[1], version=7))
    store.remove(a_job(T[1]).uid)
    moments.append(NOW + 3_600_000)
    store.put(a_job(T[2], version=8))
    store.remove(a_job(T[2]).uid)
    assert store.replace([a_job(T[0], version=5)], 20, lambda _: True) == set()
    assert [pod.uid for pod in store.attempts(KEY, UID)[0].pods] == [ended.uid]
    assert list(store._deleted) == [a_job(T[2]).uid]
    store.remove(a_job(T[0]).uid)
    assert store.attempts(KEY, UID) == []
