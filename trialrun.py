"""What a program asks for its parameters, and tells how it is doing. One file: copy it where it isn't installed.

    import trialrun

    trial = trialrun.trial(lr=0.1, epochs=10)              # by hand, these count
    for epoch in range(trial.parameters["epochs"]):
        ...
        if trial.report(epoch, loss=loss, accuracy=right / count):
            break                                          # it was asked to stop

Without Trialrun around it the program runs as ever, and reports are printed. What is read and written here is said in
docs/bring-your-own-trainer.md, for any language.
"""

import atexit
import hashlib
import json
import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["PROTOCOL", "Trial", "trial"]

PROTOCOL = 1
MOST_METRICS = 100
MOST_BYTES = 4000  # of a report
_KEPT_BYTES = 4096  # of what a pod tells: a cluster keeps no more
_VARIABLE = "TRIALRUN_TRIAL"
_MOST_ERROR = 1000  # characters
_DATA_UNAVAILABLE = 65  # an exit code
_CGROUP = Path("/sys/fs/cgroup")


class Parameters(dict):
    """A trial's parameters by name, and what does not vary. Which were read is told with the reports."""

    def __init__(self, values):
        super().__init__(values)
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)

    def __missing__(self, name):
        raise KeyError(f"no parameter or setting {name}; there are: {', '.join(sorted(self)) or 'none'}")

    def get(self, name, default=None):
        self.read.add(name)
        return super().get(name, default)

    def __iter__(self):
        self.read.update(super().keys())
        return super().__iter__()

    def keys(self):
        self.read.update(super().keys())
        return super().keys()

    def values(self):
        self.read.update(super().keys())
        return super().values()

    def items(self):
        self.read.update(super().keys())
        return super().items()


class Trial:
    """One trial of a program. `settings` are the file's, nested as they are there, with the parameters put in.

    `folder` is for what it leaves behind; `checkpoints` are folders in which an attempt before this one, or this one
    before it was interrupted, left something to go on from, the latest first.
    """

    def __init__(self, order, defaults):
        if order.get("protocol", PROTOCOL) != PROTOCOL:
            raise RuntimeError(
                f"this trialrun.py speaks protocol {PROTOCOL}, and Trialrun protocol {order['protocol']}; "
                "take the trialrun.py of that version"
            )
        self.settings = order.get("settings", {})
        self.parameters = Parameters({**defaults, **_flat(self.settings), **order.get("parameters", {})})
        self.id = order.get("id", "")
        self.seed = order.get("seed", 0)
        self.folder = Path(order.get("folder", "."))
        self.checkpoints = [path for each in order.get("checkpoints", []) if _holds_something(path := Path(each))]
        self._reports = order.get("reports")
        self._stop = order.get("stop")
        self._until = order.get("until")
        self._step = -1
        self._beside = {}
        self._pod = None
        if order.get("pod"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._pod = _Pod(order)

    @property
    def stopping(self):
        """Whether it was asked to stop: what it has reported counts, and more is not wanted."""
        if self._until is not None and self._step >= self._until:
            return True
        return self._stop is not None and Path(self._stop).exists()

    def report(self, step=None, metrics=None, /, **more):
        """Tells the metrics after a step, numbers by name; gives whether to stop. Those of the last report count.

        Names that are no Python names, such as val/loss, go into `metrics`. Of several ranks only rank 0 tells.
        """
        step = self._step + 1 if step is None else int(step)
        found = _numbers({**(metrics or {}), **more})
        self._step = step
        self._tell({"step": step, "metrics": found})
        return self.stopping

    def loaded(self):
        """Tells that all is loaded and no sample held: what memory above the floor counts from (in a pod)."""
        if self._pod is not None:
            self._pod.loaded()

    def naive(self, metrics=None, /, **more):
        """Tells what a prediction gets that has learnt nothing, by the names that metrics are reported under."""
        self._beside["naive"] = _numbers({**(metrics or {}), **more})

    def rests_on(self, *, data=None, validation=None):
        """Tells a fingerprint, any text, of what it trains on and is validated on: unlike ones are not compared."""
        given = {"data": data, "validation": validation}
        self._beside["restsOn"] = {name: str(value) for name, value in given.items() if value is not None}

    def _tell(self, report):
        if os.environ.get("RANK", "0") != "0":
            return
        if self._reports is None:
            said = "  ".join(f"{name} {value:.6g}" for name, value in report["metrics"].items())
            print(f"step {report['step']}  {said}", file=sys.stderr, flush=True)
            return
        whole = {**report, **self._beside, "read": sorted(self.parameters.read), "process": os.getpid()}
        line = json.dumps(whole, separators=(",", ":")).encode() + b"\n"
        if len(line) > MOST_BYTES:
            raise ValueError(f"a report must have at most {MOST_BYTES} bytes, got {len(line)}: tell fewer metrics")
        if self._pod is not None:
            self._pod.tell(whole)
            return
        # One write to the end of the file: lines of several processes don't mix, and none is lost if this one dies.
        file = os.open(self._reports, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)


class _Pod:
    """What a program in a pod tells beside its metrics, as nobody else sees it: inputs, memory, its error, and so on.

    A cluster keeps the end of the file that this is told in, so each report takes the place of the one before.
    """

    def __init__(self, order):
        self._path = order["reports"]
        self._at = self._room = 0
        self._said, self._floor, self._environment = {}, None, None
        # Of resident memory, and of what the container is charged with: the highest, the sum and how many there were.
        self._resident, self._charged = [0, 0, 0], [0, 0, 0]
        # Of several processes in a pod one tells of its memory; any may tell of its error.
        self._first = os.environ.get("LOCAL_RANK", "0") == "0"
        if os.environ.get("RANK", "0") == "0" and order.get("inputs"):
            self._said["inputs"] = _content(order["inputs"])
            known = order.get("known", {}).get("inputs", self._said["inputs"])
            if known != self._said["inputs"]:
                error = (
                    f"the inputs are not those of the trials before: {self._said['inputs']}, and theirs were {known}"
                )
                self.tell({"error": error})
                print(f"{error}; give them back, or run a new experiment", file=sys.stderr)
                raise SystemExit(_DATA_UNAVAILABLE)
        self._process = os.getpid()
        self._hook, sys.excepthook = sys.excepthook, self._failed
        atexit.register(self._ended)

    def loaded(self):
        """Memory counts from here."""
        if self._first:
            self._floor = self._read()
            self.tell({})

    def tell(self, report):
        """Puts a report in place of the one before, with whatever else there is to tell and room for."""
        self._said.update(report)
        if self._environment is None:
            self._environment = _environment()
        whole = {**self._said, "clock": time.time_ns() // 1_000_000, "memory": self._memory()}
        without = {name: value for name, value in self._said.items() if name != "error"}
        tried = ({**whole, "environment": self._environment}, whole, self._said, without)
        lines = (json.dumps(each, separators=(",", ":")).encode() for each in tried)
        self._write(next(line for line in lines if len(line) < _KEPT_BYTES))

    def _write(self, line):
        """One write, of no fewer bytes than before: what is there is whole, whenever this process ends."""
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            size = os.fstat(file).st_size
            if not self._room or size > self._at + self._room:  # another process has told something after that
                self._at, self._room = size, 0
            self._room = max(self._room, len(line) + 1)
            os.pwrite(file, line.ljust(self._room - 1) + b"\n", self._at)
        finally:
            os.close(file)

    def _failed(self, kind, value, trace):
        if os.getpid() == self._process:
            text = f"{kind.__name__}: {value}".encode("utf-8", "backslashreplace").decode()
            half = _MOST_ERROR // 2 - 3
            self.tell({"error": text if len(text) <= _MOST_ERROR else f"{text[:half]} ... {text[-half:]}"})
        self._hook(kind, value, trace)

    def _ended(self):
        if os.getpid() == self._process and self._first:
            self.tell({})

    def _read(self):
        """What is resident of this process, and what its container is charged with (None where nobody tells)."""
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        resident, peak = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        charged = _charged()
        _count(self._resident, resident, peak)
        if charged is not None:
            _count(self._charged, *charged)
        return resident, charged

    def _memory(self):
        self._read()
        highest, total, count = self._resident
        found = {"peakBytes": highest, "meanBytes": total // count}
        if self._floor is not None:
            found["floorBytes"] = self._floor[0]
        highest, total, count = self._charged
        if count:
            floor = 0 if self._floor is None or self._floor[1] is None else self._floor[1][0]
            found["cgroup"] = {"floorBytes": floor, "peakBytes": highest, "meanBytes": total // count}
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            found["devicePeakBytes"] = torch.cuda.max_memory_allocated()
        return found


def trial(**defaults):
    """The trial that this process runs. `defaults` are the parameters that nobody gives, as when it runs by hand."""
    return Trial(json.loads(os.environ.get(_VARIABLE) or "{}"), defaults)


def _flat(settings, before=""):
    found = {}
    for name, value in settings.items():
        found[before + name] = value
        if isinstance(value, dict):
            found.update(_flat(value, f"{before}{name}."))
    return found


def _numbers(metrics):
    """The metrics as floats: also those of torch and numpy, of which JSON knows nothing."""
    if len(metrics) > MOST_METRICS:
        raise ValueError(f"a report must have at most {MOST_METRICS} metrics, got {len(metrics)}")
    found = {}
    for name, value in metrics.items():
        if isinstance(value, str):
            raise TypeError(f"metric {name} must be a number, got {value!r}")
        try:
            # A loss still has its gradient: torch warns of a float made of such.
            found[name] = float(value.detach() if hasattr(value, "detach") else value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"metric {name} must be a number, got {type(value).__name__}") from error
        if math.isnan(found[name]):
            found[name] = math.nan  # of whatever sign
    return found


def _count(readings, reading, peak):
    highest, total, count = readings
    readings[:] = max(highest, reading, peak), total + reading, count + 1


def _holds_something(folder):
    return folder.is_dir() and any(folder.iterdir())


def _content(names):
    """A hash of files, and of all that is in folders, with their names."""
    whole = hashlib.sha256()
    for name in names:
        path = Path(name)
        inside = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        for file in inside:
            content = hashlib.sha256()
            with file.open("rb") as opened:
                while chunk := opened.read(2**20):
                    content.update(chunk)
            told = f"{name}/{file.relative_to(path)}" if path.is_dir() else name
            whole.update(f"{told}\0{content.hexdigest()}\0".encode())
    return whole.hexdigest()[:12]


def _environment():
    """What decides whether the results of two pods may be compared."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    packages = {"python": platform.python_version()}
    main = vars(sys.modules["__main__"]).values()
    names = {getattr(each, "__name__" if type(each) is type(sys) else "__module__", None) or "" for each in main}
    standard = {*getattr(sys, "stdlib_module_names", ()), "trialrun"}
    for name in sorted({str(name).partition(".")[0] for name in names} - standard):
        with suppress(PackageNotFoundError, ValueError):
            packages[name] = version(name)
    found = {"packages": packages, "cpu": platform.machine(), "device": "cpu", "threads": os.cpu_count()}
    with suppress(OSError, StopIteration, IndexError):
        cpuinfo = Path("/proc/cpuinfo").read_text()
        found["cpu"] = next(line for line in cpuinfo.splitlines() if line.startswith("model name")).split(": ", 1)[1]
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        found["threads"] = int(threads)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found["device"] = torch.cuda.get_device_name()
    return found


def _charged():
    """What the kernel charges this container with, now and at most, without the pages of files that it caches."""
    now, peak = "memory.current", "memory.peak"
    stat, cached = "memory.stat", ("active_file", "inactive_file")
    if not (_CGROUP / now).is_file():
        now, peak, stat = (f"memory/memory.{each}" for each in ("usage_in_bytes", "max_usage_in_bytes", "stat"))
        cached = ("total_active_file", "total_inactive_file")
    try:
        fields = dict(line.split() for line in (_CGROUP / stat).read_text().splitlines())
        files = sum(int(fields[each]) for each in cached)
        used = int((_CGROUP / now).read_text())
        most = int((_CGROUP / peak).read_text()) if (_CGROUP / peak).is_file() else used
    except (OSError, KeyError, ValueError):
        return None
    return max(0, used - files), max(0, most - files)
