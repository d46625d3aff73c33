"""Scale tests on a real control plane: the floor first, cells under the limit that follows, how they end."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Json
from cluster.behaviours import (
    Behaviour,
    Fails,
    IsEvicted,
    OutlivesItsDeadline,
    RunsOutOfMemory,
    Succeeds,
)
from cluster.commandline import trainer
from cluster.faultyapi import NO_FAULT, Fault, FaultyApi, Request
from cluster.kinds import over_both, rank_of
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_scale_test, a_search, report, trial_of
from cluster.testcluster import Cluster
from eventually import eventually
from trainer.experiment.outcome import EXIT_CODES, Outcome
from trainer.experiment.record import Record, decode
from trainer.local.ledger import read_ledger

MIB = 2**20
FLOORS = {1: 300 * MIB, 2: 350 * MIB}
ABOVE = 128 * MIB
SAMPLES, SECONDS = 845, 0.5  # of the base set, and what one worker needs for it


def memory(pod: Json, peak: int) -> Json:
    """What a rank tells of its memory: the floor that as many workers have, and a peak."""
    floor = FLOORS[trial_of(pod)["workers"]]
    charged = {"floorBytes": floor, "peakBytes": peak, "meanBytes": floor}
    limit = limit_of(pod)
    told = {"peakBytes": 900 * MIB, "meanBytes": 800 * MIB, "floorBytes": 700 * MIB, "cgroup": charged}
    return told if limit is None else told | {"limit": {"bytes": limit, "keptBy": "Cgroup"}}


def limit_of(pod: Json) -> int | None:
    limits = pod["spec"]["containers"][0]["resources"].get("limits", {})
    return int(limits["memory"]) if "memory" in limits else None


def so_far(pod: Json, **fields: Any) -> str:
    """What a pod had written by the time that something killed it."""
    limit = limit_of(pod)
    told = {
        "provisional": True,
        "rank": rank_of(pod),
        "clock": int(time.time() * 1000),
        "memory": memory(pod, 0 if limit is None else limit - 4 * MIB),
        "samples": SAMPLES * size_of(pod),
        "seconds": {"start": 1.0, "data": 0.25, "train": 0.5, "total": 1.75},
    }
    return json.dumps(told | fields)


def passes(pod: Json) -> Behaviour:
    """Trains for a time that grows with the size and falls with the workers."""
    size, workers = size_of(pod), trial_of(pod)["workers"]
    train = SECONDS * size / workers
    told = {
        "rank": rank_of(pod),
        "seconds": {"start": 1.0, "train": train, "total": 1.0 + train},
        "memory": memory(pod, FLOORS[workers] + size * MIB),
        "samples": SAMPLES * size,
        "datasetBytes": SAMPLES * size * 1204,
        "epochs": 1,
        "environment": {"cpu": "A CPU"},
    }
    return Succeeds(report(pod, **told))


def size_of(pod: Json) -> int:
    return int(trial_of(pod)["parameters"]["data.multiplier"])


def runs_out(pod: Json) -> Behaviour:
    """Beyond 50 MB for each worker, as InMemory does where 64 MB fit; a pod without a limit has room for it."""
    if limit_of(pod) is None or size_of(pod) / trial_of(pod)["workers"] <= 50:
        return passes(pod)
    return RunsOutOfMemory(message=so_far(pod))


def records_of(experiments: Experiments) -> list[Record]:
    return [decode(line) for _, line in sorted(experiments.entries().items())]


def started(experiments: Experiments) -> list[str]:
    """The trials of the jobs, in the order in which they were created."""
    jobs = sorted(experiments.jobs(), key=lambda job: int(job["metadata"]["resourceVersion"]))
    created = sorted(jobs, key=lambda job: job["metadata"]["creationTimestamp"])
    return [job["metadata"]["labels"]["trialrun.dev/trial"] for job in created]


@over_both
@pytest.mark.usefixtures("operator")
def test_cells_run_above_a_measured_floor_and_stop_where_memory_runs_out(
    experiments: Experiments, kubelet: KubeletPlayer, cluster: Cluster, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, runs_out)
    experiments.create(a_scale_test(multipliers=(1, 10, 100, 200), cell={"memoryAboveFloor": "128Mi"}))
    status = experiments.finished("scale", "scaletests")["status"]
    records = records_of(experiments)
    cells, floors = records[:8], records[8:]
    assert [record.id for record in floors] == ["floor-1", "floor-2"]
    assert [str(record.outcome) for record in cells] == [
        "Succeeded", "Succeeded", "HostOOM", "Skipped", "Succeeded", "Succeeded", "Succeeded", "HostOOM",
    ]  # fmt: skip
    assert cells[3].error == "100x with 1 worker ended as HostOOM"

    limits = {pod["metadata"]["labels"]["trialrun.dev/trial"]: limit_of(pod) for pod in experiments.pods()}
    assert (limits.pop("floor-1"), limits.pop("floor-2")) == (None, None)
    assert limits == {cell.id: FLOORS[cell.workers] + ABOVE for cell in cells if cell.outcome is not Outcome.SKIPPED}
    assert set(started(experiments)[:2]) == {"floor-1", "floor-2"}

    killed = cells[7]
    assert killed.exit_code == 137
    assert killed.evidence == {"exitCode": 137, "containerReason": "OOMKilled"}
    assert [rank.counted_peak for rank in killed.memory if rank] == [FLOORS[2] + ABOVE - 4 * MIB] * 2
    assert (killed.samples, killed.seconds.train) == (200 * SAMPLES, 0.5)

    assert (status["phase"], status["done"], status["largest"], status["oom"]) == ("Succeeded", "8/8", "100x", 2)
    columns = cluster.kubectl("get", "sct", "-n", experiments.namespace).splitlines()
    assert columns[0].split() == ["NAME", "STATUS", "DONE", "LARGEST", "OOM", "AGE"]
    assert columns[1].split()[:5] == ["scale", "Succeeded", "8/8", "100x", "2"]
    fetched = trainer(cluster, "fetch", "sct/scale", tmp_path / "there", "-n", experiments.namespace)
    assert fetched.returncode == 0, fetched.stderr
    assert {record.id for record in read_ledger(tmp_path / "there")} == {cell.id for cell in cells}
    assert_figures(status["summary"]["scale"], [json.loads(line) for line in experiments.entries().values()])


def assert_figures(scale: Json, lines: list[Json]) -> None:
    """The table, the frontier and the scaling of the status are those that the raw ledger gives."""
    raw = {
        (line["workers"], line["parameters"]["data.multiplier"]): line
        for line in lines
        if not line["id"].startswith("floor")
    }
    assert {(cell["workers"], cell["multiplier"]): cell["outcome"] for cell in scale["cells"]} == {
        place: line["outcome"] for place, line in raw.items()
    }
    for cell in scale["cells"]:
        line = raw[cell["workers"], cell["multiplier"]]
        assert cell["peakBytes"] == [rank["cgroup"]["peakBytes"] for rank in line["memory"]]
        if line["outcome"] == "Skipped":
            continue
        assert cell["limitBytes"] == FLOORS[cell["workers"]] + ABOVE
        assert cell["floorBytes"] == FLOORS[cell["workers"]]
        assert cell["seconds"] == line["seconds"]["total"] - line["seconds"]["start"]
        if line["outcome"] == "Succeeded":
            assert cell["samplesPerSecond"] == line["samples"] * line["epochs"] / line["seconds"]["train"]
    passed = {place: line for place, line in raw.items() if line["outcome"] == "Succeeded"}
    assert {reach["workers"]: reach["multiplier"] for reach in scale["frontier"]} == {
        workers: max(size for count, size in passed if count == workers) for workers in (1, 2)
    }
    each = {place: line["seconds"]["train"] / line["samples"] for place, line in passed.items()}
    assert {(one["workers"], one["multiplier"]) for one in scale["scaling"]} == each.keys()
    for one in scale["scaling"]:
        workers, size = one["workers"], one["multiplier"]
        assert one["secondsPerSample"] == pytest.approx(each[workers, size])
        smaller = [other for count, other in each if count == workers and other < size]
        if smaller:
            assert one["growth"] == pytest.approx(each[workers, size] / each[workers, max(smaller)])
        if workers > 1 and (1, size) in each:
            assert one["speedup"] == pytest.approx(each[1, size] / each[workers, size])
            assert one["efficiency"] == pytest.approx(one["speedup"] / workers)
        else:
            assert one.get("speedup") is None


@over_both
@pytest.mark.usefixtures("operator")
def test_five_ways_to_fail_are_five_outcomes_each_with_its_evidence(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    nan = {"outcome": "Diverged", "error": "the training loss became nan in epoch 1", "provisional": False}
    gone = {"outcome": "Crashed", "error": "Connection closed by peer", "lostPeer": True, "provisional": False}
    boom = {"outcome": "Crashed", "error": "ValueError: boom", "provisional": False}

    def script(pod: Json) -> Behaviour:
        size, rank = size_of(pod), rank_of(pod)
        if size == 1:
            return RunsOutOfMemory(message=so_far(pod))
        if size == 2:
            return OutlivesItsDeadline(left=so_far(pod))
        if size == 3:
            return Fails(EXIT_CODES[Outcome.CRASHED], so_far(pod, **boom))
        if size == 4 and rank == 1:
            return Fails(EXIT_CODES[Outcome.DIVERGED], so_far(pod, **nan))
        if size == 4:
            return Fails(EXIT_CODES[Outcome.CRASHED], so_far(pod, **gone))
        return IsEvicted(left=so_far(pod))

    kubelet.play(experiments.namespace, script)
    test = a_scale_test(multipliers=(1, 2, 3, 4, 5), cell={"afterOutOfMemory": "Run"})
    test["spec"]["axes"]["workers"] = [2]
    experiments.create(test)
    status = experiments.finished("scale", "scaletests")["status"]
    assert (status["phase"], status["oom"]) == ("Failed", 1)
    killed, late, raised, diverged, *evicted = records_of(experiments)
    found = [(str(record.outcome), record.exit_code, record.evidence) for record in (killed, late, raised, diverged)]
    assert found == [
        ("HostOOM", 137, {"exitCode": 137, "containerReason": "OOMKilled"}),
        ("TimedOut", 137, {"exitCode": 137, "containerReason": "Error", "podReason": "DeadlineExceeded"}),
        ("Crashed", 1, {"exitCode": 1, "containerReason": "Error"}),
        ("Diverged", 66, {"exitCode": 66, "containerReason": "Error"}),
    ]
    assert [(each.attempt, each.final, str(each.outcome)) for each in evicted] == [
        (1, False, "Evicted"), (2, False, "Evicted"), (3, True, "Evicted"),
    ]  # fmt: skip
    assert evicted[0].evidence == {
        "exitCode": 137, "containerReason": "Error", "podReason": "Evicted", "disruption": "TerminationByKubelet",
    }  # fmt: skip
    assert "low on resource: memory" in evicted[0].error
    # Both ranks raised; whoever was first is named.
    assert raised.error == f"rank {raised.failed_rank}: ValueError: boom"
    assert diverged.failed_rank == 1
    assert "the training loss became nan" in diverged.error
    for record in (killed, late, raised, diverged, *evicted):
        assert [rank is not None for rank in record.memory] == [True, True]
        assert (record.samples, record.seconds.train) == (SAMPLES * record.parameters["data.multiplier"], 0.5)


@pytest.mark.usefixtures("operator")
def test_a_trial_of_a_search_that_ran_out_of_memory_keeps_its_peak(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    peak = {"peakBytes": 690 * MIB, "meanBytes": 500 * MIB}
    left = json.dumps({"provisional": True, "clock": 1, "memory": peak})
    kubelet.play(experiments.namespace, lambda pod: RunsOutOfMemory(message=left))  # noqa: ARG005
    experiments.create(a_search(trials=1))
    status = experiments.finished("search")["status"]
    (record,) = records_of(experiments)
    assert record.outcome is Outcome.HOST_OOM
    assert [rank.peak_bytes for rank in record.memory if rank] == [690 * MIB]
    assert status["trials"][0]["peakMemoryBytes"] == 690 * MIB


@pytest.mark.usefixtures("operator")
def test_without_a_floor_no_cell_runs_until_a_rerun_measures_it(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, lambda pod: Fails(1, "Traceback: boom"))  # noqa: ARG005
    experiments.create(a_scale_test(multipliers=(1,), cell={"memoryAboveFloor": "128Mi"}))
    status = experiments.finished("scale", "scaletests")["status"]
    assert (status["phase"], status["done"]) == ("Failed", "0/2")
    condition = experiments.condition("scale", "Succeeded", "scaletests")
    assert condition["reason"] == "FloorUnknown"
    assert "ended as Crashed (Traceback: boom)" in condition["message"]
    assert set(started(experiments)) == {"floor-1", "floor-2"}
    kubelet.play(experiments.namespace, passes)
    experiments.api.patch(experiments.path("scale", "scaletests"), {"spec": {"rerun": 1}})
    eventually(
        lambda: experiments.get("scale", "scaletests")["status"]["done"] == "2/2",
        what="the cells have run",
    )


@pytest.mark.usefixtures("operator")
def test_a_limit_below_the_floor_is_told_before_any_cell_runs(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, passes)
    experiments.create(a_scale_test(multipliers=(1, 10), cell={"memoryLimit": "50Mi"}))
    status = experiments.finished("scale", "scaletests")["status"]
    assert (status["phase"], status["done"]) == ("Failed", "0/4")
    condition = experiments.condition("scale", "Finished", "scaletests")
    assert condition["reason"] == "LimitBelowFloor"
    assert "must be more than the 300 MiB" in condition["message"]
    assert set(started(experiments)) == {"floor-1", "floor-2"}


# Which write kills the operator, of those that only a scale test asks for.
DEADLY = {
    "the job of a floor": ("POST pytorchjobs", b"-floor-1"),
    "a floor's record": ("POST configmaps", b"floor-1.1"),
    "the first cell's job": ("POST pytorchjobs", b"448790528"),
    "a skipped cell's record": ("PATCH configmaps", b"Skipped"),
}


@pytest.mark.parametrize("deadly", DEADLY)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_a_write_for_cells_the_operator_comes_to_the_same_end(
    cluster: Cluster, experiments: Experiments, account: Path, kubelet: KubeletPlayer, tmp_path: Path,
    deadly: str, before: bool,
) -> None:  # fmt: skip
    kubelet.play(experiments.namespace, runs_out)
    kind, words = DEADLY[deadly]
    with (
        FaultyApi(cluster.access) as proxy,
        OperatorProcess(tmp_path, experiments.namespace, proxy.kubeconfig_of(account)) as process,
    ):
        killed: list[Request] = []

        def on_request(request: Request) -> Fault:
            if not killed and request.write and request.kind == kind and words in request.body:
                killed.append(request)
                return Fault(lost=before, unanswered=not before, then=process.kill)
            return NO_FAULT

        proxy.on_request = on_request
        test = a_scale_test(multipliers=(1, 100, 200), cell={"memoryAboveFloor": "128Mi"})
        test["spec"]["axes"]["workers"] = [1]
        experiments.create(test)
        experiments.finished("scale", "scaletests")
        assert len(killed) == 1
        assert process.starts == 2
        created = proxy.created["pytorchjobs"]
    records = records_of(experiments)
    assert [(record.index, record.attempt, str(record.outcome)) for record in records] == [
        (0, 1, "Succeeded"), (1, 1, "HostOOM"), (2, 1, "Skipped"), (3, 1, "Succeeded"),
    ]  # fmt: skip
    assert sorted(created) == sorted(job["metadata"]["name"] for job in experiments.jobs())
    assert len(created) == 3, "a floor and two cells, none of them twice"
    assert [
        rank.limit.bytes for record in records[:2] for rank in record.memory if rank is not None and rank.limit
    ] == [FLOORS[1] + ABOVE] * 2
