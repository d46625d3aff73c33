"""The runner's side of the warm process: starts it, asks it for ranks, hears how they end."""

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from trainer.experiment.expand import Trial
from trainer.experiment.judge import Ending
from trainer.experiment.record import RankReport, decode_report

REPORT = "report-{rank}.json"


class WarmProcessEnded(Exception):
    """The process that starts trials is gone; its text is what it last said."""


@dataclass(frozen=True)
class Epoch:
    """A trial has finished an epoch."""

    trial: str
    figures: dict[str, float]


@dataclass(frozen=True)
class Begun:
    """All ranks of a trial have loaded what they need, and train from now on."""

    trial: str


@dataclass(frozen=True)
class RankEnded:
    """A rank has ended.

    A rank that has reported tells so itself, and may be told of again when its process is gone.
    """

    trial: str
    ending: Ending


@dataclass
class Processes:
    """Children of a warm process, in which a rank starts in milliseconds. A context: leaving it ends them all."""

    cache: Path
    log: Path
    ready: tuple[Path, ...] = ()  # caches of data sets that are only read
    _folders: dict[str, Path] = field(default_factory=dict)
    _pending: bytes = b""
    _ready: bool = False
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def __enter__(self) -> "Processes":
        theirs_in, self._requests = os.pipe()
        self._events, theirs_out = os.pipe()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trainer.local.warm", str(theirs_in), str(theirs_out)],
                pass_fds=(theirs_in, theirs_out),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the runner, which ends its children in order.
                start_new_session=True,
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self._selector.register(self._events, selectors.EVENT_READ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._requests)  # it kills its children and ends
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        os.close(self._events)

    def await_ready(self) -> None:
        """Returns once the warm process has loaded everything: from then on a start takes milliseconds.

        Raises:
            WarmProcessEnded: it failed to.
        """
        while not self._ready:
            for _ in self.events(timeout=None):
                pass

    def start(self, trial: Trial, folder: Path) -> None:
        """Starts every rank of a trial, artefacts and log in `folder`."""
        self._folders[trial.id] = folder
        for order in orders(trial, folder, self.cache, self.ready):
            self._ask(do="start", **order)

    def kill(self, trial: Trial) -> None:
        """Ends what is left of a trial's ranks."""
        self._ask(do="kill", trial=trial.id)

    def events(self, timeout: float | None) -> Iterator[Epoch | RankEnded]:
        """What happened, waiting at most `timeout` seconds for the first event; maybe nothing.

        Raises:
            WarmProcessEnded: nothing will ever happen again.
        """
        if not self._selector.select(timeout):
            return
        received = os.read(self._events, 65536)
        if not received:
            raise WarmProcessEnded(self._last_words())
        *lines, self._pending = (self._pending + received).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if event["event"] == "ready":
                self._ready = True
            elif event["event"] == "epoch":
                yield Epoch(event["trial"], event["figures"])
            elif event["event"] == "ended":
                rank = event["rank"]
                yield RankEnded(
                    event["trial"], Ending(rank, event["code"], left_report(self._folders[event["trial"]], rank))
                )

    def _ask(self, **request: Any) -> None:
        try:
            os.write(self._requests, json.dumps(request).encode() + b"\n")
        except BrokenPipeError as error:
            raise WarmProcessEnded(self._last_words()) from error

    def _last_words(self) -> str:
        code = self._process.wait()
        lines = self.log.read_text(errors="replace").strip().splitlines()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"the process that starts trials ended {how}: {lines[-1] if lines else 'it said nothing'}"


def orders(trial: Trial, folder: Path, cache: Path, ready: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """What each rank of a trial is told, which works in `folder`. Removes the reports of an earlier attempt."""
    folder.mkdir(parents=True, exist_ok=True)
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)
    for rank in range(trial.workers):
        (folder / REPORT.format(rank=rank)).unlink(missing_ok=True)
    return [
        {
            "trial": trial.id,
            "rank": rank,
            "ranks": trial.workers,
            "meeting": f"file://{meeting.absolute()}",
            "training": trial.training.document(sparse=True),
            "folder": str(folder),
            "cache": str(cache),
            "ready": [str(one) for one in ready],
        }
        for rank in range(trial.workers)
    ]


def left_report(folder: Path, rank: int) -> RankReport | None:
    """What a rank that has ended reported; a provisional one or None where it died before it could."""
    try:
        return decode_report((folder / REPORT.format(rank=rank)).read_bytes())
    except (OSError, ValueError):
        return None
