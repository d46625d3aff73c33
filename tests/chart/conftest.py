"""What chart tests share: the chart rendered by each Helm, and a control plane of their own to install it into.

Their own, because CRDs exist once in a cluster, and these tests install, upgrade and delete them.
"""

import subprocess
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.controlplane import ControlPlane
from cluster.programs import build
from eventually import eventually

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "trialrun"
HELMS = ("helm3", "helm4")
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KUBERNETES = "1.34.0"  # without a cluster, Helm must be told whom it renders for

Document = dict[str, Any]
Render = Callable[..., list[Document]]


class RenderingFailed(Exception):
    """Helm refused; the message is what it said."""


@cache
def render(helm: str, *arguments: str) -> list[Document]:
    """The chart's objects, as `helm template` makes them. Equal questions are asked once."""
    command = [str(build.program(helm)), "template", "trialrun", str(CHART), "-n", "trialrun-system"]
    done = subprocess.run([*command, "--kube-version", KUBERNETES, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RenderingFailed(done.stderr)
    return [document for document in yaml.load_all(done.stdout, FAST) if document]


@pytest.fixture(params=HELMS)
def rendered(request: pytest.FixtureRequest) -> Render:
    """Renders with each Helm in turn."""
    return partial(render, request.param)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that no other tests use. Helm is told of PyTorchJobs, a little after they are served."""
    with ControlPlane.start(tmp_path_factory.mktemp("chart")) as started:
        eventually(lambda: "pytorchjobs" in started.kubectl("api-resources", "--api-group=kubeflow.org"))
        yield started


def only(documents: list[Document], kind: str, name: str | None = None) -> Document:
    """The one object of a kind, or of a kind and name."""
    (found,) = (each for each in documents if each["kind"] == kind and name in (None, each["metadata"]["name"]))
    return found
