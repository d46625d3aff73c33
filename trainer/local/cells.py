"""The runner's side of a scale test's cells: each rank a process from nothing, in a cgroup of its own.

Where none is allowed a watchdog reads the memory of each. What ended a rank is told by evidence
(docs/decisions/0009-memory.md).
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

from trainer.cgroup import CgroupFactory, Group, cgroup_factory, machine_memory
from trainer.cgroup import memory_limit as memory_bound
from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import MemoryLimit, RankReport
from trainer.experiment.spec import Cell, Scalar
from trainer.local.child import OURS, last_line
from trainer.local.launcher import QUIET_SECONDS, WAKE_SECONDS, Begun, LauncherEnded, RankEnded, Reported
from trainer.local.lines import Lines
from trainer.local.processes import LOG, orders, rank_exit
from trainer.report.wording import memory
from trainer.scheduling.limits import memory_limit

_WATCH_SECONDS = 0.02
_MOST_FLOOR_SECONDS = 120.0


@dataclass
class _Rank:
    """A rank's process. `folder` is its trial's."""

    trial: str
    rank: int
    folder: Path
    process: subprocess.Popen[bytes]
    events: int
    group: Group | None
    limit: MemoryLimit | None = None
    ready: bool = False
    seen: int = 0  # the resident memory for which the watchdog killed it
    lines: Lines = field(default_factory=Lines)


@dataclass
class _Waiting:
    """A trial whose ranks still load what they need, and the orders that they then get."""

    trial: Trial
    orders: list[dict[str, Any]]


@dataclass
class Cells:
    """Processes of cells, started as trials are. A context: leaving it ends them all and removes their cgroups."""

    cell: Cell
    trials: Sequence[Trial]
    cache: Path
    log: Path
    start_seconds: float = field(default=120.0, init=False)
    _ranks: dict[int, _Rank] = field(default_factory=dict)
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _limits: dict[bool, MemoryLimit | None] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _cgroups: CgroupFactory | None = None

    def __enter__(self) -> "Cells":
        self._cgroups = cgroup_factory()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for one in list(self._ranks.values()):
            one.process.kill()
            self._gone(one)
        self._selector.close()

    def await_ready(self, waits: Callable[[str], None]) -> None:
        """Measures the floor of every worker count that is to run, and sets the limits by it.

        Raises:
            UserError: the file's limit is below a floor.
            LauncherEnded: what loads torch did not come up.
        """
        for several in sorted({trial.workers > 1 for trial in self.trials}):
            floor = self._floor(2 if several else 1, waits)
            size = memory_limit(self.cell, floor)
            keeper: Literal["Cgroup", "Watchdog"] = "Watchdog" if self._cgroups is None else "Cgroup"
            self._limits[several] = None if size is None else MemoryLimit(bytes=size, kept_by=keeper)

    def start(self, trial: Trial, folder: Path, told: Sequence[int] = (), until: int | None = None) -> None:
        """Starts every rank of a trial; a `Begun` event follows when all have loaded what they need."""
        prepared = orders(trial, folder, self.cache, told=told, until=until)
        limit = self._limits[trial.workers > 1]
        self._waiting[trial.id] = _Waiting(trial, prepared)
        for order in prepared:
            order["limit"] = None if limit is None else limit.document()
            with (folder / LOG.format(rank=order["rank"])).open("wb") as log:
                one = self._spawn(trial.id, order["rank"], trial.workers, folder, log)
            one.limit = limit

    def stop(self, trial: Trial) -> None:
        """Ends a trial that is not to go on."""
        self.kill(trial)

    def kill(self, trial: Trial) -> None:
        """Ends what is left of a trial's ranks."""
        for one in self._ranks.values():
            if one.trial == trial.id:
                one.process.kill()

    def events(self, timeout: float) -> Iterator[Reported | Begun | RankEnded]:
        """What happened, waiting at most `timeout` seconds for the first event; maybe nothing."""
        watched = [one for one in self._ranks.values() if _is_watched(one)]
        if watched:
            timeout = min(timeout, _WATCH_SECONDS)
        for key, _ in self._selector.select(timeout):
            one = self._ranks[key.fd]
            if received := os.read(one.events, 65536):
                yield from self._heard(one, one.lines.take(received))
            else:
                yield RankEnded(one.trial, self._gone(one))
        for one in watched:
            _watch(one)

    def _heard(self, one: _Rank, events: Sequence[dict[str, Any]]) -> Iterator[Reported | Begun]:
        for event in events:
            if event["event"] == "epoch":
                yield Reported(event["trial"], int(event["figures"]["epoch"]), event["figures"])
            elif event["event"] == "ready":
                one.ready = True
                peers = [rank for rank in self._ranks.values() if rank.trial == one.trial]
                waiting = self._waiting[one.trial]
                if len(peers) == waiting.trial.workers and all(peer.ready for peer in peers):
                    self._begin(peers, waiting)
                    yield Begun(one.trial)

    def _begin(self, ranks: Sequence[_Rank], waiting: _Waiting) -> None:
        """Sets the limits and gives the orders."""
        for one in ranks:
            if one.group is not None and one.limit is not None:
                one.group.limit(one.limit.bytes)
            _give(one, waiting.orders[one.rank])

    def _spawn(self, trial: str, rank: int, ranks: int, folder: Path, log: BinaryIO) -> _Rank:
        group = self._cgroups.make() if self._cgroups is not None else None
        ours, theirs = os.pipe()
        arguments = [str(theirs), "" if group is None else str(group.folder), str(ranks)]
        process = subprocess.Popen(
            [sys.executable, *OURS, "trainer.local.cell_worker", *arguments],
            pass_fds=(theirs,),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Ctrl-C is for the runner, which ends its children in order.
            start_new_session=True,
        )
        os.close(theirs)
        one = _Rank(trial, rank, folder, process, ours, group)
        self._ranks[ours] = one
        self._selector.register(ours, selectors.EVENT_READ)
        return one

    def _floor(self, ranks: int, waits: Callable[[str], None]) -> int:
        """What a process has that has loaded everything that one of `ranks` needs, as a limit counts it."""
        with self.log.open("ab") as log:
            begins = log.tell()
            one = self._spawn("", 0, ranks, self.log.parent, log)
        said = b""
        if not self._selector.select(QUIET_SECONDS):
            waits("a worker to load PyTorch, whose memory then is measured")
        until = time.monotonic() + _MOST_FLOOR_SECONDS
        while not said.endswith(b"\n") and time.monotonic() < until:
            if not self._selector.select(WAKE_SECONDS):
                continue
            received = os.read(one.events, 65536)
            if not received:
                break
            said += received
        one.process.kill()
        self._gone(one)
        if not said.endswith(b"\n"):
            words = last_line(self.log, begins)
            raise LauncherEnded(f"a process that loads torch did not come up: {words or 'no word'}")
        floor: int = json.loads(said)["floor"]
        return floor

    def _gone(self, one: _Rank) -> RankExit:
        """Forgets a rank whose process ends, and says how it ended."""
        self._selector.unregister(one.events)
        os.close(one.events)
        del self._ranks[one.events]
        code = one.process.wait()
        if one.process.stdin is not None:
            one.process.stdin.close()
        end = _exit(one, code)
        if one.group is not None:
            one.group.remove()
        return end


def _give(one: _Rank, order: dict[str, Any]) -> None:
    assert one.process.stdin is not None  # noqa: S101 - it was asked for
    try:
        one.process.stdin.write(json.dumps(order).encode() + b"\n")
        one.process.stdin.flush()
    except BrokenPipeError:
        return  # it is gone, and the end of its events will say so


def _is_watched(one: _Rank) -> bool:
    return one.limit is not None and one.limit.kept_by == "Watchdog" and one.ready


def _watch(one: _Rank) -> None:
    """Kills a rank that has more resident memory than its limit."""
    assert one.limit is not None  # noqa: S101 - it would not be watched
    resident = resident_bytes_of(one.process.pid)
    if resident > one.limit.bytes and not one.seen:
        one.seen = resident
        one.process.kill()


def resident_bytes_of(pid: int) -> int:
    """The resident memory of another process; 0 when it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        if Path("/proc/self").exists():
            return 0
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return int(told.stdout.strip() or 0) * 1024


def _exit(one: _Rank, code: int) -> RankExit:
    """How a rank ended that exited with `code`, with what the kernel and the watchdog know of it."""
    left = rank_exit(one.folder, one.rank, code)
    report = left.report
    evidence: dict[str, Scalar] = {"signal": -code} if code < 0 else {"exitCode": code}
    if one.limit is not None:
        evidence |= {"limitBytes": one.limit.bytes, "limitKeptBy": one.limit.kept_by}
    kills = 0
    if one.group is not None:
        kills, (_, peak) = one.group.kills(), one.group.charged()
        evidence |= {"oomKills": kills, "cgroupPeakBytes": peak}
        report = _with_peak(report, peak)
    if code == -signal.SIGKILL and kills:
        bound, words = _bound(one.limit)
        error = f"killed by the kernel for want of memory; {words}"
        return RankExit(one.rank, code, report, Outcome.HOST_OOM, error, evidence | bound)
    if code == -signal.SIGKILL and one.seen and one.limit is not None:
        evidence["residentBytes"] = one.seen
        error = f"killed by the watchdog: {memory(one.seen)} were resident, its limit is {memory(one.limit.bytes)}"
        return RankExit(one.rank, code, report, Outcome.HOST_OOM, error, evidence)
    if left.said is not None and left.said.outcome is Outcome.HOST_OOM:
        bound, words = _bound(one.limit)
        return replace(left, report=report, error=f"{left.said.error}; {words}", evidence=evidence | bound)
    return replace(left, report=report, evidence=evidence)


def _bound(limit: MemoryLimit | None) -> tuple[dict[str, Scalar], str]:
    """What bounds the memory of a rank, as evidence and in words. Without a limit of its own it is the runner's."""
    if limit is not None:
        return {}, f"its limit is {memory(limit.bytes)}"
    if (around := memory_bound()) is not None:
        return {"boundBytes": around, "boundBy": "Cgroup"}, (
            f"the file sets no limit, and the cgroup that this runner is in may use {memory(around)}"
        )
    machine = machine_memory()
    return {"boundBytes": machine, "boundBy": "Machine"}, (
        f"the file sets no limit, and this machine has {memory(machine)}"
    )


def _with_peak(report: RankReport | None, peak: int) -> RankReport | None:
    """The report with the kernel's own peak of the cgroup, which a killed rank could not read any more."""
    if report is None or report.memory is None or (charged := report.memory.cgroup) is None:
        return report
    charged = charged.model_copy(update={"peak_bytes": max(peak, charged.peak_bytes)})
    return report.model_copy(update={"memory": report.memory.model_copy(update={"cgroup": charged})})
