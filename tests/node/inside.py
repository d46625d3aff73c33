"""Runs inside the namespaces: makes the network and the mounts, starts a control plane and a node, and stays.

Everything here ends with this process, and with the namespaces goes all that it did to network and mounts.
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cluster.component import Component
from cluster.controlplane import ControlPlane
from node import relay, runtime
from node.place import ADDRESS, BRIDGE, NODE, Place

# What the kubelet wants of the whole machine's kernel. It finds these already set, and leaves the machine's alone.
KERNEL = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
SYSCTL = Path("/proc/sys")
CGROUPS = Path("/sys/fs/cgroup")


def main(place: Place, port: int, listener: int) -> None:
    """Starts everything, says in `place.ready` when it is, and waits to be told to end."""
    began = time.monotonic()
    _cover_folders(place)
    _cover_kernel_settings(place)
    _make_network()
    make_cgroups()
    relay.start(socket.socket(fileno=listener), ("127.0.0.1", port))
    components: list[Component] = []
    with contextlib.ExitStack() as running:
        containerd = runtime.containerd(place)
        containerd.launch()
        components.append(containerd)
        plane = ControlPlane.start(place.state, port=port, node_address=ADDRESS, init_image=runtime.INIT_IMAGE)
        running.enter_context(plane)
        plane.start_trainer()
        plane.start_kueue()
        containerd.wait_until_ready()
        for component in (runtime.dns(plane), runtime.proxy(plane), runtime.kubelet(place, plane)):
            component.launch()
            components.append(component)
        for component in components:
            component.wait_until_ready()
        place.ready.write_text(f"{time.monotonic() - began:.1f}\n")
        signal.pause()


def _cover_folders(place: Place) -> None:
    """What programs write to these folders of the machine goes to the state folder, or to memory."""
    for covered in ("/var", "/tmp"):  # noqa: S108 - of the machine
        upper, work = (place.state / "covered" / covered[1:] / part for part in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir()
        shutil.copystat(covered, upper)
        _run(
            "mount", "-t", "overlay", "-o", f"lowerdir={covered},upperdir={upper},workdir={work}", "overlay", covered
        )
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")


def _cover_kernel_settings(place: Place) -> None:
    for name, value in KERNEL.items():
        if (SYSCTL / name).exists():
            file = place.state / "kernel" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value)
            _run("mount", "--bind", str(file), str(SYSCTL / name))


def _make_network() -> None:
    """A bridge for the pods. Nothing leads out of these namespaces: an image that isn't here can't be pulled."""
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{ADDRESS}/16", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    # The service addresses must lead somewhere before kube-proxy's rules send them where they belong.
    _run("ip", "route", "add", "default", "via", ADDRESS, "dev", BRIDGE)
    (SYSCTL / "net/ipv4/ip_forward").write_text("1")


def make_cgroups() -> None:
    """The cgroup that holds all pods: in each hierarchy of version 1, or the one of version 2."""
    for hierarchy in hierarchies():
        group = hierarchy / NODE
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def hierarchies() -> list[Path]:
    """The roots of the machine's cgroup trees."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [each for each in CGROUPS.iterdir() if (each / "cgroup.procs").exists() and not each.is_symlink()]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


if __name__ == "__main__":
    main(Place(Path(sys.argv[1]), Path(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4]))
