"""Measures the operator with 5,000 trials on a real API server: creation, completion, writes, memory, restart.

    make bench-operator

etcd and kube-apiserver are real. A stand-in, which runs in a process of its own, takes the place of training operator
and kubelets: it gives each PyTorchJob a pod that has succeeded, and completes the job, at once.
"""

import argparse
import asyncio
import json
import multiprocessing
import platform
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.standin import stand_in
from cluster.api import Api
from cluster.controlplane import ControlPlane
from cluster.kubeconfig import Access
from cluster.operatorprocess import Experiments, OperatorProcess, apply_crds, is_served, service_account
from cluster.programs import build
from eventually import eventually
from trialrun_operator.manifests import pytorch_job
from trialrun_operator.names import Key
from trialrun_operator.workload import workload

NAMESPACE, PLAIN = "bench", "bench-plain"
JOBS = "/apis/kubeflow.org/v1/namespaces/{}/pytorchjobs"
IN_FLIGHT = 8
PARALLEL = 1000  # the most that a search may run at once


@dataclass
class Figures:
    """What was measured, in the units of the names."""

    trials: int = 0
    plain_creates_per_second: float = 0.0
    operator_creates_per_second: float = 0.0
    seconds_to_finish: float = 0.0
    trials_per_second: float = 0.0
    writes_per_trial: float = 0.0
    object_kib: float = 0.0
    resident_mib: float = 0.0
    peak_resident_mib: float = 0.0
    cpu_seconds: float = 0.0
    cpu_milliseconds: dict[str, float] = field(default_factory=dict)  # a trial's, by process, while they completed
    restart_seconds: float = 0.0
    restart_cpu_seconds: float = 0.0
    restart_peak_mib: float = 0.0

    def lines(self) -> list[str]:
        """The figures as a table of text."""
        ratio = self.operator_creates_per_second / self.plain_creates_per_second
        machine = f"{platform.platform()}, {multiprocessing.cpu_count()} CPUs, Python {platform.python_version()}"
        rows = {
            "machine": machine,
            "trials": f"{self.trials}",
            "plain loop": f"{self.plain_creates_per_second:.0f} jobs created/s ({IN_FLIGHT} in flight)",
            "operator": f"{self.operator_creates_per_second:.0f} jobs created/s ({ratio:.2f} of the plain loop)",
            "all in the ledger": f"{self.trials_per_second:.0f} trials/s ({self.seconds_to_finish:.0f} s)",
            "API writes per trial": f"{self.writes_per_trial:.2f}",
            "experiment object": f"{self.object_kib:.1f} KiB",
            "operator memory": f"{self.resident_mib:.0f} MiB resident, {self.peak_resident_mib:.0f} MiB at most",
            "operator CPU": f"{self.cpu_seconds:.1f} s",
            "CPU per trial": self._where_the_time_went(),
            "restart, all children": f"ready after {self.restart_seconds:.1f} s",
            "restart CPU, memory": f"{self.restart_cpu_seconds:.1f} s, {self.restart_peak_mib:.0f} MiB at most",
        }
        return [f"{name:<24}{value}" for name, value in rows.items()]

    def _where_the_time_went(self) -> str:
        each = ", ".join(f"{name} {value:.1f}" for name, value in self.cpu_milliseconds.items())
        total = sum(self.cpu_milliseconds.values())
        return f"{total:.1f} ms ({each}), on {total * self.trials_per_second / 1000:.2f} CPUs"


def a_search(trials: int) -> dict[str, Any]:
    """A grid of so many trials, a multiple of 500."""
    parameters = [
        {"name": "train.learningRate", "choices": [round(0.0001 * (i + 1), 6) for i in range(50)]},
        {"name": "model.hiddenSize", "choices": list(range(1, 11))},
        {"name": "train.batchSize", "choices": list(range(1, trials // 500 + 1))},
    ]
    return {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "HyperparamSearch",
        "metadata": {"name": "bench"},
        "spec": {"objective": {"metric": "validMse"}, "parameters": parameters, "parallelTrials": PARALLEL},
    }


async def plain_loop(access: Access, search: dict[str, Any], count: int) -> float:
    """Jobs per second that a loop with a few requests in flight creates."""
    work = workload(search)
    bodies = [
        pytorch_job(work, Key("HyperparamSearch", PLAIN, "bench"), "0" * 36, trial, 1, "trainer:1")
        for trial in work.trials[:count]
    ]
    slots = asyncio.Semaphore(IN_FLIGHT)
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=access.ssl_context())
    async with aiohttp.ClientSession(access.server, connector=connector, headers=access.headers) as session:

        async def create(body: dict[str, Any]) -> None:
            async with slots, session.post(JOBS.format(PLAIN), json=body) as answer:
                assert answer.status == 201, await answer.text()
                await answer.read()

        await create(bodies[0])
        began = time.perf_counter()
        await asyncio.gather(*(create(body) for body in bodies[1:]))
        return (len(bodies) - 1) / (time.perf_counter() - began)


def memory_mib(pid: int, field: str) -> float:
    """A field of a process's memory, such as VmRSS."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def prepare(plane: ControlPlane) -> None:
    """What the operator and the stand-in need: the CRDs and two namespaces whose pods are admitted."""
    apply_crds(plane)
    crd = yaml.safe_load((build.training_operator_manifests() / "crds" / "kubeflow.org_pytorchjobs.yaml").read_text())
    plane.api.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}", crd)
    for namespace in (NAMESPACE, PLAIN):
        plane.api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        plane.api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}})
    eventually(lambda: is_served(plane.api, JOBS.format(NAMESPACE)), within_seconds=30)


def count(api: Api, path: str) -> int:
    """How many objects there are."""
    page = api.get(path, limit="1")
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))


def is_finished(experiments: Experiments, began: float) -> bool:
    """Whether the search says so; tells how far it is."""
    status = experiments.get("bench")["status"]
    print(f"{time.perf_counter() - began:4.0f} s: {status.get('done')} done", file=sys.stderr, flush=True)
    return status["phase"] in ("Succeeded", "Failed")


def creation_rate(api: Api, path: str, target: int) -> float:
    """Objects per second from now on until there are `target`, by counts that are too rare to disturb."""
    samples: list[tuple[float, int]] = []

    def is_reached() -> bool:
        samples.append((time.perf_counter(), count(api, path)))
        return samples[-1][1] >= target

    eventually(is_reached, within_seconds=120, every_seconds=0.2)
    # The last one came up to a pause after the target was reached; the one before it is exact.
    (began, first), (ended, last) = samples[0], samples[-2]
    return (last - first) / (ended - began)


def measure(plane: ControlPlane, workdir: Path, trials: int) -> Figures:
    """All figures."""
    search = a_search(trials)
    figures = Figures(trials=len(workload(search).trials))
    figures.plain_creates_per_second = asyncio.run(plain_loop(plane.access, search, PARALLEL))
    experiments = Experiments(plane, NAMESPACE)
    spawn = multiprocessing.get_context("spawn")
    go = spawn.Event()
    helper = spawn.Process(target=stand_in, args=(plane.kubeconfig, NAMESPACE, go), daemon=True)
    helper.start()  # so early that its imports are over when it is to begin
    with OperatorProcess(workdir, NAMESPACE, service_account(plane, NAMESPACE)) as process:
        process.wait_until_ready()
        experiments.create(search)
        jobs = JOBS.format(NAMESPACE)
        eventually(lambda: count(plane.api, jobs) > 0, within_seconds=60, every_seconds=0.02)
        figures.operator_creates_per_second = creation_rate(plane.api, jobs, min(PARALLEL, figures.trials))
        assert helper.pid is not None
        pids = {"API server": plane.api_server.pid, "etcd": plane.etcd.pid, "operator": process.pid,
                "stand-in": helper.pid}  # fmt: skip
        used = {name: cpu_seconds(pid) for name, pid in pids.items()}
        began = time.perf_counter()
        go.set()
        eventually(lambda: is_finished(experiments, began), within_seconds=900, every_seconds=1.0)
        figures.seconds_to_finish = time.perf_counter() - began
        figures.trials_per_second = figures.trials / figures.seconds_to_finish
        figures.cpu_milliseconds = {
            name: 1000 * (cpu_seconds(pid) - used[name]) / figures.trials for name, pid in pids.items()
        }
        helper.terminate()
        seen = experiments.get("bench")
        assert seen["status"]["phase"] == "Succeeded", seen["status"]
        assert len(experiments.entries()) == figures.trials
        figures.object_kib = len(json.dumps(seen)) / 1024
        figures.writes_per_trial = process.writes() / figures.trials
        figures.resident_mib = memory_mib(process.pid, "VmRSS")
        figures.peak_resident_mib = memory_mib(process.pid, "VmHWM")
        figures.cpu_seconds = cpu_seconds(process.pid)
        process.kill()
        began = time.perf_counter()
        eventually(lambda: not process.is_running, within_seconds=10, every_seconds=0.01)
        process.wait_until_ready()
        eventually(lambda: any(name.startswith("trialrun_reconciles_total") for name in process.figures()))
        figures.restart_seconds = time.perf_counter() - began
        time.sleep(5)  # kopf's own listing follows ours
        figures.restart_cpu_seconds = cpu_seconds(process.pid)
        figures.restart_peak_mib = memory_mib(process.pid, "VmHWM")
    return figures


def main() -> None:
    """Starts an API server, measures, and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator", description=main.__doc__)
    parser.add_argument("--trials", type=int, default=5000, help="a multiple of 500")
    trials = parser.parse_args().trials
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    build.programs()
    with tempfile.TemporaryDirectory(prefix="trialrun-bench-") as folder:
        plane = ControlPlane(Path(folder))
        try:
            plane.etcd.start()
            plane.api_server.start()
            prepare(plane)
            print("\n".join(measure(plane, Path(folder), trials).lines()))
        finally:
            plane.stop()


if __name__ == "__main__":
    main()
