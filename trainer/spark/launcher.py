"""The runner's side of Spark: asks the driver for a job per trial, and gives the ranks that call it their orders.

Whatever a rank has to say comes over its own connection, so nothing depends on a folder that machines share, on what
Spark does with a task's output, or on torchrun's exit code, which TorchDistributor drops.
"""

import contextlib
import importlib.util
import json
import secrets
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import decode_report
from trainer.local.child import OURS, Child
from trainer.local.launcher import QUIET_SECONDS, WAKE_SECONDS, Begun, RankEnded, Reported, Waits
from trainer.local.lines import Lines
from trainer.local.processes import orders

_MOST_HELLO_BYTES = 4096
# A machine that is gone doesn't say so: after 20 s of silence it is asked every 5 s, and given up after three times.
_KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
# What Spark's own words stand for.
_SIGNS = {"SPARK-24819": Outcome.UNSCHEDULABLE, "ExecutorLostFailure": Outcome.NODE_LOST}


@dataclass
class _Call:
    """The connection of somebody who called: a rank, once it has said which."""

    connection: socket.socket
    lines: Lines = field(default_factory=Lines)
    rank: int = -1
    job: "_Job | None" = None


@dataclass
class _Job:
    """A trial that Spark runs, or is asked to. It is over when every rank has `ended`."""

    trial: Trial
    orders: list[dict[str, Any]]
    asked: float = field(default_factory=time.monotonic)
    calls: dict[int, _Call] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    error: str | None = None  # what Spark said when its job ended, empty for nothing
    slots: int | None = None  # how many Spark had when it could not start all ranks
    killed: bool = False


@dataclass
class Spark:
    """Trials as jobs of Spark, at most `slots` ranks at once. A context: leaving it ends them and the JVM."""

    cache: Path
    log: Path
    slots: int
    start_seconds: float = field(default=600.0, init=False)  # as in a pod: executors may first have to come
    _key: str = field(default_factory=lambda: secrets.token_hex(16))
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _listener: socket.socket | None = None
    _host: str = ""
    _asks: str = "Spark's JVM to start"  # what a session waits for
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def __enter__(self) -> "Spark":
        if importlib.util.find_spec("pyspark") is None:
            raise UserError("--launcher spark: needs pyspark, which is not installed here; `pip install pyspark`")
        what = "Spark's driver"
        self._driver = Child((*OURS, "trainer.spark.driver"), what, self.log, (str(self.slots),), patience=30.0)
        self._driver.start()
        self._selector.register(self._driver.events, selectors.EVENT_READ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Call):
                self._hang_up(key.data)  # its rank ends
        if self._listener is not None:
            self._listener.close()
        self._selector.close()
        self._driver.end()

    def await_ready(self, waits: Callable[[str], None]) -> None:
        """Returns once Spark has a session.

        Raises:
            UserError: there is no Java, or no such master.
            LauncherEnded: the driver did not come up.
        """
        until = time.monotonic() + QUIET_SECONDS
        told: str | None = None
        while self._listener is None:
            for _ in self.events(WAKE_SECONDS):
                pass
            if self._listener is None and told != self._asks and time.monotonic() >= until:
                told = self._asks
                waits(told)

    def start(self, trial: Trial, folder: Path, told: Sequence[int] = (), until: int | None = None) -> None:
        """Has Spark start every rank of a trial, artefacts and log in `folder` as their machines know it."""
        assert self._listener is not None  # noqa: S101 - await_ready has returned
        here = {"rendezvous": "env://", "cwd": str(Path.cwd())}
        prepared = orders(trial, folder.absolute(), self.cache, told=told, until=until)
        self._jobs[trial.id] = _Job(trial, [one | here for one in prepared])
        whom = {"host": self._host, "port": self._listener.getsockname()[1], "key": self._key}
        gpu = trial.training.train.device != "CPU"
        self._driver.ask(do="start", trial=trial.id, ranks=trial.workers, gpu=gpu, told=whom)

    def stop(self, trial: Trial) -> None:
        """Ends a trial that is not to go on."""
        self.kill(trial)

    def kill(self, trial: Trial) -> None:
        """Ends what is left of a trial's ranks, and the job of those that have not come yet."""
        job = self._jobs[trial.id]
        job.killed = True
        for call in job.calls.values():
            with contextlib.suppress(OSError):
                call.connection.shutdown(socket.SHUT_WR)  # it kills its child, and says how that ended
        self._driver.ask(do="cancel", trial=trial.id)

    def events(self, timeout: float) -> Iterator[Reported | Begun | Waits | RankEnded]:
        """What happened, waiting at most `timeout` seconds for the first event; maybe nothing.

        Raises:
            UserError: Spark can't be had.
            LauncherEnded: nothing will ever happen again.
        """
        for key, _ in self._selector.select(timeout):
            if isinstance(key.data, _Call):
                yield from self._heard(key.data)
            elif key.fileobj is self._listener:
                self._take_call(self._listener)
            else:
                yield from self._heard_driver()

    def _heard_driver(self) -> Iterator[Waits | RankEnded]:
        for event in self._driver.heard():
            if event["event"] == "refused":
                raise UserError(f"--launcher spark: {event['error']}")
            if event["event"] == "asks":
                self._asks = f"a session of Spark's from its master, {event['master']}"
            elif event["event"] == "waits":
                job = self._jobs[event["trial"]]
                job.slots = event["slots"]
                yield Waits(job.trial.id, _slots_words(job))
            elif event["event"] == "ready":
                self._host = event["host"]
                self._listener = socket.create_server((event["bind"], 0))
                self._listener.setblocking(False)
                self._selector.register(self._listener, selectors.EVENT_READ)
            else:
                job = self._jobs[event["trial"]]
                job.error = event["error"]
                yield from self._lost(job)

    def _take_call(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # the caller has gone again
            return
        connection.setblocking(True)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):  # macOS has one under another name
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._selector.register(connection, selectors.EVENT_READ, _Call(connection))

    def _heard(self, call: _Call) -> Iterator[Reported | Begun | RankEnded]:
        try:
            received = call.connection.recv(65536)
            events = call.lines.take(received)
        except (OSError, ValueError):
            received, events = b"", []
        if not received or (call.job is None and len(call.lines.pending) > _MOST_HELLO_BYTES):
            self._hang_up(call)
            if call.job is not None:
                del call.job.calls[call.rank]
                yield from self._lost(call.job)
            return
        for event in events:
            if call.job is None:
                if (job := self._expected(call, event)) is None:
                    self._hang_up(call)
                    return
                yield from self._give_orders(job)
            elif event["event"] == "epoch":
                yield Reported(event["trial"], int(event["figures"]["epoch"]), event["figures"])
            else:
                call.job.ended.add(call.rank)
                report = None if event["report"] is None else decode_report(event["report"])
                said = {"error": event["error"], "unread": event["unread"]}
                yield RankEnded(event["trial"], RankExit(call.rank, event["code"], report, **said))

    def _expected(self, call: _Call, event: Any) -> _Job | None:
        """The job of a rank that says who it is and is waited for; None for a stranger and who comes too late."""
        match event:
            case {"event": "ready", "trial": str(trial), "rank": int(rank), "key": str(key)} if (
                secrets.compare_digest(key.encode(), self._key.encode())
                and (job := self._jobs.get(trial)) is not None
                and not job.killed
                and rank in set(range(job.trial.workers)) - job.ended - set(job.calls)
            ):
                call.job, call.rank = job, rank
                job.calls[rank] = call
                return job
        return None

    def _give_orders(self, job: _Job) -> Iterator[Begun]:
        """To all ranks of a trial, once the last of them has come."""
        if len(job.calls) < job.trial.workers:
            return
        waited = time.monotonic() - job.asked
        for rank, call in job.calls.items():
            order = job.orders[rank] | {"waited": waited}
            with contextlib.suppress(OSError):  # it is gone, and the end of its connection will say so
                call.connection.sendall(json.dumps(order).encode() + b"\n")
        yield Begun(job.trial.id)

    def _lost(self, job: _Job) -> Iterator[RankEnded]:
        """The exits of ranks that will never tell of one: Spark's job is over and they are not on the line."""
        if job.error is None:
            return
        for rank in sorted(set(range(job.trial.workers)) - job.ended - set(job.calls)):
            job.ended.add(rank)
            yield RankEnded(job.trial.id, self._exit(job, rank))

    def _exit(self, job: _Job, rank: int) -> RankExit:
        if job.killed:
            return RankExit(rank)
        if not job.error:
            words = f"its process on the executor ended without a word; see {self.log}"
            return RankExit(rank, platform=Outcome.CRASHED, error=words)
        outcome = next((outcome for sign, outcome in _SIGNS.items() if sign in job.error), Outcome.CRASHED)
        words = f"Spark: {job.error}"
        if outcome is Outcome.UNSCHEDULABLE and job.slots is not None:
            words = f"waited for {_slots_words(job)}. {words}"
        return RankExit(rank, platform=outcome, error=words)

    def _hang_up(self, call: _Call) -> None:
        self._selector.unregister(call.connection)
        call.connection.close()


def _slots_words(job: _Job) -> str:
    """What a job waits for: Spark starts the ranks of a trial together, or none."""
    wanted = job.trial.workers
    return (
        f"{wanted} free {'slot' if wanted == 1 else 'slots'} of Spark's at once, one for each rank; all its "
        f"executors together have {job.slots}: give it more executors or cores, or wait until others have ended"
    )
