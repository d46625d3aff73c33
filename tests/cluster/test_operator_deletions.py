"""Whatever is deleted, by whomever and whenever: what should exist comes again, what should not leaves nothing."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Json
from cluster.behaviours import Behaviour, Hangs, Succeeds
from cluster.faultyapi import FaultyApi, WatchFault
from cluster.kinds import over_both
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, report, trial_of
from cluster.testcluster import Cluster
from conftest import TORTURE
from eventually import PATIENCE_SECONDS, eventually
from trainer.experiment.expand import expand
from trainer.experiment.load import load
from trainer.experiment.record import decode
from trainer.experiment.summary import summarize


def succeeds(pod: Json) -> Behaviour:
    return Succeeds(report(pod), after_seconds=0.2)


def one_hangs(pod: Json) -> Behaviour:
    return Hangs() if trial_of(pod)["index"] == 0 else succeeds(pod)


def runs_on(experiments: Experiments, done: str) -> bool:
    """Whether so much is done and a pod still runs."""
    phases = [pod["status"]["phase"] for pod in experiments.pods()]
    return experiments.get("search").get("status", {}).get("done") == done and "Running" in phases


def uids(objects: list[Json]) -> set[str]:
    return {each["metadata"]["uid"] for each in objects}


# --- jobs -----------------------------------------------------------------------------------------------------------


@over_both
@pytest.mark.usefixtures("operator")
def test_a_job_deleted_by_hand_is_run_again(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    experiments.create(a_search(trials=2))
    jobs = eventually(lambda: experiments.jobs() if len(experiments.pods()) == 2 else None)
    kubelet.play(experiments.namespace, succeeds)
    for job in jobs:
        experiments.api.delete(experiments.job_path(job["metadata"]["name"]))
    assert experiments.finished("search")["status"]["done"] == "2/2"
    assert not uids(jobs) & uids(experiments.jobs())


@over_both
@pytest.mark.usefixtures("operator")
def test_finished_jobs_go_by_their_ttl_and_the_ledger_stays(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    kubelet.play(experiments.namespace, succeeds)
    experiments.create(a_search(trials=2, ttlSecondsAfterFinished=0))
    experiments.finished("search")
    eventually(lambda: not experiments.jobs() and not experiments.pods())
    assert experiments.get("search")["status"]["done"] == "2/2"
    assert len(experiments.entries()) == 2


def test_what_was_deleted_while_watches_were_away_leaves_no_ghosts(
    cluster: Cluster, experiments: Experiments, account: Path, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    hidden, plural = False, experiments.backend.jobs.plural

    def hide(path: str, _event: dict[str, Any]) -> WatchFault:
        return WatchFault(drop=hidden and path.rpartition("/")[2] in (plural, "pods"))

    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    with (
        FaultyApi(cluster.access, on_event=hide) as proxy,
        OperatorProcess(tmp_path, experiments.namespace, proxy.kubeconfig_of(account)) as process,
    ):
        process.wait_until_ready()
        experiments.create(a_search(trials=3))
        eventually(lambda: [pod["status"]["phase"] for pod in experiments.pods()] == ["Running"] * 3)
        eventually(lambda: experiments.get("search")["status"]["running"] == 3)
        before = experiments.jobs()
        watches = dict(proxy.watches)
        hidden = True
        for job in before[:2]:
            experiments.api.delete(experiments.job_path(job["metadata"]["name"]))
        eventually(lambda: len(experiments.jobs()) == len(experiments.pods()) == 1, what="two are gone")
        proxy.forget(plural, "pods")
        hidden = False
        eventually(
            lambda: all(proxy.watches[each] > watches[each] for each in (plural, "pods")),
            what="kopf has listed and watches again, and was told of no deletion",
        )
        assert experiments.get("search")["status"]["running"] == 3, "it believes in ghosts"
        kubelet.play(experiments.namespace, succeeds)
        eventually(lambda: experiments.get("search")["status"]["done"] == "2/3")
        status = experiments.get("search")["status"]
        assert (status["running"], status["failed"]) == (1, 0)
        assert len(uids(experiments.jobs()) & uids(before)) == 1, "the one that was left alone"
        assert process.figures()[f'trialrun_watch_missed_total{{resource="{plural}"}}'] >= 1
        assert process.starts == 1


# --- experiments ----------------------------------------------------------------------------------------------------


@over_both
@pytest.mark.usefixtures("operator")
def test_deleted_in_mid_run_and_applied_again_at_once_nothing_of_the_old_one_appears(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, one_hangs)
    first = experiments.create(a_search(trials=3))
    eventually(lambda: runs_on(experiments, "2/3"))
    kubelet.play(experiments.namespace, lambda pod: Succeeds(report(pod, metrics={"validMse": 77.0})))
    experiments.api.delete(experiments.path("search"))
    second = experiments.create(a_search(trials=3))
    seen = experiments.finished("search")
    uid = seen["metadata"]["uid"]
    assert uid == second["metadata"]["uid"] != first["metadata"]["uid"]
    assert seen["status"]["best"] == "77"
    eventually(lambda: len(experiments.ledgers()) == 1, what="the old ledger is gone")
    for each in (*experiments.jobs(), *experiments.ledgers()):
        assert [owner["uid"] for owner in each["metadata"]["ownerReferences"]] == [uid]
    records = [decode(line) for line in experiments.entries().values()]
    assert sorted((record.index, record.attempt) for record in records) == [(0, 1), (1, 1), (2, 1)]
    assert {record.metrics["validMse"] for record in records} == {77.0}
    assert seen["status"]["ledger"] == [ledger["metadata"]["name"] for ledger in experiments.ledgers()]


@pytest.mark.torture
@over_both
def test_an_experiment_deleted_while_the_operator_is_down_leaves_nothing_not_even_what_runs(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer, say: Callable[[str], None]
) -> None:
    kubelet.play(experiments.namespace, one_hangs)
    experiments.create(a_search(trials=3))
    eventually(lambda: runs_on(experiments, "2/3"))
    assert operator.stop() == 0
    experiments.api.delete(experiments.path("search"))
    began = time.monotonic()
    assert experiments.api.get_if_there(experiments.path("search")) is None
    eventually(
        lambda: not (experiments.jobs() or experiments.pods() or experiments.ledgers() or experiments.runtimes()),
        within_seconds=5 if TORTURE else PATIENCE_SECONDS,  # a sample shares the machine with other tests
        what="jobs, pods and ledgers are gone",
    )
    say(f"nothing is left {time.monotonic() - began:.1f} s after an experiment was deleted")


# --- ledgers --------------------------------------------------------------------------------------------------------


def test_a_ledger_deleted_by_hand_is_written_again_while_the_search_runs_and_after_it(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, one_hangs)
    search = a_search(trials=8, parallelTrials=2)
    experiments.create(search)
    eventually(lambda: len(experiments.entries()) >= 3)
    lose_ledger(experiments)
    (hangs,) = eventually(lambda: [pod for pod in experiments.pods() if trial_of(pod)["index"] == 0])
    kubelet.become(experiments.namespace, hangs["metadata"]["name"], succeeds(hangs))
    assert experiments.finished("search")["status"]["phase"] == "Succeeded"
    assert_ledger_and_status_agree(experiments)

    lose_ledger(experiments)
    operator.kill()  # it reads the ledger of a finished search when it starts, and when the search is changed
    eventually(lambda: len(experiments.entries()) == 8, what="the ledger is there again")
    experiments.finished("search")
    assert_ledger_and_status_agree(experiments)
    assert operator.starts == 2
    assert "Traceback" not in operator.log


def lose_ledger(experiments: Experiments) -> None:
    for ledger in experiments.ledgers():
        name = ledger["metadata"]["name"]
        experiments.api.delete(f"/api/v1/namespaces/{experiments.namespace}/configmaps/{name}")


def assert_ledger_and_status_agree(experiments: Experiments) -> None:
    """Each trial is recorded once, and the status is what a reader of the ledger comes to."""
    experiment = load(experiments.get("search"))  # as the operator has it: on a cluster the advice is another
    trials = expand(experiment)

    def agree() -> bool:
        records = [decode(line) for line in experiments.entries().values()]
        assert sorted(record.id for record in records) == sorted(trial.id for trial in trials)
        status = experiments.get("search")["status"]
        assert (status["done"], status["running"]) == (f"{len(trials)}/{len(trials)}", 0)
        mine = summarize(experiment, trials, records).model_dump(by_alias=True, mode="json")
        return bool(mine == status["summary"] | {"comparison": None})

    eventually(agree, what="the status says what the ledger does")
