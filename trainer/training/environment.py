"""What this process runs on: everything that decides whether two results may be compared."""

import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from trainer.cgroup import cpu_limit, memory_limit
from trainer.experiment.record import Environment
from trainer.machine import cpu_model


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


def process_started() -> float:
    """When this process began, in seconds since 1970; now, where the system does not tell."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return time.time()
    return time.time() - (uptime - ticks / os.sysconf("SC_CLK_TCK"))
