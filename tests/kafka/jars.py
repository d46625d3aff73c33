"""Fetches the jars of a Kafka broker once, by Maven, into a cache outside the tree."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
# Debian's packages for the programs that are needed.
PACKAGES = {"java": "openjdk-17-jre-headless", "mvn": "maven"}


class BrokerMissing(Exception):
    """A broker can neither be found nor fetched here; the sentence says what to do."""


def jars() -> Path:
    """The folder with the broker's jars, fetched first if need be. Raises BrokerMissing."""
    require()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trialrun" / "kafka"
    place = cache / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    if place.is_dir():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            _fetch(place)
    return place


def require() -> None:
    """Installs Java and Maven where they are missing and apt-get can, or says what is missing."""
    missing = sorted(package for program, package in PACKAGES.items() if shutil.which(program) is None)
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise BrokerMissing(f"a broker needs {', '.join(missing)}: install them with this machine's package manager")
    _say(f"installing Debian packages: {' '.join(missing)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", "-qq", *command], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise BrokerMissing(f"apt-get {command[0]} failed, needs {', '.join(missing)}:\n{done.stderr}")


def _fetch(place: Path) -> None:
    """Fetches into a folder of its own and moves it into place, so that it is whole or not there."""
    _say(f"fetching the broker's jars with Maven, {place}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="jars-") as temporary:
        folder = Path(temporary) / "jars"
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        done = subprocess.run(["mvn", "-B", "-q", "-f", POM, *goal], capture_output=True, text=True)
        if done.returncode:
            raise BrokerMissing(f"mvn failed to fetch the broker's jars:\n{(done.stdout + done.stderr)[-2000:]}")
        folder.rename(place)
    _say(f"fetched in {time.monotonic() - began:.0f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
