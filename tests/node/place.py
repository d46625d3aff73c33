"""Where the one-node cluster keeps what it makes, and what it is called."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NODE = "trialrun"  # the node's name, and its cgroup's
BRIDGE = "trialrun0"
ADDRESS = "10.244.0.1"  # the node's, on its bridge
PODS = "10.244.0.0/16"
PAUSE = "docker.io/trialrun/pause:1"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@dataclass(frozen=True)
class Place:
    """`state` is deleted with the cluster. `cache` outlives it, and makes the next one quick to start."""

    state: Path
    cache: Path

    @property
    def process(self) -> Path:
        """Says which process holds the cluster."""
        return self.state / "process"

    @property
    def log(self) -> Path:
        return self.state / "node.log"

    @property
    def ready(self) -> Path:
        """Exists once the node is ready; says how long that took."""
        return self.state / "ready"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        return self.cache / "containerd"

    @property
    def image_store(self) -> Path:
        """buildah's, that of scripts/images."""
        return self.cache.parent / "images"


def default() -> Place:
    """One cluster per user: its addresses and its cache serve one at a time."""
    home = Path.home()
    state = Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return Place(state / "trialrun" / "cluster", cache / "trialrun" / "node")
