"""A process of the runner's: takes requests on one pipe and tells of events on another, until the requests end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.experiment.record import cut_error
from trainer.local.launcher import LauncherEnded
from trainer.local.lines import Lines

# How Python starts a module of ours: not from the current folder, where a user may have a trainer.py or a torch.py.
OURS = ("-P", "-m")


@dataclass
class Child:
    """Runs Python with the words of `program`, the ends of its two pipes and `arguments`.

    Told to end, it has `patience` seconds to do so. `what` it is stands in the error that tells of its end. Who asks
    it `waits` for it to take the request, as a rule.
    """

    program: tuple[str, ...]
    what: str
    log: Path
    arguments: tuple[str, ...] = ()
    patience: float = 10.0
    environment: Mapping[str, str] | None = None  # its variables; this process's by default
    waits: bool = True
    events: int = -1
    _lines: Lines = field(default_factory=Lines)

    def start(self) -> None:
        """Starts it; `events` is then the pipe to wait at."""
        theirs_in, self._requests = os.pipe()
        self.events, theirs_out = os.pipe()
        with self.log.open("ab") as log:  # what earlier ones said stays: this run may yet be refused
            self._begins = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, *self.program, str(theirs_in), str(theirs_out), *self.arguments],
                pass_fds=(theirs_in, theirs_out),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the runner, which ends its children in order.
                start_new_session=True,
            )
        os.close(theirs_in)
        os.close(theirs_out)
        os.set_blocking(self._requests, self.waits)

    def end(self, *, at_once: bool = False) -> None:
        """Ends the requests and returns when it is gone, with all it started; `at_once` where that is nothing."""
        os.close(self._requests)
        try:
            self._process.wait(0 if at_once else self.patience)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self.events)

    def ask(self, **request: Any) -> None:
        """Gives it something to do.

        Raises:
            LauncherEnded: it is gone.
            BlockingIOError: it can't take the request now, and is not waited for.
        """
        try:
            os.write(self._requests, json.dumps(request).encode() + b"\n")
        except BrokenPipeError as error:
            raise LauncherEnded(self._last_words()) from error

    def heard(self) -> list[dict[str, Any]]:
        """What it tells next, maybe nothing whole yet; waits for it.

        Raises:
            LauncherEnded: it is gone.
        """
        received = os.read(self.events, 65536)
        if not received:
            raise LauncherEnded(self._last_words())
        return self._lines.take(received)

    def _last_words(self) -> str:
        code = self._process.wait()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"{self.what} ended {how}: {last_line(self.log, self._begins) or 'it said nothing'}"


def last_line(log: Path, begins: int) -> str:
    """The last line of a log, from a place in it on; cut, and empty where there is none."""
    with log.open("rb") as file:
        file.seek(begins)
        lines = file.read().decode(errors="replace").strip().splitlines()
    return cut_error(lines[-1]) if lines else ""
