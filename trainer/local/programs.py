"""Runs a program's trials on this machine: each rank a process group of its own, whose reports are read meanwhile."""

import ast
import hashlib
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import packages_distributions
from pathlib import Path
from types import TracebackType
from typing import Any

from trainer.cgroup import CgroupFactory, Group, cgroup_factory, cpu_limit, memory_limit
from trainer.experiment.cost import quantity
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit, exit_text, last_words
from trainer.experiment.outcome import EXIT_CODES, Outcome
from trainer.experiment.program import Invocation, Program, placeholders
from trainer.experiment.progress import PROTOCOL, ProgressReport, decode
from trainer.experiment.record import (
    DATA,
    VALIDATION,
    Charged,
    Environment,
    Memory,
    MemoryLimit,
    RankReport,
    naive_name,
)
from trainer.experiment.spec import Experiment, HyperparamSearch, Scalar, ScaleTest
from trainer.local.child import Child
from trainer.local.launcher import QUIET_SECONDS, RankEnded, Reported

REPORTS, STOP, FILES, LOG = "reports.jsonl", "stop", "files", "log-{rank}.txt"
_KEEPER = Path(__file__).with_name("keeper.py")
_LOOK_SECONDS = 0.1  # between looks at the files that programs report into
_MOST_REPORT_BYTES = 64 * 2**20
_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
_TAIL_BYTES = 16_384
_HASH_DIGITS = 12
# The first optimizer imports the compiler, which takes as long as the rest of torch.
_IMPORTED_LATER = {"torch": ("torch._dynamo",)}


class _Reports:
    """The file that a trial's program reports into, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.last: ProgressReport | None = None
        self.naive: Mapping[str, float] = {}
        self.data = self.validation = ""
        self.read: set[str] | None = None
        self.wrong = ""
        self.count = 0
        self._path = path
        self._processes: set[int] = set()
        self._at = 0
        self._pending = b""

    def take(self) -> ProgressReport | None:
        """Reads what is new; the last report of that, None where there is none."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                received = file.read(_MOST_REPORT_BYTES + 1)
        except OSError:
            return None
        self._at += len(received)
        *lines, self._pending = (self._pending + received).split(b"\n")
        before = self.last
        for line in lines:
            self._take(line)
        if self._at > _MOST_REPORT_BYTES and not self.wrong:
            self.wrong = f"{REPORTS}: must have at most {_MOST_REPORT_BYTES >> 20} MiB, and has more"
        return self.last if self.last is not before else None

    def _take(self, line: bytes) -> None:
        if not line.strip() or self.wrong:
            return
        self.count += 1
        try:
            report = decode(line)
        except ValueError as error:
            self.wrong = f"{REPORTS}, line {self.count}: {error}"
            return
        if report.process is not None:
            self._processes.add(report.process)
        if len(self._processes) > 1:
            both = " and ".join(map(str, sorted(self._processes)))
            self.wrong = f"processes {both} reported for one trial; one process must, under DDP rank 0"
            return
        self.last = report
        self.naive = report.naive or self.naive
        self.data, self.validation = report.rests_on.data or self.data, report.rests_on.validation or self.validation
        if report.read is not None:
            self.read = (self.read or set()) | set(report.read)


@dataclass
class _Running:
    """A trial whose ranks run. `groups` are theirs, where each has a cgroup."""

    trial: Trial
    folder: Path
    reports: _Reports
    slot: int
    groups: Mapping[int, Group]
    left: int
    killed: bool = False


@dataclass
class Programs:
    """Starts the ranks of a program's trials. A context: leaving it ends them all.

    Relative paths of the file begin at `base`; `slots` trials may run at once.
    """

    experiment: Experiment
    program: Program
    base: Path
    slots: int
    log: Path
    start_seconds: float = field(default=0.0, init=False)
    inputs: str = field(default="", init=False)  # the hash of what the file says results rest on
    code: str = field(default="", init=False)  # that of the files that the command names
    _running: dict[str, _Running] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _cgroups: CgroupFactory | None = None
    _made: int = 0

    def __enter__(self) -> "Programs":
        self._keeper = Child(("-P", str(_KEEPER)), "the process that starts programs", self.log)
        self._keeper.start()
        self._selector.register(self._keeper.events, selectors.EVENT_READ)
        self._cgroups = cgroup_factory()
        self._devices = devices()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._selector.close()
        self._keeper.end()  # it kills what runs
        for one in self._running.values():
            for group in one.groups.values():
                group.remove()

    @property
    def folder(self) -> Path:
        """Where programs are started."""
        return (self.base / (self.program.working_directory or ".")).absolute()

    def await_ready(self, waits: Callable[[str], None]) -> None:
        """Sees to it that the command can be started and the inputs can be read.

        Raises:
            UserError: one can't.
        """
        if not self.folder.is_dir():
            raise UserError(f"spec.program.workingDirectory: must be a folder, got {self.folder}, which is none")
        command = self.program.command[0]
        if "${" not in command and not _found(command, self.folder):
            raise UserError(
                f"spec.program.command[0]: must be a program, got {command}, which is not found on PATH or, with a / "
                f"in it, from {self.folder}"
            )
        self.inputs = content(self.folder, self.program.inputs, waits)
        words = (word for word in self.program.command if "${" not in word)
        named = tuple(word for word in words if (self.folder / word).is_file())
        self.code = content(self.folder, named, waits)
        self._forks, self._modules = self._forked_start()
        texts = (*self.program.command, *(variable.value for variable in self.program.env))
        self._placed = {name for text in texts for part, name in placeholders(text) if part == "parameters"}

    def _forked_start(self) -> tuple[bool, list[str]]:
        """Whether trials are forked from a process that has loaded what they import, and what that is.

        Only where it makes no difference to a script: exactly `python FILE.py …`, run by this interpreter, with the
        same environment for all.
        """
        python, *rest = self.program.command
        file = self.folder / rest[0] if rest else self.folder
        plain = python == "python" and file.suffix == ".py" and file.is_file()
        varied = any("${" in variable.value for variable in self.program.env)
        if not plain or varied or self.program.env or not hasattr(os, "fork"):
            return False, []
        return True, imported(file)

    def start(self, trial: Trial, folder: Path) -> None:
        """Starts every rank of a trial, what it reports and prints in `folder`."""
        (folder / FILES).mkdir(parents=True, exist_ok=True)
        for name in (REPORTS, STOP):
            (folder / name).unlink(missing_ok=True)
        slot = next(each for each in range(self.slots) if each not in {one.slot for one in self._running.values()})
        shared = self._environment(trial, folder, slot)
        groups: dict[int, Group] = {}
        for rank in range(trial.workers):
            group = self._group()
            if group is not None:
                groups[rank] = group
            self._keeper.ask(
                do="start",
                trial=trial.id,
                rank=rank,
                argv=list(_invocation(trial).command),
                script=list(_invocation(trial).command[1:]) if self._forks else [],
                modules=self._modules,
                env=shared | _of_rank(trial, rank),
                cwd=str(self.folder),
                log=str((folder / LOG.format(rank=rank)).absolute()),
                group="" if group is None else str(group.members),
            )
        reports = _Reports(folder / REPORTS)
        self._running[trial.id] = _Running(trial, folder, reports, slot, groups, trial.workers)

    def kill(self, trial: Trial) -> None:
        """Asks a trial's ranks to end, and a while later ends what is left of them."""
        if (one := self._running.get(trial.id)) is not None:
            one.killed = True
            (one.folder / STOP).touch()
            self._keeper.ask(do="end", trial=trial.id, grace=_GRACE_SECONDS)

    def events(self, timeout: float | None) -> Iterator[Reported | RankEnded]:
        """What happened, waiting at most `timeout` seconds for the first event; maybe nothing.

        Raises:
            LauncherEnded: nothing will ever happen again.
        """
        timeout = _LOOK_SECONDS if timeout is None else min(timeout, _LOOK_SECONDS)
        heard = self._keeper.heard() if self._selector.select(timeout) else []
        for one in self._running.values():
            if (report := one.reports.take()) is not None:
                yield Reported(one.trial.id, report.step, report.metrics)
        for event in heard:
            one = self._running[event["trial"]]
            one.reports.take()
            yield RankEnded(one.trial.id, self._exit(one, event))
            one.left -= 1
            if not one.left:
                del self._running[one.trial.id]

    def _group(self) -> Group | None:
        if self._cgroups is None:
            return None
        self._made += 1
        group = self._cgroups.make(str(self._made))
        if self._limit is not None:
            group.limit(self._limit.bytes)
        return group

    @property
    def _limit(self) -> MemoryLimit | None:
        """The memory that each rank of a scale test may use; nothing but a cgroup keeps a program to it."""
        if not isinstance(self.experiment, ScaleTest) or self._cgroups is None:
            return None
        given = self.experiment.spec.cell.memory_limit
        return None if given is None else MemoryLimit(bytes=int(quantity(given)), kept_by="Cgroup")

    def _environment(self, trial: Trial, folder: Path, slot: int) -> dict[str, str]:
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
        }
        # The interpreter that this runs in is the one that `python` means.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        told: dict[str, str] = {
            "TRIALRUN_TRIAL": json.dumps(order, separators=(",", ":")),
            "TRIALRUN_REPORTS": str(order["reports"]),
            "TRIALRUN_ATTEMPT": uuid.uuid4().hex,
            "PATH": path,
        }
        if trial.workers > 1:
            told |= {"WORLD_SIZE": str(trial.workers), "LOCAL_WORLD_SIZE": str(trial.workers),
                     "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}  # fmt: skip
        if len(self._devices) > 1:
            each = max(1, len(self._devices) // self.slots)
            first = slot * each % len(self._devices)
            told["CUDA_VISIBLE_DEVICES"] = ",".join(self._devices[first : first + each])
        return {**os.environ, **ran.env, **told}

    def _exit(self, one: _Running, event: Mapping[str, Any]) -> RankExit:
        """How a rank ended, by its exit code, what it reported, and what the kernel knows of it."""
        rank, code, reports = event["rank"], event["code"], one.reports
        if code is None:
            return RankExit(rank, None, platform=Outcome.INVALID_CONFIG, error=f"the command {event['why']}")
        evidence: dict[str, Scalar] = {"signal": -code} if code < 0 else {"exitCode": code}
        memory, kills = self._memory(one, rank, event), 0
        beside = self._beside(one) if rank == 0 else {}
        if (group := one.groups.get(rank)) is not None:
            kills = group.kills()
            group.remove()
        if code != 0 and kills:
            error = "killed by the kernel for want of memory"
            if self._limit is not None:
                evidence |= {"limitBytes": self._limit.bytes, "limitKeptBy": "Cgroup"}
                error += f"; its limit is {self._limit.bytes >> 20} MiB"
            report = self._report(one, rank, memory)
            return RankExit(
                rank, code, report, Outcome.HOST_OOM, error, evidence | {"oomKills": kills}, beside=beside
            )
        if reports.wrong and rank == 0:
            return RankExit(rank, code, None, Outcome.INVALID_CONFIG, reports.wrong, evidence, beside=beside)
        if code == 0:
            ended = None if one.killed else Outcome.SUCCEEDED
            return RankExit(rank, code, self._report(one, rank, memory, ended), beside=beside)
        words = " ".join(last_words(_tail(one.folder / LOG.format(rank=rank))).split())
        error = exit_text(code, None).removesuffix(" without a report") + (
            f"; its log ends: {words}" if words else ""
        )
        told = {number: outcome for outcome, number in EXIT_CODES.items()}
        ended = None if one.killed else told.get(code)
        return RankExit(
            rank, code, self._report(one, rank, memory, ended, error), error=error, evidence=evidence, beside=beside
        )

    def _report(
        self, one: _Running, rank: int, memory: Memory | None, ended: Outcome | None = None, error: str = ""
    ) -> RankReport | None:
        """What the rank would have said in our trainer's words; only figures where it is not said how it `ended`."""
        reports, metrics = one.reports, dict[str, float]()
        if rank == 0 and reports.last is not None:
            metrics = dict(reports.last.metrics)
            metrics |= {naive_name(name): value for name, value in reports.naive.items()}
        elif rank == 0 and ended is Outcome.SUCCEEDED:
            return None
        return RankReport(
            rank=rank,
            outcome=ended or Outcome.SUCCEEDED,
            provisional=ended is None,
            error=error if ended is not None else "",
            metrics=metrics,
            memory=memory,
            clock=_now(),
            environment=Environment(cpus=cpu_limit(), memory_limit_bytes=memory_limit()),
        )

    def _beside(self, one: _Running) -> dict[str, Scalar]:
        """What the result rests on, and which of its parameters nothing has read."""
        reports, found = one.reports, dict[str, Scalar]()
        if rests_on := self.inputs + reports.data:
            found[DATA] = _hash(rests_on)
        if reports.validation:
            found[VALIDATION] = _hash(reports.validation)
        if self.inputs:
            found["inputs"] = self.inputs[:_HASH_DIGITS]
        if self.code:
            found["code"] = self.code[:_HASH_DIGITS]
        if reports.read is not None and (unread := one.trial.parameters.keys() - reports.read - self._placed):
            found["unreadParameters"] = ", ".join(sorted(unread))
        return found

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


def content(folder: Path, inputs: tuple[str, ...], waits: Callable[[str], None]) -> str:
    """The hash of the files and folders that results rest on, their names and what they hold; empty without any.

    Raises:
        UserError: one is missing or can't be read.
    """
    found, began, told = hashlib.sha256(), time.monotonic(), False
    for i, name in enumerate(inputs):
        path = folder / name
        try:
            files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
            for file in files:
                found.update(f"{file.relative_to(path) if path.is_dir() else name}\0{file.stat().st_size}\0".encode())
                with file.open("rb") as opened:
                    while chunk := opened.read(2**20):
                        found.update(chunk)
                        if not told and time.monotonic() > began + QUIET_SECONDS:
                            told = True
                            waits("the content of spec.program.inputs to be read")
        except OSError as error:
            raise UserError(
                f"spec.program.inputs[{i}]: must be a file or folder that can be read, got {path}: {error.strerror}"
            ) from error
    return found.hexdigest() if inputs else ""


def imported(file: Path) -> list[str]:
    """The installed packages that a script imports first of all, as far as it can be read."""
    try:
        body = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError):
        return []
    names: dict[str, None] = {}
    for each in body:
        if isinstance(each, ast.Import):
            names |= dict.fromkeys(one.name.partition(".")[0] for one in each.names)
        elif isinstance(each, ast.ImportFrom) and not each.level and each.module:
            names[each.module.partition(".")[0]] = None
    installed = packages_distributions()
    found = [name for name in names if name in installed and name not in ("trainer", "trialrun")]
    return [each for name in found for each in (name, *_IMPORTED_LATER.get(name, ()))]


def _invocation(trial: Trial) -> Invocation:
    assert isinstance(trial.runs, Invocation), "a program's trials run nothing else"  # noqa: S101
    return trial.runs


def _of_rank(trial: Trial, rank: int) -> dict[str, str]:
    """What a rank is told beside the others, in the names of torchrun."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank)} if trial.workers > 1 else {}


def _found(command: str, folder: Path) -> bool:
    if "/" in command:
        return os.access(folder / command, os.X_OK)
    return command.startswith("python") or shutil.which(command) is not None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


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
