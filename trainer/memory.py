"""How much memory this process uses: its floor, its peak and its mean over samples, in bytes."""

import contextlib
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.cgroup import CachedFile, Group
from trainer.experiment.record import Charged, Memory, MemoryLimit

_STATUS = Path("/proc/self/status")
_TICK_SECONDS = 0.05


def resident_bytes() -> tuple[int, int]:
    """This process's resident memory now, and its peak. Where the system tells only the peak, both are the peak."""
    return _resident(CachedFile(_STATUS) if _STATUS.exists() else None)


def _resident(status: CachedFile | None) -> tuple[int, int]:
    if status is not None:
        fields = dict(line.split(":", 1) for line in status.text().splitlines())
        return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, peak


class Readings:
    """The first, the highest and the mean of some readings."""

    def __init__(self, first: int) -> None:
        self.first = self.highest = first
        self._total, self._count = first, 1

    def add(self, reading: int, peak: int) -> None:
        """Counts one more, beside the system's own peak."""
        # Linux counts pages per CPU and adds them up late: its peak may lie a little below what it said before.
        self.highest = max(self.highest, reading, peak)
        self._total += reading
        self._count += 1

    @property
    def mean(self) -> int:
        """Of all so far."""
        return self._total // self._count


class MemoryMonitor:
    """Collects readings of this process's memory and, where `group` is its own, of its cgroup's.

    Made when everything is loaded and no sample is held: the first reading is the floor. Threads may share it.
    """

    def __init__(self, group: Group | None = None) -> None:
        self.limit: MemoryLimit | None = None
        self._group = group
        self._lock = threading.Lock()
        self._status = CachedFile(_STATUS) if _STATUS.exists() else None
        self._resident = Readings(_resident(self._status)[0])
        self._charged = Readings(group.charged()[0]) if group is not None else None

    def read(self) -> None:
        """Takes a reading."""
        with self._lock:
            self._resident.add(*_resident(self._status))
            if self._group is not None and self._charged is not None:
                self._charged.add(*self._group.charged())

    def result(self) -> Memory:
        """The floor, the peak and the mean so far."""
        self.read()
        resident, charged = self._resident, self._charged
        return Memory(
            peak_bytes=resident.highest,
            mean_bytes=resident.mean,
            floor_bytes=resident.first,
            cgroup=None
            if charged is None
            else Charged(floor_bytes=charged.first, peak_bytes=charged.highest, mean_bytes=charged.mean),
            limit=self.limit,
        )


@contextmanager
def ticking(action: Callable[[], None]) -> Iterator[None]:
    """Calls `action` from a thread of its own, at once and 20 times a second, for as long as the context lasts."""
    over = threading.Event()

    def tick() -> None:
        # A full disk must not end the training.
        with contextlib.suppress(OSError):
            action()
            while not over.wait(_TICK_SECONDS):
                action()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
