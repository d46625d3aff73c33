"""What a cluster gets on top: namespaces, volumes, and the chart."""

from cluster.testcluster import Cluster
from node.images import Images
from node.place import ROOT

NAMESPACE = "trialrun-system"
RELEASE = "trialrun"
CHART = ROOT / "helm" / "trialrun"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def images(wanted: Images) -> list[str]:
    """The values that name these images. The annotation changes with the operator's, and so do its pods."""
    (operator,) = (image for name, image in wanted.items() if "/operator:" in name)
    return [f"podAnnotations.image={operator}"]


def install(cluster: Cluster, *values: str) -> None:
    """Installs the chart, or upgrades to it, and waits until the operator answers."""
    path = f"/api/v1/namespaces/{NAMESPACE}"
    if cluster.api.get_if_there(path) is None:
        cluster.api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": RESTRICTED}})
    settings = [part for value in values for part in ("--set", value)]
    cluster.helm("upgrade", "--install", RELEASE, str(CHART), "-n", NAMESPACE, *settings)
    cluster.kubectl("rollout", "status", "-n", NAMESPACE, f"deployment/{RELEASE}", "--timeout=110s")
