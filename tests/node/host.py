"""Starts the one-node cluster from outside of its namespaces, finds it again, and ends it without a trace.

The whole node is one tree of processes in mount, network and PID namespaces of their own, held by one process. When
that ends, however it ends, the kernel ends all others, and takes mounts, bridge and rules away.
"""

import fcntl
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import debian
from cluster.component import free_port
from node.inside import hierarchies
from node.place import NODE, ROOT, Place

# What each program comes from, of Debian's packages.
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "mount": "mount",
    "unshare": "util-linux",
    "pgrep": "procps",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
START_SECONDS = 180.0
# The first process in the namespaces adopts what others leave behind: a shell buries it, and ends with its child.
FIRST = ("sh", "-c", '"$@" & wait $!', "first")


class NotPossible(Exception):
    """This machine can't run the cluster; the sentence says what is missing."""


def has_docker() -> bool:
    """Whether kind can make the cluster: it is there, and so is Docker's daemon."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


@contextmanager
def locked(place: Place, name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Holds the lock of this name, which processes share with LOCK_SH, or else have one after the other."""
    place.cache.mkdir(parents=True, exist_ok=True)
    with (place.cache / name).open("w") as file:
        fcntl.flock(file, how)
        yield


def require(place: Place) -> None:
    """Installs what is missing of Debian's packages. Raises NotPossible or ProgramsMissing."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise NotPossible(
            "a one-node cluster needs Linux and root (it makes namespaces and cgroups), got"
            f" {platform.system()} as user {os.geteuid()}; or install kind and start Docker"
        )
    for folder in (place.state, place.cache):
        if folder.is_relative_to("/var") or folder.is_relative_to("/tmp"):  # noqa: S108 - the machine's
            raise NotPossible(f"{folder}: must not lie below /var or /tmp, which the node covers; set XDG_STATE_HOME"
                              " and XDG_CACHE_HOME")  # fmt: skip
    debian.require(PACKAGES, "a one-node cluster")


def running(place: Place) -> int | None:
    """The process that holds the cluster, None where there is none."""
    try:
        pid, began = place.process.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _began(int(pid)) == began else None


def start(place: Place) -> None:
    """Starts the node and returns once it is ready; it outlives this process."""
    clear(place)
    place.state.mkdir(parents=True)
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as listener, place.log.open("wb") as log:
        listener.set_inheritable(True)
        command = ["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc", *FIRST]
        inside = [sys.executable, "-m", "node.inside", str(place.state), str(place.cache)]
        # Not by subprocess, which would complain that nobody waits for its end.
        pid = os.posix_spawnp(
            command[0],
            [*command, *inside, str(port), str(listener.fileno())],
            os.environ | {"PYTHONPATH": str(ROOT / "tests"), "PYTHONUNBUFFERED": "1"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ],
            setsid=True,
        )
        place.process.write_text(f"{pid} {_began(pid)}\n")
    deadline = time.monotonic() + START_SECONDS
    while not place.ready.exists():
        if running(place) is None or time.monotonic() > deadline:
            said = place.log.read_text(errors="replace")
            kill(place)
            raise NotPossible(f"the node did not become ready; logs lie in {place.state}\n{said}")
        time.sleep(0.05)


def stop(place: Place) -> None:
    """Ends the cluster and deletes all that it made, but for the cache."""
    kill(place)
    clear(place)


def kill(place: Place) -> None:
    """Ends all processes of the cluster, and returns when they are gone."""
    holder = running(place)
    if holder is not None:
        # The first process of the namespaces ends after all others in them, and its parent after it.
        for pid in _children(holder):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while running(place) is not None or any(_processes(group) for group in _groups()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes of the cluster live on: {[_processes(group) for group in _groups()]}")
        time.sleep(0.02)


def clear(place: Place) -> None:
    """Deletes what a cluster left that has ended: its cgroups and its folder."""
    for group in _groups():
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()
    if place.state.exists():
        shutil.rmtree(place.state)


def _groups() -> list[Path]:
    return [hierarchy / NODE for hierarchy in hierarchies() if (hierarchy / NODE).exists()]


def _processes(group: Path) -> list[str]:
    return [pid for file in group.rglob("cgroup.procs") for pid in file.read_text().split()]


def _children(parent: int) -> list[int]:
    listed = subprocess.run(["pgrep", "--parent", str(parent)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def _began(pid: int) -> str | None:
    """When a process began, by the kernel's clock; None where there is none, or only its exit code is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
