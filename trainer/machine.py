"""What machine this is."""

import platform
import re
from pathlib import Path


def cpu_model() -> str:
    """The processor's name, or its architecture where the system tells no more."""
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0].strip() if names else platform.machine()
