"""Starts programs, keeps their output, and ends them with all that they started. It imports nothing of ours.

Run by its path: requests come as JSON lines on one pipe, events go out on another. When the requests end, however the
runner died, it ends what still runs. On Linux it inherits whatever its programs leave behind, so that a child in a
session of its own is found too.
"""

import atexit
import builtins
import contextlib
import ctypes
import gc
import importlib.machinery
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from typing import Any

_TICK_SECONDS = 0.1
_MOST_LOG_BYTES = 4 * 2**20  # of the beginning; of what comes after, the end is kept
_END_BYTES = 256 * 2**10
_PR_SET_CHILD_SUBREAPER, _PR_SET_PDEATHSIG = 36, 1
_SETTLED_SECONDS = 0.1  # within which a process that has been forked runs its program
Request = dict[str, Any]
MARK = "TRIALRUN_ATTEMPT"  # a variable that all inherit whom a rank has started


class Log:
    """A file with the beginning and the end of what a program printed."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115, PTH123
        self._room = _MOST_LOG_BYTES
        self._end = bytearray()
        self._left_out = 0

    def write(self, text: bytes) -> None:
        """Keeps what was printed."""
        head, rest = text[: self._room], text[self._room :]
        self._room -= len(head)
        with contextlib.suppress(OSError):  # a full disk must not stop the program
            self._file.write(head)
        self._end += rest
        if (over := len(self._end) - _END_BYTES) > 0:
            self._left_out += over
            del self._end[:over]

    def close(self) -> None:
        """Writes the end, and what was left out before it."""
        with contextlib.suppress(OSError):
            if self._left_out:
                self._file.write(b"\n[... %d bytes left out ...]\n" % self._left_out)
            self._file.write(self._end)
        self._file.close()


class Rank:
    """A process of a trial. `memory` are the peak and the mean of what it and its children had resident, in bytes."""

    def __init__(self, request: Request, pid: int, output: int) -> None:
        self.trial, self.rank = request["trial"], request["rank"]
        self.mark = f"{MARK}={request['env'][MARK]}".encode()
        self.pid, self.output = pid, output
        self.log = Log(request["log"])
        self.peak = self.total = self.readings = 0
        self.limit, self.over = request["limit"], 0  # 0 for none; the resident bytes that it was killed for
        self.told_to_end = 0.0
        self.grace = 0.0

    def read_memory(self) -> bool:
        """Takes a reading; False where it is over the limit."""
        resident = sum(map(resident_bytes, tree(self.pid)))
        self.peak = max(self.peak, resident)
        self.total += resident
        self.readings += 1
        if self.limit and resident > self.limit and not self.over:
            self.over = resident
        return not self.over

    def take_output(self) -> bool:
        """Keeps what it has printed; False once nothing more can come."""
        while True:
            try:
                text = os.read(self.output, 65536)
            except BlockingIOError:
                return True
            if not text:
                return False
            self.log.write(text)


class Script(BaseException):
    """Unwinds a forked child to the bottom of its stack, where it becomes the script."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.request = request


class Keeper:
    """Serves requests until they end."""

    def __init__(self, requests: int, events: int) -> None:
        self._requests, self._events = requests, events
        self._pid = os.getpid()
        self._ranks: dict[int, Rank] = {}
        self._selector = selectors.DefaultSelector()
        wake_end, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(wake_end, False)
        os.set_blocking(requests, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._wake_end = wake_end
        for file in (requests, wake_end):
            self._selector.register(file, selectors.EVENT_READ)

    def serve(self) -> None:
        """Returns when the requests have ended, and with them all that was started."""
        pending = b""
        while True:
            ready = [key for key, _ in self._selector.select(_TICK_SECONDS if self._ranks else None)]
            for key in ready:
                if key.fd == self._requests:
                    received = os.read(self._requests, 65536)
                    if not received:
                        self._end()
                        return
                    *lines, pending = (pending + received).split(b"\n")
                    for line in lines:
                        self._do(json.loads(line))
                elif key.fd == self._wake_end:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_end, 4096)
                elif not key.data.take_output():
                    self._selector.unregister(key.fd)
            self._reap()
            now = time.monotonic()
            for one in self._ranks.values():
                if not one.read_memory():
                    self._kill(one)
                if one.told_to_end and now >= one.told_to_end + one.grace:
                    self._kill(one)

    def _do(self, request: Request) -> None:
        if request["do"] == "load":
            self._load(request["modules"])
            return
        if request["do"] == "start":
            self._start(request)
            return
        for one in self._ranks.values():
            if one.trial == request["trial"] and not one.told_to_end:
                one.told_to_end, one.grace = time.monotonic(), request["grace"]
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(one.pid, signal.SIGTERM)

    def _start(self, request: Request) -> None:
        output, theirs = os.pipe()
        os.set_blocking(output, False)
        if request["fork"]:
            pid = self._fork(request, theirs)
            os.close(theirs)
            self._watch(request, pid, output)
            return
        try:
            process = subprocess.Popen(
                _joining(request),
                cwd=request["cwd"],
                env=request["env"],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                preexec_fn=self._end_with_keeper,  # nothing here has threads
            )
        except OSError as error:
            why = f"cannot be started: {error.strerror}: {error.filename}"
            self._tell(event="ended", trial=request["trial"], rank=request["rank"], code=None, why=why)
            os.close(output)
            return
        finally:
            os.close(theirs)
        process.returncode = 0  # it is waited for here, not there
        self._watch(request, process.pid, output)

    def _watch(self, request: Request, pid: int, output: int) -> None:
        one = self._ranks[pid] = Rank(request, pid, output)
        self._selector.register(output, selectors.EVENT_READ, one)

    def _fork(self, request: Request, theirs: int) -> int:
        """Forks a process that becomes the script; what the script imports is loaded already.

        Raises:
            Script: in the child.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads that libraries wait in, and fork rightly
            pid = os.fork()
        if pid:
            return pid
        os.setsid()
        self._end_with_keeper()
        if request["group"]:
            with open(request["group"], "w") as group:  # noqa: PTH123
                group.write(str(os.getpid()))
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, file in enumerate((null, theirs, theirs)):
            os.dup2(file, number)
        self._selector.close()
        os.closerange(3, 1 << 16)
        raise Script(request)

    def _end_with_keeper(self) -> None:
        """In a rank: has the kernel kill it when the keeper ends. What it has started is the runner's to end."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != self._pid:
                os._exit(1)

    def _load(self, modules: list[str]) -> None:
        """Imports what scripts will, and tells whether they can be forked then."""
        for name in modules:
            with contextlib.suppress(BaseException):  # the script will meet it, and say so itself
                __import__(name)
        gc.collect()
        atexit.register(gc.unfreeze)  # in the children too, last of all: Python clears away what it has loaded
        gc.freeze()  # the children share these pages; a collection would copy them all
        # A thread of Python's that a package has started would be missing in the children, its locks held.
        self._tell(event="loaded", forks=threading.active_count() == 1)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if (one := self._ranks.get(pid)) is not None:
                self._ended(one, os.waitstatus_to_exitcode(status), used.ru_maxrss)

    def _ended(self, one: Rank, code: int, most: int) -> None:
        """Ends what a rank has left behind, and tells of it."""
        del self._ranks[one.pid]
        self._kill(one)
        one.take_output()
        with contextlib.suppress(KeyError):
            self._selector.unregister(one.output)
        os.close(one.output)
        one.log.close()
        peak = max(one.peak, most * (1 if sys.platform == "darwin" else 1024))
        mean = one.total // one.readings if one.readings else peak
        self._tell(event="ended", trial=one.trial, rank=one.rank, code=code, peak=peak, mean=mean,
                   over=one.over)  # fmt: skip

    def _kill(self, one: Rank) -> None:
        """Kills a rank with all that it has started, whatever session that is in."""
        others = {pid for other in self._ranks.values() if other is not one for pid in (other.pid, *tree(other.pid))}
        while True:
            below = (
                tree(one.pid)[1:] if one.pid in self._ranks else []
            )  # not of a number that another may have by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            # What has lost its parent is ours now.
            strays = (pid for pid in self._strays() if has_mark(pid, one.mark))
            found = [pid for pid in (*below, *strays) if pid not in others and not _is_gone(pid)]
            if not found:
                return
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _strays(self) -> list[int]:
        return [pid for child in children(os.getpid()) if child not in self._ranks for pid in tree(child)]

    def _end(self) -> None:
        """Kills everything, also what has thrown its mark away."""
        while found := [pid for pid in tree(os.getpid())[1:] if not _is_gone(pid)]:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for one in self._ranks.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)  # where the system doesn't tell of children

    def _tell(self, **event: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._events, json.dumps(event).encode() + b"\n")


def _joining(request: Request) -> list[str]:
    """The command, which first joins a cgroup where it has one."""
    if not request["group"]:
        return list(request["argv"])
    return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', request["group"], *request["argv"]]


def has_mark(pid: int, mark: bytes) -> bool:
    """Whether a process has inherited a rank's mark, and still lives."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return mark in file.read().split(b"\0") and not _is_gone(pid)
    except OSError:
        return False


def _is_gone(pid: int) -> bool:
    """Whether a process has ended, though nobody may have waited for it."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


def kill_marked(marks: set[bytes]) -> None:
    """Kills all that ranks have started, where whoever started them can't any more. It needs /proc.

    What has just been forked has no mark before it runs its program: nobody may be found twice in a row.
    """
    quiet = 0
    while quiet < 2:
        everyone: list[int] = []
        with contextlib.suppress(OSError):
            everyone = [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
        found = [pid for pid in everyone if any(has_mark(pid, mark) for mark in marks)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        quiet = 0 if found else quiet + 1
        if quiet == 1:
            time.sleep(_SETTLED_SECONDS)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for each in found:
        found += children(each)
    return found


def children(pid: int) -> list[int]:
    """The children of a process; empty where the system doesn't tell."""
    found = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                found += [int(each) for each in file.read().split()]
    return found


def resident_bytes(pid: int) -> int:
    """The resident memory of a process; 0 where the system doesn't tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def become(request: Request) -> None:
    """Runs a script as `python FILE …` does: module, arguments, path, exceptions and exit are as there."""
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    _, file, *arguments = request["argv"]
    if (drawn := sys.modules.get("numpy.random")) is not None:
        drawn.seed()  # each Python begins with numbers of its own; what was forked would share them
    path = os.path.abspath(file)  # noqa: PTH100
    sys.argv = [file, *arguments]
    sys.orig_argv = ["python", file, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.realpath(file)))  # noqa: PTH120
    main = types.ModuleType("__main__")
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    vars(main).update(__file__=path, __builtins__=builtins, __loader__=loader, __spec__=None)
    for name, empty in (("__cached__", None), ("__annotations__", {})):
        if name in globals():  # which a script has depends on the version
            vars(main)[name] = empty
    sys.modules["__main__"] = main
    try:
        with open(file, "rb") as opened:  # noqa: PTH123
            code = compile(opened.read(), path, "exec", dont_inherit=True)
        exec(code, vars(main))  # noqa: S102 - it is the user's own script
    except (Exception, KeyboardInterrupt) as error:
        ours = error.__traceback__
        theirs = ours.tb_next if ours is not None else None
        sys.excepthook(type(error), error.with_traceback(theirs), theirs)
        sys.excepthook = lambda *_: None  # it has been told; how Python ends for it is Python's own business
        raise


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    script: Request | None = None
    try:
        Keeper(int(sys.argv[1]), int(sys.argv[2])).serve()
    except Script as forked:
        script = forked.request
    if script is not None:
        become(script)
