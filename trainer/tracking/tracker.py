"""The runner's side of telling MLflow: starts the process that does it, says what begins, waits for it at the end."""

import json
import select
import selectors
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainer.experiment.expand import Trial
from trainer.experiment.spec import Experiment
from trainer.local.child import OURS, Child
from trainer.local.launcher import LauncherEnded
from trainer.tracking.address import Address, from_environment

LOG = "tracking.log"
_CHECK_SECONDS = 2.0
_WAIT_SECONDS = 60.0
_SILENT_SECONDS = 10.0  # in which nothing gets through: the end is not waited for any longer
_FAILURES = 3  # in a row
_INTERRUPTED_SECONDS = 3.0
_SAY_SECONDS = 2.0


@contextmanager
def tracking(experiment: Experiment, folder: Path) -> Iterator["Tracker | None"]:
    """What tells MLflow of a run in `folder`; None where the environment names no server."""
    try:
        address = from_environment()
    except ValueError as error:
        print(f"warning: {error}; trials run, and MLflow is told nothing", file=sys.stderr)
        address = None
    if address is None:
        yield None
        return
    tracker = Tracker(address, experiment, folder)
    try:
        yield tracker
    finally:
        tracker.end()


class Tracker:
    """Has MLflow told of a run, and never waits for that while trials run."""

    def __init__(self, address: Address, experiment: Experiment, folder: Path) -> None:
        self._address = address
        self._name = experiment.name
        self._folder = folder
        self._start()
        self._began = time.monotonic()
        self._ask(do="check", name=self._name)

    def _start(self) -> None:
        what, log = "the process that tells MLflow", self._folder / LOG
        self._child = Child((*OURS, "trainer.tracking"), what, log, patience=1.0, waits=False)
        self._child.start()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._child.events, selectors.EVENT_READ)
        self._heard: deque[dict[str, Any]] = deque()

    def end(self) -> None:
        """Ends the process; nothing is lost by that."""
        self._selector.close()
        self._child.end()

    def follow(self) -> None:
        """Has the folder followed, which is the run's by now, and says where that is seen or why it is not yet."""
        self._follow()
        try:
            checked = self._hear(self._began + _CHECK_SECONDS)
        except LauncherEnded as error:
            checked = {"why": str(error)}
        if checked is not None and not checked["why"]:
            self._say(f"MLflow: {checked['page']}")
            return
        why = checked["why"] if checked is not None else f"it gave no answer within {_CHECK_SECONDS:.0f} s"
        self._say(f"warning: MLflow at {self._address.url}: {why}; trials run, and are told to it once it takes them")

    def begun(self, trial: Trial, attempt: int, started: int) -> None:
        """An attempt at a trial has begun, at `started` (milliseconds since 1970)."""
        told = {name: getattr(trial, name) for name in ("id", "index", "parameters", "repeat", "workers", "seed")}
        self._ask(do="begun", **told, attempt=attempt, started=started)

    def finish(self, *, interrupted: bool = False) -> None:
        """Waits for the rest to be told, a while at most, and says in a line what was told or what was not."""
        self._ask(do="finish")
        began = moved = time.monotonic()
        until = began + (_INTERRUPTED_SECONDS if interrupted else _WAIT_SECONDS)
        last, failures, said, again = dict[str, Any](), 0, False, False
        try:
            while failures < _FAILURES and (now := time.monotonic()) < min(until, moved + _SILENT_SECONDS):
                try:
                    event = self._hear(min(until, moved + _SILENT_SECONDS, now + _SAY_SECONDS))
                except LauncherEnded as error:
                    if again:
                        last = {"why": str(error)}
                        break
                    again = True
                    self.end()
                    self._start()
                    self._follow()
                    self._ask(do="finish")
                    continue
                if event is None:
                    if not said:
                        self._say("telling MLflow the rest; Ctrl-C leaves that …")
                    said = True
                elif event["event"] != "checked":
                    last |= event
                    failures = failures + 1 if event["event"] == "failed" else 0
                    moved = moved if failures else time.monotonic()
                    if event["event"] == "finished":
                        break
        except KeyboardInterrupt:
            last["why"] = "it was not waited for"
        self._conclude(last)

    def _conclude(self, last: dict[str, Any]) -> None:
        left, total = last.get("left", 0), last.get("total", 0)
        trials = "1 trial" if total == 1 else f"{total} trials"
        if last.get("event") == "finished" and not left:
            if total:
                self._say(f"MLflow has {'all ' if total > 1 else ''}{trials}: {last['page']}")
            return
        what = f"{left} of {trials} could not be told" if total else "trials could not be told"
        why = last.get("why") or "it gave no answer in time"
        self._say(f"warning: MLflow at {self._address.url}: {what}: {why}; the same command again tells the rest")

    def _follow(self) -> None:
        self._ask(do="follow", folder=str(self._folder.absolute()), name=self._name)

    def _ask(self, **request: Any) -> None:
        """Asks it, if that takes no time: what is not asked for is told at the end."""
        if len(json.dumps(request)) < select.PIPE_BUF:  # is written whole or not at all
            with suppress(BlockingIOError, LauncherEnded):
                self._child.ask(**request)

    def _hear(self, until: float) -> dict[str, Any] | None:
        """What the process says next, None where it says nothing until then.

        Raises:
            LauncherEnded: it is gone.
        """
        while not self._heard:
            if not self._selector.select(max(0.0, until - time.monotonic())):
                return None
            self._heard += self._child.heard()
        return self._heard.popleft()

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr)  # which a display of the run's progress may have replaced
