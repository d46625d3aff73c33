"""The operator is killed before and after every write, and run twice at once: always the same end, no job twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Json
from cluster.behaviours import Behaviour, Fails, IsEvicted, Succeeds
from cluster.faultyapi import NO_FAULT, Fault, FaultyApi, Request
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, trial_of
from cluster.testcluster import Cluster
from conftest import TORTURE, Sweep
from eventually import eventually
from trainer.experiment.record import decode

SEARCH = a_search(trials=6, parallelTrials=3, maxFailedTrials=3)


pytestmark = pytest.mark.usefixtures("crds")


def script(pod: Json) -> Behaviour:
    """Four trials go well, the fourth crashes, and the fifth is evicted once."""
    told = trial_of(pod)
    if told["index"] == 3:
        return Fails(1, "boom")
    if told["index"] == 4 and told["attempt"] == 1:
        return IsEvicted()
    return Succeeds(json.dumps({"clock": 1, "metrics": {"validMse": told["index"] + 1.0}}))


def outcome(experiments: Experiments, name: str = "search") -> dict[str, Any]:
    """What must be the same after every course of events: the status and ledger, without their times."""
    status = experiments.get(name)["status"]
    records = [decode(line) for line in experiments.entries().values()]
    return {
        "phase": status["phase"],
        "columns": (status["done"], status["failed"], status["running"], status["best"]),
        "counts": status["summary"]["counts"],
        "best": status["summary"]["best"],
        "conditions": {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]},
        "ledger": sorted((r.index, r.id, r.attempt, r.final, str(r.outcome), r.error) for r in records),
        "jobs": sorted(job["metadata"]["name"] for job in experiments.jobs()),
    }


def expected(experiments: Experiments) -> dict[str, Any]:
    ids = {record.index: record.id for record in map(decode, experiments.entries().values())}
    attempts = [(index, 1) for index in range(6)] + [(4, 2)]
    return {
        "phase": "Succeeded",
        "columns": ("6/6", 1, 0, "1"),
        "counts": {
            "total": 6, "done": 6, "succeeded": 5, "failed": 1, "skipped": 0,
            "outcomes": {"Crashed": 1, "Succeeded": 5},
        },
        "jobs": sorted(f"search-{ids[index]}-{attempt}" for index, attempt in attempts),
    }  # fmt: skip


def assert_as_expected(experiments: Experiments, proxies: list[FaultyApi]) -> None:
    """The end state, no job created twice, and nothing without its owner."""
    found = outcome(experiments)
    for name, value in expected(experiments).items():
        assert found[name] == value, name
    assert [(index, attempt, final, how) for index, _, attempt, final, how, _ in found["ledger"]] == [
        (0, 1, True, "Succeeded"), (1, 1, True, "Succeeded"), (2, 1, True, "Succeeded"), (3, 1, True, "Crashed"),
        (4, 1, False, "Evicted"), (4, 2, True, "Succeeded"), (5, 1, True, "Succeeded"),
    ]  # fmt: skip
    created = sorted(name for proxy in proxies for name in proxy.created.get("pytorchjobs", []))
    assert created == found["jobs"], "no job was created twice"
    uid = experiments.get("search")["metadata"]["uid"]
    owned = [*experiments.jobs(), *experiments.ledgers()]
    assert {each["metadata"]["ownerReferences"][0]["uid"] for each in owned} == {uid}
    assert len(experiments.ledgers()) == 1


def run_once(
    cluster: Cluster, namespace: str, account: Path, workdir: Path, deadly: tuple[int, bool] = (0, False)
) -> tuple[int, int]:
    """Runs the search once; `deadly` says which write kills the operator, and whether before it is forwarded.

    Gives how many writes there were, and how many processes.
    """
    number, before = deadly
    experiments = Experiments(cluster, namespace)
    with (
        FaultyApi(cluster.access) as proxy,
        OperatorProcess(workdir, namespace, proxy.kubeconfig_of(account)) as process,
    ):

        def on_request(request: Request) -> Fault:
            if request.write and request.write == number:
                return Fault(lost=before, unanswered=not before, then=process.kill)
            return NO_FAULT

        proxy.on_request = on_request
        experiments.create(SEARCH)
        experiments.finished("search", 120)
        assert_as_expected(experiments, [proxy])
    clear(experiments)
    return len(proxy.writes), process.starts


def clear(experiments: Experiments) -> None:
    """Makes room for the next round in the same namespace."""
    experiments.api.delete_if_there(experiments.path("search"))
    eventually(
        lambda: not (experiments.jobs() or experiments.pods() or experiments.ledgers()),
        within_seconds=90,
        what="the search has left nothing",
    )


@pytest.mark.torture
def test_killed_before_and_after_any_write_it_comes_to_the_same_end(
    cluster: Cluster, namespace: str, account: Path, kubelet: KubeletPlayer, tmp_path: Path, sweep: Sweep
) -> None:
    kubelet.play(namespace, script)
    total, _ = run_once(cluster, namespace, account, tmp_path)
    # Batches differ from run to run; a few writes more than one run made cover those of any.
    points = [(number, before) for number in range(1, total + 4) for before in (True, False)]
    if not TORTURE:
        points = [points[seed * 7919 % len(points)] for seed in sweep.seeds(sample=3, full=0)]
    kills = sum(run_once(cluster, namespace, account, tmp_path, point)[1] - 1 for point in points)
    print(f"{total} writes; killed {kills} times in {len(points)} rounds, at (write, before): {points}")
    assert kills


@pytest.mark.torture
def test_two_operators_at_once_make_no_job_twice(
    cluster: Cluster, namespace: str, account: Path, kubelet: KubeletPlayer, tmp_path: Path, sweep: Sweep
) -> None:
    kubelet.play(namespace, script)
    experiments = Experiments(cluster, namespace)
    for _ in sweep.seeds(sample=2, full=20):
        with FaultyApi(cluster.access) as one, FaultyApi(cluster.access) as other:
            (tmp_path / "one").mkdir(exist_ok=True)
            with (
                OperatorProcess(tmp_path, namespace, one.kubeconfig_of(account)) as first,
                OperatorProcess(tmp_path / "one", namespace, other.kubeconfig_of(account)) as second,
            ):
                first.wait_until_ready()
                second.wait_until_ready()
                experiments.create(SEARCH)
                experiments.finished("search", 90)
                assert_as_expected(experiments, [one, other])
        clear(experiments)
