"""How much memory this process uses: its peak and its mean over samples, in bytes."""

import resource
import sys
from pathlib import Path

from trainer.experiment.record import Memory

_STATUS = Path("/proc/self/status")


def resident_bytes() -> tuple[int, int]:
    """This process's resident memory now, and its peak. Where the system tells only the peak, both are the peak."""
    if _STATUS.exists():
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, peak


class Gauge:
    """Collects readings of this process's memory."""

    def __init__(self) -> None:
        self._total = 0
        self._readings = 0
        self._highest = 0
        self.read()

    def read(self) -> None:
        """Takes a reading."""
        now, peak = resident_bytes()
        self._total += now
        self._readings += 1
        # Linux counts pages per CPU and adds them up late: its peak may lie a little below what it said before.
        self._highest = max(self._highest, now, peak)

    def result(self) -> Memory:
        """The peak and the mean so far."""
        self.read()
        return Memory(peak_bytes=self._highest, mean_bytes=self._total // self._readings)
