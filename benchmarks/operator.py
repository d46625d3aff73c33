"""Measures the operator with 5,000 trials on a real API server, in turns with version 0.1's.

    make bench-operator
    make bench-operator ARGS=--learning     # this version's, with a search of 504 points that learns, 8 at once
    make bench-operator ARGS="--backend TrainJob --trials 2000"    # this version's, whose trials run as TrainJobs
    make bench-operator ARGS=--controllers  # Trainer beside the training operator: jobs of one pod, both real

etcd and kube-apiserver are real. A stand-in, which runs in a process of its own, takes the place of the controller
and kubelets: it gives each job a pod that has succeeded, and completes the job, at once.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.standin import stand_in
from cluster.api import Api
from cluster.behaviours import Succeeds
from cluster.controlplane import ControlPlane
from cluster.kubeconfig import Access
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import ROOT, Experiments, OperatorProcess, apply_crds, is_served, service_account
from cluster.programs import build
from cluster.watch import Watch
from eventually import eventually
from trialrun_operator.backends import BACKENDS
from trialrun_operator.backends.backend import Backend
from trialrun_operator.manifests import job_parts
from trialrun_operator.names import Key
from trialrun_operator.workload import workload
from version_0_1 import unpacked

NAMESPACE, PLAIN = "bench", "bench-plain"
PYTORCH_JOBS = BACKENDS["PyTorchJob"]
IN_FLIGHT = 8
PARALLEL = 1000  # the most that a search may run at once
ENDINGS, TOGETHER = 500, 10
TRAINER_KINDS = ("trainjobs", "trainingruntimes", "clustertrainingruntimes")
JOBS = 200  # that real controllers are given
POINTS, AT_ONCE = 504, 8
_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Figures:
    """What was measured of one version, in the units of the names."""

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
    delays: list[float] = field(default_factory=list)  # seconds from a pod's end to the status that counts its trial

    @property
    def creation_ratio(self) -> float:
        """Creation beside that of a plain loop."""
        return self.operator_creates_per_second / self.plain_creates_per_second

    def rows(self) -> dict[str, str]:
        """The figures as text."""
        return {
            "plain loop": f"{self.plain_creates_per_second:.0f} jobs created/s",
            "operator": f"{self.operator_creates_per_second:.0f} jobs created/s, {self.creation_ratio:.2f} of it",
            "all in the ledger": f"{self.trials_per_second:.1f} trials/s ({self.seconds_to_finish:.0f} s)",
            "API writes per trial": f"{self.writes_per_trial:.2f}",
            "experiment object": f"{self.object_kib:.1f} KiB",
            "operator memory": f"{self.resident_mib:.0f} MiB, {self.peak_resident_mib:.0f} MiB at most",
            "operator CPU": f"{self.cpu_seconds:.1f} s",
            **{f"CPU per trial, {name}": f"{each:.1f} ms" for name, each in self.cpu_milliseconds.items()},
            "restart": f"ready after {self.restart_seconds:.1f} s, {self.restart_cpu_seconds:.1f} s of CPU",
            "restart memory": f"{self.restart_peak_mib:.0f} MiB at most",
            "pod end to status": self._delays(),
        }

    def _delays(self) -> str:
        if not self.delays:
            return "-"
        return told(self.delays)


def told(delays: Sequence[float]) -> str:
    """Delays in seconds as text."""
    median, late, last = (sorted(delays)[round(share * (len(delays) - 1))] for share in (0.5, 0.99, 1))
    return f"median {median:.2f} s, 99 % in {late:.2f} s, all in {last:.2f} s"


def lines(before: Sequence[Figures], now: Sequence[Figures], trials: int) -> list[str]:
    """Both versions' figures as a table of text, a column for each round, and what one makes of the other."""
    heads = [f"{version}, round {number + 1}" for number in range(len(now)) for version in ("0.1", "this")]
    columns = [figures.rows() for pair in zip(before, now, strict=True) for figures in pair]
    table = [("", *heads), *((name, *(column[name] for column in columns)) for name in columns[0])]
    return [
        f"{trials} trials, at most {PARALLEL} at once; creation with {IN_FLIGHT} requests in flight; {machine()}",
        *("".join(f"{cell:<50}" if at else f"{cell:<28}" for at, cell in enumerate(row)).rstrip() for row in table),
        f"trials/s beside version 0.1: {_mean(now, 'trials_per_second') / _mean(before, 'trials_per_second'):.2f}",
        f"creation beside the plain loop: {_mean(now, 'creation_ratio'):.2f}",
        f"CPU per trial of operator / API server beside version 0.1's: {_share(now) / _share(before):.2f}",
    ]


def machine() -> str:
    """What was measured on."""
    return f"{platform.platform()}, {multiprocessing.cpu_count()} CPUs, Python {platform.python_version()}"


def _mean(rounds: Sequence[Figures], name: str) -> float:
    return sum(getattr(each, name) for each in rounds) / len(rounds)


def _share(rounds: Sequence[Figures]) -> float:
    """The operator's CPU time for each second of the API server's: a machine whose speed changes slows both."""
    spent = [each.cpu_milliseconds for each in rounds]
    return sum(each["operator"] for each in spent) / sum(each["API server"] for each in spent)


def a_search(trials: int, name: str, parallel: int) -> dict[str, Any]:
    """A grid of so many trials, a multiple of 500."""
    parameters = [
        {"name": "train.learningRate", "choices": [round(0.0001 * (i + 1), 6) for i in range(50)]},
        {"name": "model.hiddenSize", "choices": list(range(1, 11))},
        {"name": "train.batchSize", "choices": list(range(1, trials // 500 + 1))},
    ]
    return {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "HyperparamSearch",
        "metadata": {"name": name},
        "spec": {"objective": {"metric": "validMse"}, "parameters": parameters, "parallelTrials": parallel},
    }


def a_learning_search(name: str) -> dict[str, Any]:
    """A search by TPE over three parameters."""
    search = a_search(500, name, AT_ONCE)
    parameters = [
        {"name": "train.learningRate", "range": {"min": 1e-5, "max": 1e-1, "scale": "Log"}},
        {"name": "model.hiddenSize", "range": {"min": 8, "max": 512, "scale": "Log"}},
        {"name": "train.batchSize", "choices": [16, 32, 64, 128]},
    ]
    search["spec"] |= {"algorithm": "TPE", "trials": POINTS, "parameters": parameters}
    return search


async def plain_loop(access: Access, search: dict[str, Any], count: int, backend: Backend) -> float:
    """Jobs per second that a loop with a few requests in flight creates."""
    work, key = workload(search), Key("HyperparamSearch", PLAIN, "bench")
    bodies = [
        backend.make(job_parts(work, key, "0" * 36, trial, 1, backend, "trainer:1", f"link-{trial.id}"))[0]
        for trial in work.trials[:count]
    ]
    slots = asyncio.Semaphore(IN_FLIGHT)
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=access.ssl_context())
    async with aiohttp.ClientSession(access.server, connector=connector, headers=access.headers) as session:

        async def create(body: dict[str, Any]) -> None:
            async with slots, session.post(backend.jobs.path(PLAIN), json=body) as answer:
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


def prepare(plane: ControlPlane, root: Path) -> None:
    """What the operator and the stand-in need: a version's CRDs, and two namespaces whose pods are admitted."""
    apply_crds(plane, root)
    files = [build.manifests("training-operator") / "crds" / "kubeflow.org_pytorchjobs.yaml"]
    files += [build.manifests("trainer") / "crds" / f"trainer.kubeflow.org_{kind}.yaml" for kind in TRAINER_KINDS]
    for file in files:
        crd = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        plane.api.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}", crd)
    for namespace in (NAMESPACE, PLAIN):
        plane.api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        plane.api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}})
    for backend in BACKENDS.values():
        eventually(lambda jobs=backend.jobs: is_served(plane.api, jobs.path(NAMESPACE)), within_seconds=30)  # type: ignore[misc]


def count(api: Api, path: str) -> int:
    """How many objects there are."""
    page = api.get(path, limit="1")
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))


def is_finished(experiments: Experiments, name: str, began: float) -> bool:
    """Whether a search says so; tells how far it is."""
    status = experiments.get(name).get("status", {})
    print(f"{time.perf_counter() - began:4.0f} s: {status.get('done')} done", file=sys.stderr, flush=True)
    return status.get("phase") in ("Succeeded", "Failed")


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


def measure(plane: ControlPlane, workdir: Path, trials: int, root: Path, backend: Backend = PYTORCH_JOBS) -> Figures:
    """The figures of the version in `root`."""
    search = a_search(trials, "bench", PARALLEL)
    if backend is not PYTORCH_JOBS:
        search["spec"]["backend"] = backend.jobs.kind
    figures = Figures()
    figures.plain_creates_per_second = asyncio.run(plain_loop(plane.access, search, PARALLEL, backend))
    experiments = Experiments(plane, NAMESPACE)
    go = _SPAWN.Event()
    helper = _SPAWN.Process(target=stand_in, args=(plane.kubeconfig, NAMESPACE, backend.jobs.kind, go), daemon=True)
    helper.start()  # so early that its imports are over when it is to begin
    account = service_account(plane, NAMESPACE)
    with OperatorProcess(workdir, NAMESPACE, account, root=root) as process:
        process.wait_until_ready()
        experiments.create(search)
        jobs = backend.jobs.path(NAMESPACE)
        eventually(lambda: count(plane.api, jobs) > 0, within_seconds=60, every_seconds=0.02)
        figures.operator_creates_per_second = creation_rate(plane.api, jobs, min(PARALLEL, trials))
        assert helper.pid is not None
        pids = {"API server": plane.api_server.pid, "etcd": plane.etcd.pid, "operator": process.pid,
                "stand-in": helper.pid}  # fmt: skip
        used = {name: cpu_seconds(pid) for name, pid in pids.items()}
        began = time.perf_counter()
        go.set()
        eventually(lambda: is_finished(experiments, "bench", began), within_seconds=900, every_seconds=1.0)
        figures.seconds_to_finish = time.perf_counter() - began
        figures.trials_per_second = trials / figures.seconds_to_finish
        figures.cpu_milliseconds = {
            name: 1000 * (cpu_seconds(pid) - used[name]) / trials for name, pid in pids.items()
        }
        helper.terminate()
        seen = experiments.get("bench")
        assert seen["status"]["phase"] == "Succeeded", seen["status"]
        assert len(experiments.entries()) == trials
        figures.object_kib = len(json.dumps(seen)) / 1024
        figures.writes_per_trial = process.writes() / trials
        figures.resident_mib = memory_mib(process.pid, "VmRSS")
        figures.peak_resident_mib = memory_mib(process.pid, "VmHWM")
        figures.cpu_seconds = cpu_seconds(process.pid)
        endings = a_search(ENDINGS, "endings", TOGETHER)
        endings["spec"] |= {name: value for name, value in search["spec"].items() if name == "backend"}
        figures.delays = delays(plane, experiments, endings, ENDINGS, TOGETHER, backend)
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


def measure_learning(plane: ControlPlane, workdir: Path) -> list[str]:
    """What a search that learns costs, in lines of text."""
    experiments, account = Experiments(plane, NAMESPACE), service_account(plane, NAMESPACE)
    with OperatorProcess(workdir, NAMESPACE, account) as process:
        process.wait_until_ready()
        began = time.perf_counter()
        found = delays(plane, experiments, a_learning_search("learning"), POINTS, AT_ONCE)
        seconds = time.perf_counter() - began
        figures = process.figures()
        suggesting = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        memory = max((memory_mib(int(pid), "VmHWM") for pid in suggesting), default=0.0)
        assert figures["trialrun_suggestions_total"] == POINTS
        return [
            f"{POINTS} points by TPE, {AT_ONCE} at once, whose pods end together",
            f"all in the ledger           {POINTS / seconds:.1f} trials/s ({seconds:.0f} s)",
            f"API writes per trial        {process.writes() / POINTS:.2f}",
            f"pod end to status           {told(found)}",
            f"operator CPU                {cpu_seconds(process.pid):.1f} s",
            f"operator memory             {memory_mib(process.pid, 'VmHWM'):.0f} MiB at most",
            f"memory of what suggests     {memory:.0f} MiB at most",
        ]


def delays(
    plane: ControlPlane,
    experiments: Experiments,
    search: dict[str, Any],
    trials: int,
    together: int,
    backend: Backend = PYTORCH_JOBS,
) -> list[float]:
    """Seconds from each pod's end, so many together, to the status that counts as many trials as done."""
    go, ends = _SPAWN.Event(), _SPAWN.Queue()
    name = search["metadata"]["name"]
    arguments = (plane.kubeconfig, NAMESPACE, backend.jobs.kind, go, together, ends)
    helper = _SPAWN.Process(target=stand_in, args=arguments, daemon=True)
    helper.start()
    go.set()
    with Watch(plane, experiments.path()) as watch:
        experiments.create(search)
        began = time.perf_counter()
        eventually(lambda: is_finished(experiments, name, began), within_seconds=600, every_seconds=5.0)
    moments = sorted(ends.get(timeout=10) for _ in range(trials))
    helper.terminate()
    shown: list[float] = []  # when the status first counted the first, the second, ... trial
    for change in watch.changes:
        if change.seen["metadata"]["name"] == name:
            done = int(change.seen.get("status", {}).get("done", "0/0").split("/")[0])
            shown += [change.heard_at] * (done - len(shown))
    return [seen - ended for ended, seen in zip(moments, shown, strict=True)]


def measure_controllers(folder: Path) -> list[str]:
    """How many jobs of one pod, which succeeds at once, the real controllers bring to their end, in lines of text."""
    folder.mkdir()
    found = {}
    with (
        ControlPlane.start(folder) as plane,
        KubeletPlayer(plane.access, lambda pod: Succeeds()),  # noqa: ARG005
        plane.new_namespace() as namespace,
    ):
        plane.start_trainer()
        work, key = workload(a_search(500, "bench", 1)), Key("HyperparamSearch", namespace, "bench")
        for kind, backend in BACKENDS.items():
            parts = [
                job_parts(work, key, "0" * 36, trial, 1, backend, "trainer:1", f"link-{trial.id}")
                for trial in work.trials[:JOBS]
            ]
            made = [backend.make(each) for each in parts]
            if (shared := made[0][1]) is not None:
                plane.api.create(shared[0].path(namespace), _without_owner(shared[1]))
                time.sleep(2)  # until its webhook knows
            began = time.perf_counter()
            for job, _ in made:
                plane.api.create(backend.jobs.path(namespace), _without_owner(job))
            created = time.perf_counter() - began
            eventually(
                lambda: all(backend.state(job).ended for job in plane.api.list(backend.jobs.path(namespace))),  # noqa: B023
                within_seconds=900,
                every_seconds=1.0,
            )
            found[kind] = time.perf_counter() - began
            print(f"{JOBS} {kind}s: created in {created:.1f} s, ended in {found[kind]:.1f} s", file=sys.stderr)
    lines = [f"{kind:<28}{JOBS / seconds:.2f} jobs/s ({seconds:.0f} s)" for kind, seconds in found.items()]
    first, second = found.values()
    return [f"{JOBS} jobs of one pod; {machine()}", *lines, f"the second beside the first   {first / second:.2f}"]


def _without_owner(document: dict[str, Any]) -> dict[str, Any]:
    """An object that no experiment owns: what is owned by one that isn't there is collected."""
    return {**document, "metadata": {k: v for k, v in document["metadata"].items() if k != "ownerReferences"}}


@contextmanager
def started(folder: Path, root: Path) -> Iterator[ControlPlane]:
    """An API server of one's own, ready for the version in `root`."""
    folder.mkdir()
    plane = ControlPlane(folder)
    try:
        plane.etcd.start()
        plane.api_server.start()
        prepare(plane, root)
        yield plane
    finally:
        plane.stop()


def main() -> None:
    """Measures both versions in turns, so that a machine whose speed changes favours none, and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator", description=main.__doc__)
    parser.add_argument("--trials", type=int, default=5000, help="a multiple of 500")
    parser.add_argument("--learning", action="store_true", help="measure a search that learns, of this version alone")
    parser.add_argument("--backend", choices=BACKENDS, help="measure trials that run so, of this version alone")
    parser.add_argument("--controllers", action="store_true", help="measure what runs the jobs, without the operator")
    options = parser.parse_args()
    trials: int = options.trials
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    build.programs()
    with tempfile.TemporaryDirectory(prefix="trialrun-bench-") as name:
        folder = Path(name)
        if options.learning:
            with started(folder / "learning", ROOT) as plane:
                print("\n".join(measure_learning(plane, folder / "learning")))
            return
        if options.controllers:
            print("\n".join(measure_controllers(folder / "controllers")))
            return
        if options.backend:
            backend = BACKENDS[options.backend]
            with started(folder / "backend", ROOT) as plane:
                rows = measure(plane, folder / "backend", trials, ROOT, backend).rows()
            print(f"{trials} trials as {backend.jobs.kind}s, at most {PARALLEL} at once; {machine()}")
            print("\n".join(f"{name:<28}{figure}" for name, figure in rows.items()))
            return
        (folder / "0.1").mkdir()
        old = unpacked(folder / "0.1").root
        before: list[Figures] = []
        now: list[Figures] = []
        for number, turn in enumerate((before, now, now, before)):
            root = ROOT if turn is now else old
            with started(folder / str(number), root) as plane:
                turn.append(measure(plane, folder / str(number), trials, root))
    print("\n".join(lines(before, now, trials)))


if __name__ == "__main__":
    main()
