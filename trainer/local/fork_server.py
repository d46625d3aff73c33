"""The fork server: it has torch loaded and forks a child for every rank, which then starts in milliseconds.

It only imports. A process that has computed with several threads must not be forked: the child would wait for
threads that it doesn't have. Requests come as JSON lines on one pipe, events go out on another. When the requests
end, however the runner died, it kills its children; when it dies itself, they notice at the end of a pipe.
"""

import contextlib
import gc
import json
import os
import selectors
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from trainer.local.lines import Lines, tell
from trainer.local.pack_worker import carry_out_pack
from trainer.local.rank import carry_out, end_with
from trainer.training.distributed import load


@dataclass
class _Spare:
    """A child that is forked and waits for its order: a fork takes as long as several training steps."""

    pid: int
    orders: int

    def order(self, request: dict[str, Any]) -> None:
        """Has it run the rank that `request` describes."""
        with os.fdopen(self.orders, "wb") as pipe:
            pipe.write(json.dumps(request).encode())


class _Parent:
    """Forks children and hears of their ends."""

    def __init__(self, requests: int, events: int) -> None:
        self._events = events
        life_end, life = os.pipe()
        self.wake_end, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._life_end = life_end
        self._not_for_children = (requests, life, self.wake_end, wake)
        self._children: dict[int, tuple[str, int]] = {}
        self._spare = self._fork()

    def start(self, request: dict[str, Any]) -> None:
        """Gives an order to the waiting child, and forks the one that waits for the next."""
        request["begun"] = time.time()
        try:
            self._spare.order(request)
        except BrokenPipeError:  # somebody killed it while it waited
            os.waitpid(self._spare.pid, 0)
            self._spare = self._fork()
            self._spare.order(request)
        self._children[self._spare.pid] = (request["trial"], request["rank"])
        self._spare = self._fork()

    def kill(self, trial: str) -> None:
        """Kills what runs of a trial."""
        for pid, (theirs, _) in self._children.items():
            if theirs == trial:
                os.kill(pid, signal.SIGKILL)

    def reap(self) -> None:
        """Tells of the children that have ended."""
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                trial, rank = self._children.pop(pid)
                tell(self._events, event="ended", trial=trial, rank=rank, code=os.waitstatus_to_exitcode(status))

    def end(self) -> None:
        """Kills all children and waits until they are gone."""
        for pid in (*self._children, self._spare.pid):
            os.kill(pid, signal.SIGKILL)
        for pid in (*self._children, self._spare.pid):
            os.waitpid(pid, 0)

    def _fork(self) -> _Spare:
        order_end, orders = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (*self._not_for_children, orders):
                os.close(descriptor)
            _child(order_end, self._events, self._life_end)
        os.close(order_end)
        return _Spare(pid, orders)


def main(requests: int, events: int, ranks: int) -> None:
    """Serves requests from one file descriptor and writes events to another until the requests end.

    Trials have at most so many ranks.
    """
    load(ranks)
    gc.collect()
    gc.freeze()  # the children share these pages; a collection would copy them all
    os.set_blocking(requests, False)
    parent = _Parent(requests, events)
    tell(events, event="ready")
    for request in _requests(requests, parent):
        if request["do"] == "start":
            parent.start(request)
        else:
            parent.kill(request["trial"])
    parent.end()
    os._exit(0)  # PyTorch takes half a second to tear itself down


def _requests(requests: int, parent: _Parent) -> Iterator[dict[str, Any]]:
    lines = Lines()
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(parent.wake_end, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if parent.wake_end in ready:
                os.read(parent.wake_end, 4096)
                parent.reap()
            if requests in ready:
                received = os.read(requests, 65536)
                if not received:
                    return
                yield from lines.take(received)


def _child(order_end: int, events: int, life_end: int) -> NoReturn:
    """Waits for its order, runs one rank of one trial or a pack of trials, and ends; never returns."""
    code = 1
    try:
        with os.fdopen(order_end, "rb") as pipe:
            order = pipe.read()
        if not order:  # the parent is gone
            os._exit(1)
        request = json.loads(order)
        threading.Thread(target=end_with, args=(life_end,), daemon=True).start()
        if "pack" in request:
            code = carry_out_pack(request["pack"], events, started=request["begun"])
        else:
            code = carry_out(request, events, started=request["begun"])
        # All is done and on disk. The next trial need not wait while the system takes this process's memory apart.
        tell(events, event="ended", trial=request["trial"], rank=request["rank"], code=code)
    except BaseException:
        traceback.print_exc()  # into the rank's log: nothing else would
    finally:
        # Not sys.exit: nothing of the parent's must be flushed or torn down here.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
