"""Control groups of Linux, versions 1 and 2: what bounds this process, and groups of its own for a cell's ranks.

What a group is charged with includes cached pages of files, which the kernel takes back before it kills.
"""

import contextlib
import itertools
import math
import os
import subprocess
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_PREFIX = "trialrun-"
_MOST_BYTES = 65_536
_numbers = itertools.count(1)
_FILE_PAGES = ("active_file", "inactive_file")
_PEAKS = ("memory.peak", "memory.max_usage_in_bytes")  # the first since Linux 5.19


class CachedFile:
    """A file of the kernel's that is read time and again, and so kept open.

    A thread that opens, reads and closes it gives the interpreter away at each step, and must wait to get it back.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def text(self) -> str:
        """What stands there now."""
        return os.pread(self._file, _MOST_BYTES, 0).decode()


@dataclass(frozen=True)
class _Charges:
    """The files that tell what a group is charged with; `cached` are the fields of `stat` that count files' pages."""

    now: CachedFile
    peak: CachedFile | None
    stat: CachedFile
    cached: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """The memory side of one cgroup, `folder`."""

    folder: Path

    @property
    def second(self) -> bool:
        """Whether it is of version 2."""
        return (self.folder / "memory.max").exists()

    @property
    def members(self) -> Path:
        """The file that takes the id of a process to move it here."""
        return self.folder / "cgroup.procs"

    def charged(self) -> tuple[int, int]:
        """What it is charged with now, and the most so far, both without the pages of files that it caches now."""
        files = self._charges
        now = int(files.now.text())
        peak = now if files.peak is None else int(files.peak.text())
        stat = _fields(files.stat.text())
        cached = sum(stat[name] for name in files.cached)
        return max(0, now - cached), max(0, peak - cached)

    @cached_property
    def _charges(self) -> _Charges:
        peak = next((self.folder / name for name in _PEAKS if (self.folder / name).exists()), None)
        return _Charges(
            now=CachedFile(self.folder / ("memory.current" if self.second else "memory.usage_in_bytes")),
            peak=None if peak is None else CachedFile(peak),
            stat=CachedFile(self.folder / "memory.stat"),
            # Version 1 counts the pages of groups below under other names.
            cached=_FILE_PAGES if self.second else tuple(f"total_{name}" for name in _FILE_PAGES),
        )

    def limit(self, size: int) -> None:
        """Lets the kernel kill what needs more than `size` bytes, without a way out to swap."""
        names = ("memory.max", "memory.swap.max") if self.second else ("memory.limit_in_bytes",) * 2
        (self.folder / names[0]).write_text(str(size))
        swap = self.folder / (names[1] if self.second else "memory.memsw.limit_in_bytes")
        if swap.exists():
            swap.write_text("0" if self.second else str(size))

    def kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        name = "memory.events" if self.second else "memory.oom_control"
        return _fields((self.folder / name).read_text())["oom_kill"]

    def remove(self) -> None:
        """Removes it if it has no processes left."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class CgroupFactory:
    """Makes cgroups for this process's children, named after it so that the next one can remove what is left."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._own = f"{_PREFIX}{os.getpid()}-{_started(os.getpid())}-"

    def make(self) -> Group:
        """A new group. No other of this process has its number: one may stay whose processes are slow to go."""
        folder = self._parent / f"{self._own}{next(_numbers)}"
        folder.mkdir()
        return Group(folder)

    def sweep(self) -> None:
        """Removes the groups of processes that are gone."""
        for folder in self._parent.glob(f"{_PREFIX}*"):
            pid, _, rest = folder.name.removeprefix(_PREFIX).partition("-")
            if pid.isdecimal() and _started(int(pid)) != rest.partition("-")[0]:
                Group(folder).remove()


def cgroup_factory() -> CgroupFactory | None:
    """Where this process may make groups whose memory it can limit; None where it may not."""
    for parent in _parents():
        made = CgroupFactory(parent)
        try:
            group = made.make()
        except OSError:
            continue
        try:
            group.limit(2**30)
            # As a child of ours will: whether it may join is only known by trying.
            joining = ["/bin/sh", "-c", 'echo $$ > "$1"', "sh", str(group.members)]
            if subprocess.run(joining, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                made.sweep()
                return made
        except OSError:
            continue
        finally:
            group.remove()
    return None


def own_group() -> Group | None:
    """The cgroup that holds this process: in a container the container's."""
    folder = next((folder for folder in _own_folders("memory") if (folder / "memory.stat").is_file()), None)
    return None if folder is None else Group(folder)


def cpu_limit() -> float | None:
    """The CPUs that this process may use by its cgroup and those around it, None without a limit."""
    shares = [both.split() for both in _texts("cpu.max")]
    if not shares:
        quotas, periods = _texts("cpu.cfs_quota_us", "cpu"), _texts("cpu.cfs_period_us", "cpu")
        shares = [["max" if int(quota) < 0 else quota, period] for quota, period in zip(quotas, periods, strict=True)]
    return min((int(quota) / int(period) for quota, period in shares if quota != "max"), default=None)


def cores() -> int:
    """The cores that this process may keep busy."""
    # macOS knows no affinity.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, math.ceil(cpu_limit() or allowed))


def memory_limit() -> int | None:
    """The bytes that this process may use by its cgroup and those around it, None without a limit."""
    texts = _texts("memory.max") or _texts("memory.limit_in_bytes", "memory")
    # Version 1 says "no limit" as the largest multiple of a page.
    return min((int(text) for text in texts if text != "max" and int(text) < 2**60), default=None)


def machine_memory() -> int:
    """The bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _texts(name: str, controller: str = "") -> list[str]:
    """A file of this process's cgroup and of each around it: version 2 without a controller, version 1 with one."""
    root = ROOT / controller if controller else ROOT
    own = next((folder for folder in _own_folders(controller, either=False) if folder.is_dir()), None)
    if own is None:
        return []
    around = [folder for folder in (own, *own.parents) if folder == root or root in folder.parents]
    return [(folder / name).read_text().strip() for folder in around if (folder / name).is_file()]


def _own_folders(controller: str, *, either: bool = True) -> list[Path]:
    """Where this process's cgroup of a controller may be mounted; with `either`, version 2's as well."""
    try:
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return []
    folders = []
    for _, controllers, path in groups:
        named = controller in controllers.split(",")
        if named or (either and not controllers):
            root = ROOT / controller if named else ROOT
            # In a container the path is the host's, and the group itself is mounted at the root.
            folders += [root / path.lstrip("/"), root]
    return folders


def _parents() -> list[Path]:
    """Where groups could be made: below this process's own, or beside it: only leaves of version 2 have processes."""
    folder = next((folder for folder in _own_folders("memory") if (folder / "cgroup.procs").is_file()), None)
    if folder is None:
        return []
    return [folder, folder.parent] if (folder.parent / "cgroup.procs").is_file() else [folder]


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine's start; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _fields(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}
