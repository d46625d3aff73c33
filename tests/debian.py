"""Programs that tests need of Debian's packages: installed where they are missing and this machine lets us."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path


class ProgramsMissing(Exception):
    """Programs are neither there nor can they be installed; the sentence says which."""


def require(packages: Mapping[str, str], for_what: str) -> None:
    """Installs the packages of those programs, by name, that are not on the path. Raises ProgramsMissing."""
    if not (missing := _missing(packages)):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise ProgramsMissing(
            f"{for_what} needs {', '.join(missing)}: install them with this machine's package manager"
        )
    # Tests run side by side, and apt-get doesn't wait for another.
    with Path(tempfile.gettempdir(), "trialrun-debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if missing := _missing(packages):
            _install(missing)


def _missing(packages: Mapping[str, str]) -> list[str]:
    return sorted({package for program, package in packages.items() if shutil.which(program) is None})


def _install(packages: list[str]) -> None:
    print(f"installing Debian packages: {' '.join(packages)}", file=sys.stderr, flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-qq", *command], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise ProgramsMissing(f"apt-get {command[0]} failed, needs {', '.join(packages)}:\n{done.stderr}")
