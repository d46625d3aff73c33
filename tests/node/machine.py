"""What of this machine a node could leave changed: mounts, network, kernel settings, cgroups, its folder."""

import subprocess
from pathlib import Path

from node.inside import KERNEL, SYSCTL, hierarchies
from node.place import NODE, default


def traces() -> dict[str, object]:
    """The state of all that; equal before a cluster and after it."""
    settings = [*KERNEL, "net/ipv4/ip_forward"]
    mounts = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    # buildah mounts its store over itself while it works, and leaves it so when it is interrupted.
    return {
        "mounts": sorted(mount for mount in mounts if not Path(mount).is_relative_to(default().image_store)),
        "links": _said("ip", "-oneline", "link", "show"),
        "addresses": _said("ip", "-brief", "address", "show"),
        "rules": _said("nft", "list", "ruleset"),
        "settings": {name: (SYSCTL / name).read_text() for name in settings if (SYSCTL / name).exists()},
        "cgroups": [str(hierarchy) for hierarchy in hierarchies() if (hierarchy / NODE).exists()],
        "folder": default().state.exists(),
    }


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
