"""Runs a program's trials on this machine: each rank a process group of its own, whose reports are read meanwhile."""

import json
import math
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from trainer.cgroup import CgroupFactory, Group, cgroup_factory, cores, cpu_limit, memory_limit
from trainer.experiment.cost import quantity
from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit, exit_text, last_words
from trainer.experiment.outcome import Outcome
from trainer.experiment.program import Invocation
from trainer.experiment.program_report import SILENT, outcome_of, rank_report
from trainer.experiment.progress import PROTOCOL, REPORTS
from trainer.experiment.record import (
    Charged,
    Environment,
    Memory,
    MemoryLimit,
    RankReport,
)
from trainer.experiment.spec import Experiment, HyperparamSearch, Scalar, ScaleTest
from trainer.local.child import Child
from trainer.local.keeper import MARK, kill_marked
from trainer.local.launcher import QUIET_SECONDS, STOP, RankEnded, Reported
from trainer.local.program_files import ProgramFiles, leading_imports
from trainer.local.reports import Reports
from trainer.machine import cpu_model

FILES, LOG = "files", "log-{rank}.txt"
_KEEPER = Path(__file__).with_name("keeper.py")
_LOOK_SECONDS = 0.1  # between looks at the files that programs report into
_THREADS = "OMP_NUM_THREADS"
_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
_TAIL_BYTES = 16_384


@dataclass
class _Running:
    """A trial whose ranks run. `groups` are theirs, where each has a cgroup."""

    trial: Trial
    folder: Path
    reports: Reports
    rests_on: Mapping[str, str]  # hashes of its inputs and its code, as they were when it started
    slot: int
    threads: int
    mark: bytes  # what all have in their environment whom it has started
    groups: Mapping[int, Group]
    left: int
    killed: bool = False
    asked: int | None = None  # to stop, and how many reports it had made then
    patient_until: float = math.inf


@dataclass
class Programs:
    """Starts the ranks of a program's trials, of which `slots` may run at once. A context: leaving it ends them all.

    A search's `python FILE.py …` is forked from a process that has loaded what the script imports first; where that
    could make a difference to it, and for whatever else, each rank starts from nothing.
    """

    experiment: Experiment
    files: ProgramFiles
    slots: int
    log: Path
    start_seconds: float = field(default=0.0, init=False)
    _running: dict[str, _Running] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _cgroups: CgroupFactory | None = None
    _forks: bool = False
    _waits: Callable[[str], None] = print

    def __enter__(self) -> "Programs":
        self._keeper = Child(
            ("-P", str(_KEEPER)), "the process that starts programs", self.log, environment=self._inherited(workers=1)
        )
        self._keeper.start()
        self._selector.register(self._keeper.events, selectors.EVENT_READ)
        self._cgroups = cgroup_factory()
        self._devices = devices()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._selector.close()
        self._keeper.end()  # it kills what runs, unless it was killed itself
        if self._running:
            kill_marked({one.mark for one in self._running.values()})
        for one in self._running.values():
            for group in one.groups.values():
                group.remove()

    def await_ready(self, waits: Callable[[str], None]) -> None:
        """Loads what trials import, where they are forked from a process that has."""
        self._waits = waits
        script = self.files.script
        alone = isinstance(self.experiment, HyperparamSearch) and self.experiment.spec.workers == 1
        forks = script is not None and alone and not self.files.program.env and hasattr(os, "fork")
        if script is not None and forks:
            self._keeper.ask(do="load", modules=leading_imports(script))
        # What all trials run on, as far as it can be seen from outside; read while the keeper loads.
        self._environment = Environment(
            packages=self.files.packages(),
            cpu=cpu_model(),
            device="" if self._devices else "cpu",
            cpus=cpu_limit(),
            memory_limit_bytes=memory_limit(),
        )
        began, told = time.monotonic(), False
        while script is not None and forks:
            for event in self._keeper.heard() if self._selector.select(_LOOK_SECONDS) else []:
                self._forks = event["forks"]
                return
            if not told and time.monotonic() > began + QUIET_SECONDS:
                told = True
                waits(f"what {script.name} imports to be loaded")

    def start(
        self,
        trial: Trial,
        folder: Path,
        told: Sequence[int] = (),  # noqa: ARG002 - all is told
        until: int | None = None,
    ) -> None:
        """Starts every rank of a trial, what it reports and prints in `folder`."""
        rests_on = self.files.content(self._waits)
        (folder / FILES).mkdir(parents=True, exist_ok=True)
        for name in (REPORTS, STOP):
            (folder / name).unlink(missing_ok=True)
        slot = next(each for each in range(self.slots) if each not in {one.slot for one in self._running.values()})
        attempt = uuid.uuid4().hex
        shared = self._variables(trial, folder, slot, until) | {MARK: attempt}
        groups, limit = dict[int, Group](), self._limit
        for rank in range(trial.workers):
            group = self._group()
            if group is not None:
                groups[rank] = group
            self._keeper.ask(
                do="start",
                trial=trial.id,
                rank=rank,
                argv=list(_invocation(trial).command),
                fork=self._forks,
                env=shared | _of_rank(trial, rank),
                cwd=str(self.files.folder),
                log=str((folder / LOG.format(rank=rank)).absolute()),
                group="" if group is None else str(group.members),
                limit=limit.bytes if limit is not None and limit.kept_by == "Watchdog" else 0,
            )
        reports, mark = Reports(folder / REPORTS), f"{MARK}={attempt}".encode()
        self._running[trial.id] = _Running(
            trial, folder, reports, rests_on, slot, _threads(shared), mark, groups, trial.workers
        )

    def stop(self, trial: Trial) -> None:
        """Asks a trial to stop, as its next report tells it, and ends it where it doesn't."""
        if (one := self._running.get(trial.id)) is not None:
            (one.folder / STOP).touch()
            one.reports.take()
            one.asked, one.patient_until = one.reports.told.count, time.monotonic() + _GRACE_SECONDS

    def kill(self, trial: Trial) -> None:
        """Asks a trial's ranks to end, and a while later ends what is left of them."""
        if (one := self._running.get(trial.id)) is not None:
            one.killed = True
            (one.folder / STOP).touch()
            self._keeper.ask(do="end", trial=trial.id, grace=_GRACE_SECONDS)

    def events(self, timeout: float) -> Iterator[Reported | RankEnded]:
        """What happened, waiting at most `timeout` seconds for the first event; maybe nothing.

        Raises:
            LauncherEnded: nothing will ever happen again.
        """
        heard = self._keeper.heard() if self._selector.select(min(timeout, _LOOK_SECONDS)) else []
        for one in [one for one in self._running.values() if time.monotonic() >= one.patient_until]:
            one.patient_until = math.inf
            self.kill(one.trial)
        for one in self._running.values():
            for report in one.reports.take():
                yield Reported(one.trial.id, report.step, report.metrics)
        for event in heard:
            one = self._running[event["trial"]]
            if event["rank"] == 0:
                for report in one.reports.finish(orderly=event["code"] == 0):
                    yield Reported(one.trial.id, report.step, report.metrics)
            yield RankEnded(one.trial.id, self._exit(one, event))
            one.left -= 1
            if not one.left:
                del self._running[one.trial.id]

    def _group(self) -> Group | None:
        if self._cgroups is None:
            return None
        group = self._cgroups.make()
        if (limit := self._limit) is not None:
            group.limit(limit.bytes)
        return group

    @property
    def _limit(self) -> MemoryLimit | None:
        """The memory that each rank of a scale test may use: the kernel keeps it, or who reads what is resident."""
        if not isinstance(self.experiment, ScaleTest):
            return None
        given = self.experiment.spec.cell.memory_limit
        if given is None:
            return None
        return MemoryLimit(bytes=int(quantity(given)), kept_by="Watchdog" if self._cgroups is None else "Cgroup")

    def _variables(self, trial: Trial, folder: Path, slot: int, until: int | None) -> dict[str, str]:
        """What all ranks of a trial are told."""
        experiment, ran = self.experiment, _invocation(trial)
        files = (folder / FILES).absolute()
        order = {
            "protocol": PROTOCOL,
            "experiment": experiment.name,
            "kind": experiment.kind,
            "id": trial.id,
            "index": trial.index,
            "parameters": trial.parameters,
            "settings": ran.settings,
            "repeat": trial.repeat,
            "seed": trial.seed,
            "workers": trial.workers,
            "metric": experiment.spec.objective.metric if isinstance(experiment, HyperparamSearch) else None,
            "folder": str(files),
            "checkpoints": [str(files)] if any(files.iterdir()) else [],
            "reports": str((folder / REPORTS).absolute()),
            "stop": str((folder / STOP).absolute()),
            "until": until,
        }
        told: dict[str, str] = {
            "TRIALRUN_TRIAL": json.dumps(order, separators=(",", ":")),
            "TRIALRUN_REPORTS": str(order["reports"]),
        }
        processes, address, port = self.files.program.processes_per_worker, "127.0.0.1", str(_free_port())
        if trial.workers > 1:
            told |= {"WORLD_SIZE": str(trial.workers), "LOCAL_WORLD_SIZE": str(trial.workers),
                     "MASTER_ADDR": address, "MASTER_PORT": port}  # fmt: skip
        if trial.workers > 1 or processes > 1:  # for a torchrun, which sets the others for what it starts
            told |= {"PET_NNODES": str(trial.workers), "PET_NPROC_PER_NODE": str(processes),
                     "PET_MASTER_ADDR": address, "PET_MASTER_PORT": port}  # fmt: skip
        if len(self._devices) > 1 and "CUDA_VISIBLE_DEVICES" not in ran.env:
            each = max(1, len(self._devices) // self.slots)
            first = slot * each % len(self._devices)
            told["CUDA_VISIBLE_DEVICES"] = ",".join(self._devices[first : first + each])
        return {**self._inherited(trial.workers), **ran.env, **told}

    def _inherited(self, workers: int) -> dict[str, str]:
        """The runner's own environment, in which `python` means its interpreter.

        Each has its share of the cores where several run at once: libraries start a thread for every core otherwise.
        """
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        found = {**os.environ, "PATH": path}
        if workers > 1:
            found.setdefault(_THREADS, "1")  # as torchrun does
        elif self.slots > 1:
            found.setdefault(_THREADS, str(max(1, cores() // self.slots)))
        return found

    def _exit(self, one: _Running, event: Mapping[str, Any]) -> RankExit:
        """How a rank ended, by its exit code, what it reported, and what the kernel knows of it."""
        rank, code, told = event["rank"], event["code"], one.reports.told
        if code is None:
            if (group := one.groups.get(rank)) is not None:
                group.remove()
            return RankExit(rank, None, platform=Outcome.INVALID_CONFIG, error=f"the command {event['why']}")
        evidence: dict[str, Scalar] = {"signal": -code} if code < 0 else {"exitCode": code}
        memory, kills, limit = self._memory(one, rank, event), 0, self._limit
        beside: dict[str, Scalar] = {**one.rests_on, **told.beside()} if rank == 0 else {}
        read = None if told.read is None or rank != 0 else frozenset(told.read)
        if (group := one.groups.get(rank)) is not None:
            kills = group.kills()
            group.remove()
        if code != 0 and (kills or event["over"]):
            error = "killed by the kernel for want of memory"
            evidence |= {"oomKills": kills} if kills else {"residentBytes": event["over"]}
            if event["over"]:
                error = f"killed by the watchdog: {event['over'] >> 20} MiB were resident"
            if limit is not None:
                evidence |= {"limitBytes": limit.bytes, "limitKeptBy": limit.kept_by}
                error += f"; its limit is {limit.bytes >> 20} MiB"
            report = self._report(one, rank, memory)
            return RankExit(rank, code, report, Outcome.HOST_OOM, error, evidence, beside=beside, read=read)
        if told.wrong and rank == 0:
            return RankExit(rank, code, None, Outcome.INVALID_CONFIG, told.wrong, evidence, beside=beside, read=read)
        if code == 0:
            ended = Outcome.SUCCEEDED if self._by_itself(one) else None
            report, error = self._report(one, rank, memory, ended), SILENT if told.last is None else ""
            return RankExit(rank, code, report, error=error, beside=beside, read=read)
        words = " ".join(last_words(_tail(one.folder / LOG.format(rank=rank))).split())
        error = exit_text(code, None).removesuffix(" without a report") + (
            f"; its log ends: {words}" if words else ""
        )
        ended = None if one.killed else outcome_of(code)
        report = self._report(one, rank, memory, ended, error)
        return RankExit(rank, code, report, error=error, evidence=evidence, beside=beside, read=read)

    def _by_itself(self, one: _Running) -> bool:
        """Whether a trial that ended well did so by itself: one that heeds a request to stop reports once more."""
        return not one.killed and (one.asked is None or one.reports.told.count > one.asked + 1)

    def _report(
        self, one: _Running, rank: int, memory: Memory | None, ended: Outcome | None = None, error: str = ""
    ) -> RankReport | None:
        environment = self._environment.model_copy(update={"threads": one.threads})
        told = one.reports.told
        return rank_report(told, rank, ended, error=error, memory=memory, environment=environment, clock=_now())

    def _memory(self, one: _Running, rank: int, event: Mapping[str, Any]) -> Memory | None:
        """What a rank and its children had; by its cgroup, where it has one, to the byte."""
        if not event["peak"]:
            return None
        group = one.groups.get(rank)
        charged = None
        if group is not None:
            _, peak = group.charged()
            charged = Charged(floor_bytes=0, peak_bytes=peak, mean_bytes=min(peak, event["mean"]))
        return Memory(peak_bytes=event["peak"], mean_bytes=event["mean"], cgroup=charged, limit=self._limit)


def devices() -> list[str]:
    """The GPUs that programs may use; trials that run at once share them out among them."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [each.strip() for each in given.split(",") if each.strip()]
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def _invocation(trial: Trial) -> Invocation:
    assert isinstance(trial.runs, Invocation), "a program's trials run nothing else"  # noqa: S101
    return trial.runs


def _threads(variables: Mapping[str, str]) -> int:
    """How many threads libraries start where they go by the environment."""
    first = variables.get(_THREADS, "").partition(",")[0]
    return int(first) if first.isdecimal() else cores()


def _of_rank(trial: Trial, rank: int) -> dict[str, str]:
    """What a rank is told beside the others, in the names of torchrun."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "PET_NODE_RANK": str(rank)} if trial.workers > 1 else {}


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _now() -> int:
    return int(time.time() * 1000)
