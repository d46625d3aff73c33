"""What the operator promises about time and rate, about its own end, and with no backend or no API server."""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cluster import kubeflow_trainer, kueue
from cluster.api import Json
from cluster.behaviours import Behaviour, Hangs, Succeeds
from cluster.controller import install_crd
from cluster.controlplane import ControlPlane
from cluster.kinds import TRAIN_JOBS
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import (
    Experiments,
    OperatorProcess,
    a_search,
    install_crds,
    is_served,
    report,
    service_account,
)
from cluster.programs import build
from cluster.watch import Watch
from conftest import TORTURE, Sweep
from eventually import eventually, throughout, unchanged
from trainer.experiment.record import decode
from trialrun_operator.backends import BACKENDS
from trialrun_operator.health import MAX_SILENCE_SECONDS

GRACE_SECONDS = 30  # a pod's, by default


def succeeds(pod: Json) -> Behaviour:
    return Succeeds(report(pod), after_seconds=0.2)


@pytest.mark.torture
def test_when_idle_it_writes_nothing(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(
        experiments.namespace, lambda pod: Hangs() if "running" in pod["metadata"]["name"] else succeeds(pod)
    )
    experiments.create(a_search("over", trials=2))
    experiments.create(a_search("running", trials=2))
    experiments.finished("over")
    eventually(lambda: experiments.get("running")["status"]["running"] == 2)
    eventually(unchanged(operator.writes, seconds=3), what="it comes to rest")
    before, calls = operator.writes(), calls_of(operator)
    idle = 120 if TORTURE else 20
    throughout(lambda: operator.writes() == before, seconds=idle, every_seconds=1, what="nothing is written")
    print(f"{operator.writes() - before:.0f} writes and {calls_of(operator) - calls:.0f} calls in {idle} s of rest")


@pytest.mark.torture
@pytest.mark.usefixtures("operator")
def test_from_a_pods_end_to_the_status_that_shows_it_p99_is_two_seconds(
    experiments: Experiments, kubelet: KubeletPlayer, sweep: Sweep
) -> None:
    trials = 500 if TORTURE else 60
    rng = random.Random(sweep.first)
    kubelet.play(experiments.namespace, lambda pod: Succeeds(report(pod), after_seconds=rng.uniform(0, 3)))
    with Watch(experiments.cluster, experiments.path()) as statuses:
        experiments.create(
            a_search(trials=trials // 10, repeats=10, parallelTrials=10, maxFailedTrials=0, order="Shuffled")
        )
        experiments.finished("search")
        eventually(lambda: done_in(statuses.changes[-1].seen) == trials, what="the test's watch has it too")
    uids = {pod["metadata"]["uid"] for pod in experiments.pods()}
    ends = sorted(when for uid, when in kubelet.ended_at.items() if uid in uids)
    assert len(ends) == trials
    waits = sorted(
        max(0.0, next(each.heard_at for each in statuses.changes if done_in(each.seen) >= number) - end)
        for number, end in enumerate(ends, start=1)
    )
    p99 = waits[int(0.99 * (trials - 1))]
    print(f"{trials} endings: median {waits[trials // 2]:.2f} s, p99 {p99:.2f} s, most {waits[-1]:.2f} s")
    # The promise is about many endings on a machine that does nothing else; a sample runs beside all other tests.
    assert p99 <= (2.0 if TORTURE else 6.0)


def calls_of(operator: OperatorProcess) -> float:
    """How many requests it has made, those of its watches aside."""
    return sum(value for name, value in operator.figures().items() if name.startswith("trialrun_api_calls_total"))


def done_in(search: Json) -> int:
    """How many trials its status shows as done."""
    return int(search.get("status", {}).get("done", "0/").partition("/")[0])


# --- its process ----------------------------------------------------------------------------------------------------


def test_it_says_that_it_lives_and_what_it_does(operator: OperatorProcess) -> None:
    assert operator.ask("livez") == (200, "ok")
    figures = operator.figures()
    assert "trialrun_queue_depth" in figures
    assert any(name.startswith("trialrun_api_calls_total") for name in figures)


def test_stopped_in_the_middle_of_work_it_ends_in_order_and_the_next_one_goes_on(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer, account: Path, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, succeeds)
    with Watch(experiments.cluster, f"/apis/kubeflow.org/v1/namespaces/{experiments.namespace}/pytorchjobs") as jobs:
        experiments.create(a_search(trials=16, parallelTrials=8))
        eventually(lambda: done_in(experiments.get("search")) >= 2, every_seconds=0.01)
        assert operator.stop(GRACE_SECONDS) == 0
        assert operator.log.rstrip().endswith("stopped")
        assert done_in(experiments.get("search")) < 16, "it was in the middle of its work"
        (tmp_path / "next").mkdir()
        with OperatorProcess(tmp_path / "next", experiments.namespace, account):
            assert experiments.finished("search")["status"]["phase"] == "Succeeded"
    assert len([change for change in jobs.changes if change.kind == "ADDED"]) == 16, "no trial ran twice"
    assert [change for change in jobs.changes if change.kind == "DELETED"] == []
    assert sorted(decode(line).index for line in experiments.entries().values()) == list(range(16))


@pytest.fixture
def bare_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane without any controller, and with no kind of job, that a test may do anything to."""
    build.programs()
    plane = ControlPlane(tmp_path)
    try:
        plane.etcd.start()
        plane.api_server.start()
        install_crds(plane)
        plane.api.create("/api/v1/namespaces", {"metadata": {"name": "bare"}})
        yield plane
    finally:
        plane.api_server.resume()
        plane.stop()


@pytest.mark.torture
def test_with_no_kind_of_job_it_says_so_takes_what_comes_and_keeps_to_it_and_livez_tells_of_a_hanging_api_server(
    bare_plane: ControlPlane, tmp_path: Path
) -> None:
    experiments = Experiments(bare_plane, "bare")
    train_jobs = Experiments(bare_plane, "bare", TRAIN_JOBS)
    with OperatorProcess(tmp_path, "bare", service_account(bare_plane, "bare")) as process:
        process.wait_until_ready()
        experiments.create(a_search(trials=2))
        eventually(
            lambda: experiments.condition("search", "Progressing").get("reason") == "BackendMissing",
        )
        message = experiments.condition("search", "Progressing")["message"]
        assert all(backend.install in message for backend in BACKENDS.values())
        assert process.starts == 1

        bare_plane.api_server.pause()
        if TORTURE:
            silent = MAX_SILENCE_SECONDS + 60
            eventually(lambda: process.ask("livez")[0] == 503, within_seconds=silent, every_seconds=1)
            assert "no resync" in process.ask("livez")[1]
        else:
            throughout(lambda: process.ask("livez") == (200, "ok"), seconds=5, every_seconds=1, what="it lives")
        bare_plane.api_server.resume()
        eventually(lambda: process.ask("livez") == (200, "ok"), every_seconds=1)
        assert process.starts == 1

        kubeflow_trainer.install_kinds(bare_plane.api)
        for kind in ("trainjobs", "trainingruntimes"):
            path = f"/apis/trainer.kubeflow.org/v1alpha1/{kind}"
            eventually(partial(is_served, bare_plane.api, path), what=f"{kind} are served")
        eventually(lambda: len(train_jobs.jobs()) == 2, every_seconds=0.5, what="it recovers, with TrainJobs")

        crd = build.manifests("training-operator") / "crds" / "kubeflow.org_pytorchjobs.yaml"
        install_crd(bare_plane.api, crd)
        jobs = "/apis/kubeflow.org/v1/pytorchjobs"
        eventually(lambda: is_served(bare_plane.api, jobs), what="PyTorchJobs are served")
        process.kill()  # the next process sees them at once
        eventually(lambda: process.starts == 3, what="the next process starts")
        process.wait_until_ready()
        experiments.create(a_search("second", trials=2))
        eventually(lambda: len(experiments.jobs()) == 2, what="it prefers PyTorchJobs")
        experiments.change("search", parallelTrials=1)
        eventually(lambda: experiments.get("search")["status"]["observedGeneration"] == 2, what="it looks again")
        kept = [experiments.get(name)["status"]["backend"] for name in ("search", "second")]
        assert kept == ["TrainJob", "PyTorchJob"]
        assert (len(train_jobs.jobs()), len(experiments.jobs())) == (2, 2)


def test_a_queue_that_nothing_looks_after_is_told(bare_plane: ControlPlane, tmp_path: Path) -> None:
    experiments = Experiments(bare_plane, "bare", TRAIN_JOBS)
    kubeflow_trainer.install_kinds(bare_plane.api)
    with OperatorProcess(tmp_path, "bare", service_account(bare_plane, "bare")) as process:
        process.wait_until_ready()
        experiments.create(a_search(trials=2, queue="team"))

        def says(words: str) -> bool:
            condition = experiments.condition("search", "Progressing")
            return condition.get("reason") == "Queued" and words in condition["message"]

        eventually(lambda: says("2 jobs wait in queue team; this cluster has no Kueue"), every_seconds=0.2)
        kueue.install_kinds(bare_plane.api)
        eventually(lambda: says("2 jobs wait in queue team; Kueue has made no Workload for them"), every_seconds=0.2)
        assert all(job["spec"]["suspend"] for job in experiments.jobs())
