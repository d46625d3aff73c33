"""Fetches the jars of a Kafka broker once, by Maven, into a cache outside the tree."""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import debian

POM = Path(__file__).with_name("pom.xml")
# Debian's packages for the programs that are needed.
PACKAGES = {"java": "openjdk-17-jre-headless", "mvn": "maven"}


class BrokerMissing(Exception):
    """A broker can neither be found nor fetched here; the sentence says what to do."""


def jars() -> Path:
    """The folder with the broker's jars, fetched first if need be. Raises BrokerMissing, or ProgramsMissing."""
    debian.require(PACKAGES, "a broker")
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
