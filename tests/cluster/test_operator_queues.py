"""Searches whose jobs wait in a queue of Kueue: nothing is lost or counted by waiting, or by being taken back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.api import Json
from cluster.behaviours import Behaviour, Hangs, Succeeds
from cluster.faultyapi import FaultyApi
from cluster.kinds import job_of, over_both
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, report
from cluster.queues import Queue
from cluster.testcluster import Cluster
from cluster.watch import Watch
from eventually import eventually
from trainer.experiment.record import decode
from trialrun_operator.observe import milliseconds

pytestmark = pytest.mark.usefixtures("kueue")

CPUS, TAKEN = 4, 2
A_CPU = {"resources": {"requests": {"cpu": "1"}}}


@pytest.fixture
def queue(cluster: Cluster, namespace: str) -> Iterator[Queue]:
    made = Queue(cluster.api, namespace, CPUS)
    yield made
    made.delete()


def running(experiments: Experiments, *, trials: bool) -> list[Json]:
    """The pods that run and go on: of trials, or of what is more urgent."""
    return [
        pod
        for pod in experiments.pods()
        if pod["status"]["phase"] == "Running"
        and "deletionTimestamp" not in pod["metadata"]
        and is_trial(pod) == trials
    ]


def is_trial(pod: Json) -> bool:
    return "trialrun.dev/trial" in pod["metadata"]["labels"]


def says(experiments: Experiments, reason: str, *words: str) -> None:
    """Waits until the search says this of its progress."""

    def said() -> bool:
        condition = experiments.condition("search", "Progressing")
        assert condition.get("reason") == reason, condition
        assert all(each in condition["message"] for each in words), condition["message"]
        return True

    eventually(said, every_seconds=0.2, what=f"it says {reason}, and {words}")


@pytest.mark.parametrize(
    ("backend", "trials"),
    [("TrainJob", 40), ("PyTorchJob", 16)],
    indirect=["backend"],
    ids=["TrainJob", "PyTorchJob"],
)
def test_trials_share_four_cpus_and_what_is_more_urgent_costs_none_of_them_an_attempt(
    cluster: Cluster,
    experiments: Experiments,
    account: Path,
    kubelet: KubeletPlayer,
    queue: Queue,
    tmp_path: Path,
    trials: int,
) -> None:
    namespace, plural = experiments.namespace, experiments.backend.jobs.plural
    kubelet.play(namespace, lambda pod: Hangs())  # noqa: ARG005
    with (
        FaultyApi(cluster.access) as proxy,
        Watch(cluster, experiments.job_path()) as jobs,
        OperatorProcess(tmp_path, namespace, proxy.kubeconfig_of(account)) as operator,
    ):
        experiments.create(a_search(trials=trials, queue=queue.name, maxFailedTrials=0, pod=A_CPU))
        eventually(lambda: len(running(experiments, trials=True)) == CPUS, what="as many run as there are CPUs")
        says(
            experiments, "Running", f"{trials - CPUS} jobs wait in queue {queue.name}; ", "insufficient unused quota"
        )
        before = {job_of(pod) for pod in running(experiments, trials=True)}

        queue.start_urgent("urgent", TAKEN)
        eventually(lambda: len(running(experiments, trials=False)) == TAKEN, what="what is more urgent runs")
        left = running(experiments, trials=True)
        taken = before - {job_of(pod) for pod in left}
        assert len(taken) == TAKEN
        says(experiments, "Running", f"{trials - CPUS + TAKEN} jobs wait in queue {queue.name}; ")
        assert experiments.entries() == {}

        def goes_well(pod: Json) -> Behaviour:
            return Succeeds(report(pod) if is_trial(pod) else "")

        kubelet.play(namespace, goes_well)
        for pod in (*left, *running(experiments, trials=False)):
            kubelet.become(namespace, pod["metadata"]["name"], goes_well(pod))
        status = experiments.finished("search")["status"]
        assert (status["done"], status["failed"], status["phase"]) == (f"{trials}/{trials}", 0, "Succeeded")
        assert status["summary"]["counts"]["outcomes"] == {"Succeeded": trials}
        records = [decode(line) for line in experiments.entries().values()]
        assert sorted((each.index, each.attempt) for each in records) == [(index, 1) for index in range(trials)]
        assert "Traceback" not in operator.log
        eventually(lambda: len(admissions(jobs, taken)) == 2 * TAKEN, what="the test's watch has it too")

    # Ours is nothing of it but that each job was made, suspended.
    asked = [write for write in proxy.writes if f"/{plural}" in write]
    assert {write.partition(" ")[0] for write in asked} == {"POST"}
    assert sorted(proxy.created[plural]) == sorted(job["metadata"]["name"] for job in experiments.jobs())
    made = [change.seen for change in jobs.changes if change.kind == "ADDED"]
    assert len(made) == trials
    assert all(suspends(job) for job in made)
    # What was taken back counts from when it was released for the last time.
    started = {f"search-{each.id}-1": each.started_at for each in records}
    for job in taken:
        last = max(milliseconds(when) for name, when in admissions(jobs, taken) if name == job)
        assert started[job] >= last - 1000


def suspends(job: Json) -> bool:
    """Whether a job is suspended by its spec."""
    return bool(job["spec"].get("runPolicy", job["spec"])["suspend"])


def admissions(jobs: Watch, names: set[str]) -> list[tuple[str, str]]:
    """Of some jobs each release from their suspension: whose, and when."""
    found: list[tuple[str, str]] = []
    suspended = dict.fromkeys(names, True)
    for change in jobs.changes:
        name = change.seen["metadata"]["name"]
        if name not in names or suspends(change.seen) == suspended[name]:
            continue
        suspended[name] = suspends(change.seen)
        if not suspended[name]:
            managed = change.seen["metadata"]["managedFields"]
            found.append((name, max(each["time"] for each in managed)))
    return found


@over_both
@pytest.mark.usefixtures("operator")
def test_a_search_waits_for_a_queue_that_is_not_there_and_says_so(
    experiments: Experiments, kubelet: KubeletPlayer, queue: Queue
) -> None:
    kubelet.play(experiments.namespace, lambda pod: Succeeds(report(pod)))
    experiments.create(a_search(trials=2, queue="nowhere", pod=A_CPU, pendingDeadlineSeconds=1))
    says(experiments, "Queued", "2 jobs wait in queue nowhere; ", "LocalQueue nowhere doesn't exist.")
    assert experiments.pods() == []
    queue.add_local("nowhere")
    assert experiments.finished("search")["status"]["done"] == "2/2"
