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
    with Path(tempfile.gettempdir(), "trialrun-debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        missing = sorted({package for program, package in packages.items() if shutil.which(program) is None})
        if not missing:
            return
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise ProgramsMissing(
                f"{for_what} needs {', '.join(missing)}: install them with this machine's package manager"
            )
        print(f"installing Debian packages: {' '.join(missing)}", file=sys.stderr, flush=True)
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            done = subprocess.run(["apt-get", "-qq", *command], env=environment, capture_output=True, text=True)
            if done.returncode:
                raise ProgramsMissing(f"apt-get {command[0]} failed, needs {', '.join(missing)}:\n{done.stderr}")
