"""The runner's side of the fork server: asks it for ranks, hears how they end."""

import math
import os
import selectors
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit, exit_text, last_words
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import PACK, PACKED_WITH, RankReport, Unreadable, decode_report
from trainer.experiment.spec import Scalar
from trainer.local.child import OURS, Child
from trainer.local.launcher import QUIET_SECONDS, STOP, WAKE_SECONDS, PackEnded, RankEnded, Reported

REPORT, LOG = "report-{rank}.json", "log-{rank}.txt"
_TAIL_BYTES = 16_384  # C++ prints many lines after its reason
_PATIENCE_SECONDS = 30.0  # without a word of it, until a pack is ended that does not let go of a trial


@dataclass
class _Pack:
    """Trials that train in one process: `left` are those that it has not told of as ended."""

    name: str
    trials: tuple[str, ...]
    left: set[str]
    patient_until: float = math.inf
    killed: bool = False

    @property
    def beside(self) -> Mapping[str, Scalar]:
        """What records say of it."""
        return {PACKED_WITH: len(self.trials) - 1, PACK: self.name}


@dataclass
class Processes:
    """Children of a fork server, in which a rank starts in milliseconds. A context: leaving it ends them all.

    Where a trial has several ranks, at most `workers`, what they need to meet is loaded before they are forked.
    """

    cache: Path
    log: Path
    workers: int
    ready: tuple[Path, ...] = ()  # caches of data sets that are only read
    start_seconds: float = field(default=0.0, init=False)
    _folders: dict[str, Path] = field(default_factory=dict)
    _packs: dict[str, _Pack] = field(default_factory=dict)  # by their name and by each trial that trains in one
    _ready: bool = False
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def __enter__(self) -> "Processes":
        program, what = (*OURS, "trainer.local.fork_server"), "the process that starts trials"
        self._fork_server = Child(program, what, self.log, (str(self.workers),))
        self._fork_server.start()
        self._selector.register(self._fork_server.events, selectors.EVENT_READ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._selector.close()
        # It kills its children. While it loads PyTorch it has none, and a run that is refused need not wait for that.
        self._fork_server.end(at_once=not self._ready)

    def await_ready(self, waits: Callable[[str], None]) -> None:
        """Returns once the fork server has loaded everything: from then on a start takes milliseconds.

        Raises:
            LauncherEnded: it failed to.
        """
        if not (self._ready or self._selector.select(QUIET_SECONDS)):
            waits("PyTorch to be loaded")
        while not self._ready:
            for _ in self.events(WAKE_SECONDS):
                pass

    def start(self, trial: Trial, folder: Path, told: Sequence[int] = (), until: int | None = None) -> None:
        """Starts every rank of a trial, artefacts and log in `folder`. The epochs `told` are told at once."""
        self._folders[trial.id] = folder
        for order in orders(trial, folder, self.cache, self.ready, told, until):
            self._fork_server.ask(do="start", **order)

    def start_pack(self, members: Sequence[tuple[Trial, Path, Sequence[int]]]) -> None:
        """Starts trials that train together in one process: each with its folder, and the epochs that it tells."""
        ids = tuple(trial.id for trial, _, _ in members)
        pack = _Pack(f"{ids[0]}-{len(ids)}", ids, set(ids))
        self._packs |= dict.fromkeys((pack.name, *ids), pack)
        told = []
        for trial, folder, epochs in members:
            self._folders[trial.id] = folder
            (folder / STOP).unlink(missing_ok=True)
            told += orders(trial, folder, self.cache, self.ready, epochs)
        self._fork_server.ask(do="start", trial=pack.name, rank=0, pack=told)

    def stop(self, trial: Trial) -> None:
        """Ends a trial that is not to go on."""
        self.kill(trial)

    def kill(self, trial: Trial) -> None:
        """Ends what is left of a trial's ranks. One of a pack leaves it, and if it does not, the pack ends."""
        if (pack := self._packs.get(trial.id)) is None:
            self._fork_server.ask(do="kill", trial=trial.id)
            return
        (self._folders[trial.id] / STOP).touch()
        pack.patient_until = min(pack.patient_until, time.monotonic() + _PATIENCE_SECONDS)

    def events(self, timeout: float) -> Iterator[Reported | RankEnded | PackEnded]:
        """What happened, waiting at most `timeout` seconds for the first event; maybe nothing.

        Raises:
            LauncherEnded: nothing will ever happen again.
        """
        patience = min((pack.patient_until for pack in self._packs.values()), default=math.inf) - time.monotonic()
        ready = self._selector.select(max(0.0, min(patience, timeout)))
        for pack in {pack.name: pack for pack in self._packs.values()}.values():
            if time.monotonic() >= pack.patient_until:
                pack.patient_until, pack.killed = math.inf, True
                self._fork_server.ask(do="kill", trial=pack.name)
        if not ready:
            return
        for event in self._fork_server.heard():
            if event["event"] == "ready":
                self._ready = True
            elif event["event"] == "epoch":
                self._works(event["trial"])
                yield Reported(event["trial"], int(event["figures"]["epoch"]), event["figures"])
            elif event["event"] == "left":
                self._works(event["trial"])
                yield self._left(event["trial"], event["code"])
            elif event["event"] == "ended" and event["trial"] in self._packs:
                yield from self._ended(self._packs[event["trial"]], event["code"])
            elif event["event"] == "ended" and event["trial"] in self._folders:
                folder = self._folders[event["trial"]]
                yield RankEnded(event["trial"], rank_exit(folder, event["rank"], event["code"]))

    def _works(self, trial: str) -> None:
        """A pack that is to let go of a trial is at work, and will look."""
        pack = self._packs.get(trial)
        if pack is not None and math.isfinite(pack.patient_until):
            pack.patient_until = time.monotonic() + _PATIENCE_SECONDS

    def _left(self, trial: str, code: int) -> RankEnded:
        """A trial has left its pack, which goes on without it."""
        pack = self._packs.pop(trial)
        pack.left.discard(trial)
        (self._folders[trial] / STOP).unlink(missing_ok=True)
        stops = (self._folders[each] / STOP for each in pack.left)
        if not any(stop.exists() for stop in stops):
            pack.patient_until = math.inf
        return RankEnded(trial, replace(rank_exit(self._folders[trial], 0, code), beside=pack.beside))

    def _ended(self, pack: _Pack, code: int) -> Iterator[PackEnded]:
        """A pack's process is gone; those that it still held may have nothing to do with it."""
        del self._packs[pack.name]
        left = [trial for trial in pack.trials if trial in pack.left]
        for trial in left:
            del self._packs[trial]
            (self._folders[trial] / STOP).unlink(missing_ok=True)
            found = replace(rank_exit(self._folders[trial], 0, code), beside=pack.beside)
            how = "did not let go of one that was to end, and was killed" if pack.killed else found.error
            why = f"a pack of {len(pack.trials)} trials {how}"
            yield PackEnded(trial, found, why, first=trial is left[0])


def orders(
    trial: Trial,
    folder: Path,
    cache: Path,
    ready: Sequence[Path] = (),
    told: Sequence[int] = (),
    until: int | None = None,
) -> list[dict[str, Any]]:
    """What each rank of a trial is told, which works in `folder`. Removes the reports of an earlier attempt."""
    folder.mkdir(parents=True, exist_ok=True)
    rendezvous = folder / "rendezvous"
    rendezvous.unlink(missing_ok=True)
    for rank in range(trial.workers):
        (folder / REPORT.format(rank=rank)).unlink(missing_ok=True)
    return [
        {
            "trial": trial.id,
            "rank": rank,
            "ranks": trial.workers,
            "rendezvous": f"file://{rendezvous.absolute()}",
            "training": trial.training.document(sparse=True),
            "folder": str(folder),
            "cache": str(cache),
            "ready": [str(one) for one in ready],
            "told": [*told, *([] if until is None else [until])],
        }
        for rank in range(trial.workers)
    ]


def rank_exit(folder: Path, rank: int, code: int) -> RankExit:
    """How a rank ended that exited with `code`, by what it left in its folder."""
    report, unread = _left_report(folder, rank)
    said = report if report is not None and not report.provisional else None
    if code == 0 or (said is not None and said.outcome is not Outcome.SUCCEEDED):
        return RankExit(rank, code, report, unread=unread)
    words = " ".join(_log_words(folder, rank).split())
    error = exit_text(code, said) + (f"; its log ends: {words}" if words else "")
    return RankExit(rank, code, report, error=error, unread=unread)


def _left_report(folder: Path, rank: int) -> tuple[RankReport | None, str]:
    """What a rank that has ended reported, provisional or None where it died before, and why it can't be read."""
    try:
        return decode_report((folder / REPORT.format(rank=rank)).read_bytes()), ""
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"not readable: {error.strerror}"
    except Unreadable as error:
        return error.failure, str(error)


def _log_words(folder: Path, rank: int) -> str:
    """What a rank's log gives as the reason of its end; empty where it says nothing."""
    try:
        with (folder / LOG.format(rank=rank)).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return last_words(log.read().decode(errors="replace"))
    except OSError:
        return ""
