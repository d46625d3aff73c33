"""What a user changes while a search runs: parallelTrials, suspend and rerun. Order is judged by what was watched."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.api import Json
from cluster.behaviours import Behaviour, Fails, Hangs, Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, a_search, report, trial_of
from cluster.watch import Change, Watch
from conftest import TORTURE, Sweep
from eventually import eventually
from trainer.experiment.record import decode

pytestmark = pytest.mark.usefixtures("operator")


class History:
    """All that was heard of the searches and jobs of a namespace, in the order in which it came about."""

    def __init__(self, searches: Watch, jobs: Watch) -> None:
        self._searches = searches
        self._jobs = jobs

    def __iter__(self) -> Iterator[Change]:
        return iter(sorted([*self._searches.changes, *self._jobs.changes], key=lambda change: change.version))

    def creations(self) -> list[tuple[int, int]]:
        """For each job: how many were live when it had been made, and how many might be.

        What the operator has not yet acknowledged by its observedGeneration need not hold yet.
        """
        allowed: dict[int, int] = {}
        live: set[str] = set()
        found = []
        for change in self:
            if change.seen["kind"] == "HyperparamSearch":
                acknowledged = change.seen.get("status", {}).get("observedGeneration", 0)
                allowed[change.seen["metadata"]["generation"]] = change.seen["spec"]["parallelTrials"]
                allowed = {number: bound for number, bound in allowed.items() if number >= acknowledged}
                continue
            if change.kind == "DELETED" or has_ended(change.seen):
                live.discard(change.seen["metadata"]["uid"])
            elif change.kind == "ADDED":
                live.add(change.seen["metadata"]["uid"])
                found.append((len(live), max(allowed.values())))
        return found

    def specs_at_creations(self) -> list[Json]:
        """For each job: the search's spec when it was made."""
        spec: Json = {}
        found = []
        for change in self:
            if change.seen["kind"] == "HyperparamSearch":
                spec = change.seen["spec"]
            elif change.kind == "ADDED":
                found.append(spec)
        return found

    def deletions(self) -> list[str]:
        """Names of jobs that were deleted."""
        return [change.seen["metadata"]["name"] for change in self._jobs.changes if change.kind == "DELETED"]


def has_ended(job: Json) -> bool:
    conditions = job.get("status", {}).get("conditions", [])
    return any(each["type"] in ("Succeeded", "Failed") and each["status"] == "True" for each in conditions)


@pytest.fixture
def history(experiments: Experiments) -> Iterator[History]:
    jobs = f"/apis/kubeflow.org/v1/namespaces/{experiments.namespace}/pytorchjobs"
    with Watch(experiments.cluster, experiments.path()) as searches, Watch(experiments.cluster, jobs) as made:
        yield History(searches, made)


def succeeds(pod: Json) -> Behaviour:
    return Succeeds(report(pod), after_seconds=0.2)


def acknowledged(experiments: Experiments, **spec: Any) -> None:
    """Changes the search, and waits until its status says that this was seen."""
    generation = experiments.change("search", **spec)["metadata"]["generation"]
    eventually(
        lambda: experiments.get("search")["status"]["observedGeneration"] >= generation,
        what=f"{spec} is acknowledged",
    )


def done(experiments: Experiments) -> int:
    return int(experiments.get("search").get("status", {}).get("done", "0/").partition("/")[0])


@pytest.mark.torture
def test_parallel_trials_bounds_what_is_live_all_the_way_and_may_be_lowered_and_raised(
    experiments: Experiments, kubelet: KubeletPlayer, history: History, sweep: Sweep
) -> None:
    trials = 150 if TORTURE else 20
    rng = random.Random(sweep.first)
    kubelet.play(experiments.namespace, lambda pod: Succeeds(report(pod), after_seconds=rng.uniform(0, 1.5)))
    experiments.create(a_search(trials=50 if TORTURE else 20, repeats=3 if TORTURE else 1, parallelTrials=4))
    eventually(lambda: done(experiments) >= trials // 5)
    acknowledged(experiments, parallelTrials=1)
    before = len(history.creations())
    eventually(lambda: len(history.creations()) >= before + 2, what="two trials start alone")
    acknowledged(experiments, parallelTrials=6)
    assert experiments.finished("search")["status"]["done"] == f"{trials}/{trials}"

    creations = history.creations()
    assert [(live, bound) for live, bound in creations if live > bound] == []
    most = {bound: max(live for live, of_bound in creations if of_bound == bound) for bound in (1, 4, 6)}
    assert most == {1: 1, 4: 4, 6: 6}, "the bounds were reached"
    assert len(creations) == trials
    assert history.deletions() == [], "lowering it kills none, and touches none that has finished"
    records = [decode(line) for line in experiments.entries().values()]
    assert [(record.outcome, record.attempt) for record in records] == [("Succeeded", 1)] * trials
    print(f"{len(creations)} jobs; most live by bound {most}")


def test_lowering_parallel_trials_lets_what_runs_run_on(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    experiments.create(a_search(trials=5, parallelTrials=4))
    eventually(lambda: len(experiments.pods()) == 4)
    kept = {pod["metadata"]["uid"] for pod in experiments.pods()}
    acknowledged(experiments, parallelTrials=1)
    kubelet.play(experiments.namespace, succeeds)
    for pod in experiments.pods()[:3]:
        kubelet.become(experiments.namespace, pod["metadata"]["name"], succeeds(pod))
    eventually(lambda: experiments.get("search")["status"]["done"] == "3/5")
    assert {pod["metadata"]["uid"] for pod in experiments.pods()} == kept, "one still runs, so none starts"
    for pod in experiments.pods()[3:]:
        kubelet.become(experiments.namespace, pod["metadata"]["name"], succeeds(pod))
    assert experiments.finished("search")["status"]["done"] == "5/5"


def test_suspend_starts_nothing_new_and_resume_goes_on(
    experiments: Experiments, kubelet: KubeletPlayer, history: History
) -> None:
    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    experiments.create(a_search(trials=4, parallelTrials=2))
    eventually(lambda: len(experiments.pods()) == 2)
    acknowledged(experiments, suspend=True)
    assert experiments.get("search")["status"]["phase"] == "Suspended"
    for pod in eventually(lambda: [p for p in experiments.pods() if p["status"]["phase"] == "Running"] or None):
        kubelet.become(experiments.namespace, pod["metadata"]["name"], succeeds(pod))
    eventually(lambda: experiments.get("search")["status"]["done"] == "2/4")
    assert experiments.condition("search", "Finished")["status"] == "False"
    kubelet.play(experiments.namespace, succeeds)
    experiments.change("search", suspend=False)
    assert experiments.finished("search")["status"]["phase"] == "Succeeded"
    assert [spec.get("suspend", False) for spec in history.specs_at_creations()] == [False] * 4


def test_created_suspended_it_waits_and_suspended_with_a_rerun_it_waits_again(
    experiments: Experiments, kubelet: KubeletPlayer, history: History
) -> None:
    kubelet.play(
        experiments.namespace, lambda pod: Fails(1, "boom") if trial_of(pod)["index"] == 1 else succeeds(pod)
    )
    experiments.create(a_search(trials=3, suspend=True))
    eventually(lambda: experiments.get("search").get("status", {}).get("phase") == "Suspended")
    assert "spec.suspend to false" in experiments.condition("search", "Progressing")["message"]
    assert "acceptedAt" not in experiments.get("search")["status"], "its time does not run yet"
    experiments.change("search", suspend=False)
    assert experiments.finished("search")["status"]["failed"] == 1
    first = experiments.entries()

    kubelet.play(experiments.namespace, succeeds)
    acknowledged(experiments, suspend=True, rerun=1)
    assert experiments.get("search")["status"]["phase"] == "Suspended"
    assert experiments.condition("search", "Finished")["status"] == "False"
    experiments.change("search", suspend=False)
    eventually(lambda: experiments.get("search")["status"]["failed"] == 0)
    seen = experiments.finished("search")
    assert (seen["status"]["phase"], seen["status"]["done"]) == ("Succeeded", "3/3")

    assert [spec.get("suspend", False) for spec in history.specs_at_creations()] == [False] * 4
    assert first.items() < experiments.entries().items()
    attempts = sorted((decode(line).index, decode(line).attempt) for line in experiments.entries().values())
    assert attempts == [(0, 1), (1, 1), (1, 2), (2, 1)]
