"""What the images hold and what they take."""

import pytest

from cluster.testcluster import Cluster, CommandFailed
from node import images, place
from node.release import NAMESPACE, RELEASE

OPERATOR_MIB, OPERATOR_IDLE_MIB = 250, 160


def _in_operator(cluster: Cluster, *command: str) -> str:
    return cluster.kubectl("exec", "-n", NAMESPACE, f"deployment/{RELEASE}", "--", *command)


def test_the_operators_image_is_small(cluster: Cluster) -> None:
    # du can't enter root's own folders, which are empty, and says so by its exit code.
    said = _in_operator(cluster, "sh", "-c", "du --summarize --one-file-system -m / 2> /dev/null || true")
    assert int(said.split()[0]) < OPERATOR_MIB


def test_the_operators_image_has_no_torch(cluster: Cluster) -> None:
    with pytest.raises(CommandFailed, match="No module named 'torch'"):
        _in_operator(cluster, "python", "-c", "import torch")


def test_an_idle_operator_takes_little_memory(cluster: Cluster) -> None:
    status = _in_operator(cluster, "cat", "/proc/1/status")
    (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    assert resident / 1024 <= OPERATOR_IDLE_MIB


def test_the_images_say_their_version(our_node: Cluster) -> None:  # noqa: ARG001 - it has built them
    for image in ("operator", "trainer"):
        labels = images.labels(place.default(), f"trialrun/{image}:{place.VERSION}")
        assert labels["org.opencontainers.image.version"] == place.VERSION
