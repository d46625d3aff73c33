"""The chart on a cluster: installed, upgraded, waited for."""

from pathlib import Path

from cluster.testcluster import Cluster
from node.images import Images
from node.place import ROOT

NAMESPACE = "trialrun-system"
RELEASE = "trialrun"
CHART = ROOT / "helm" / "trialrun"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def install(cluster: Cluster, *options: str) -> None:
    """Installs the chart into a namespace of its own, or upgrades to it, and waits until the operator answers."""
    if cluster.api.get_if_there(f"/api/v1/namespaces/{NAMESPACE}") is None:
        cluster.api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": RESTRICTED}})
    upgrade(cluster, CHART, *options)


def upgrade(cluster: Cluster, chart: Path, *options: str) -> None:
    """Makes the release one of this chart."""
    cluster.helm("upgrade", "--install", RELEASE, str(chart), "-n", NAMESPACE, *options)
    cluster.kubectl("rollout", "status", "-n", NAMESPACE, f"deployment/{RELEASE}", "--timeout=110s")


def values(wanted: Images) -> list[str]:
    """Options for a node that has these images. The annotation changes with the operator's, and so do its pods."""
    (operator,) = (image for name, image in wanted.items() if "/operator:" in name)
    return ["--set-string", f"podAnnotations.image={operator}"]
