"""One program of the control plane as a process: started, waited for, stopped, and gone when the tests are gone."""

import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

READY_SECONDS = 180.0
# The kernel counts a *thread* as the parent whose death ends the child, so one thread that lives as long as
# this process starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="component-starter")
_given_ports: set[int] = set()


class ComponentFailed(Exception):
    """A program ended, or was not ready in time; the sentence ends with the last lines of its log."""


def free_port() -> int:
    """A free port of 127.0.0.1, below the range that outgoing connections draw theirs from."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe:
            if port not in _given_ports and probe.connect_ex(("127.0.0.1", port)) != 0:
                _given_ports.add(port)
                return port


@dataclass
class Component:
    """A program that listens on 127.0.0.1 and says at `health` (a URL) when it is ready."""

    name: str
    command: Sequence[str]
    health: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ComponentFailed(f"{self.name} was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the program and returns when it is ready."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Starts the program without waiting for it."""
        if self.is_running:
            raise ComponentFailed(f"{self.name} is already running as process {self.pid}")
        self._process = _starter.submit(self._spawn).result()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("die_with_parent.py"))]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*launcher, str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(self.log.parent), **self.environment},
                cwd=self.log.parent,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while (problem := _problem_at(self.health)) is not None:
            if self._process is None or self._process.poll() is not None:
                code = None if self._process is None else self._process.returncode
                raise ComponentFailed(f"{self.name} ended with exit code {code} before it was ready.{self._tail()}")
            if time.monotonic() > deadline:
                raise ComponentFailed(
                    f"{self.name} was not ready within {READY_SECONDS:g} s: {self.health} said {problem}."
                    f"{self._tail()}"
                )
            time.sleep(0.02)

    def stop(self, *, within_seconds: float = 10.0) -> None:
        """Asks the program to end, and kills it when it doesn't in time. Does nothing when it isn't running."""
        self._signal(signal.SIGTERM)
        try:
            if self._process is not None:
                self._process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self, *, wait: bool = True) -> None:
        """Ends the program at once, as a crash would."""
        self._signal(signal.SIGKILL)
        if wait and self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Freezes the program: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running:
            os.killpg(self.pid, number)

    def _tail(self, lines: int = 25) -> str:
        last = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        return "\n".join([f" The last lines of {self.log}:", *(f"  {line}" for line in last)])


def _insecure_opener() -> urllib.request.OpenerDirector:
    """Readiness is no secret, and the programs make some certificates themselves. Loopback needs no proxy."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


_opener = _insecure_opener()


def _problem_at(url: str) -> str | None:
    try:
        with _opener.open(url, timeout=5):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"{error.code} {error.reason}"
    except OSError as error:
        return str(error)
