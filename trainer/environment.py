"""What this process runs on: everything that decides whether two results may be compared."""

import os
import platform
import re
import time
from pathlib import Path

import numpy as np
import torch

from trainer.experiment.record import Environment


def environment(device: torch.device, threads: int) -> Environment:
    """The environment of a rank that trains on `device`."""
    return Environment(
        packages={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        cpu=cpu_model(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=threads,
        cpus=cpu_limit(),
        memory_limit_bytes=memory_limit(),
    )


def cpu_model() -> str:
    """The processor's name, or its architecture where the system tells no more."""
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0].strip() if names else platform.machine()


def cpu_limit() -> float | None:
    """The CPUs that this process's cgroup may use, None without a limit."""
    if (both := _cgroup_file("cpu.max")) is not None:
        quota, _, period = both.partition(" ")
        return None if quota == "max" else int(quota) / int(period)
    quota_v1, period_v1 = _cgroup_file("cpu.cfs_quota_us", "cpu"), _cgroup_file("cpu.cfs_period_us", "cpu")
    if quota_v1 is None or period_v1 is None or int(quota_v1) < 0:
        return None
    return int(quota_v1) / int(period_v1)


def memory_limit() -> int | None:
    """The bytes that this process's cgroup may use, None without a limit."""
    text = _cgroup_file("memory.max") or _cgroup_file("memory.limit_in_bytes", "memory")
    if text is None or text == "max":
        return None
    # Version 1 says "no limit" as the largest multiple of a page.
    return int(text) if int(text) < 2**60 else None


def _cgroup_file(name: str, controller: str = "") -> str | None:
    """A file of this process's own cgroup: version 2 without a controller, version 1 with one."""
    try:
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return None
    for _, controllers, path in groups:
        if controller in controllers.split(","):
            root = Path("/sys/fs/cgroup") / controller
            # In a container the path is the host's, and the group itself is mounted at the root.
            for place in (root / path.lstrip("/"), root):
                if (place / name).is_file():
                    return (place / name).read_text().strip()
    return None


def process_started() -> float:
    """When this process began, in seconds since 1970; now, where the system does not tell."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return time.time()
    return time.time() - (uptime - ticks / os.sysconf("SC_CLK_TCK"))
