"""Volumes of the one node: folders made beforehand, which claims are bound to. A cloud would make them on demand."""

import shutil
from pathlib import Path

from cluster.testcluster import Cluster
from eventually import eventually
from node.place import NODE

COUNT = 12
CLASS = "local"
STORAGE = "/apis/storage.k8s.io/v1/storageclasses"
VOLUMES = "/api/v1/persistentvolumes"


def make(cluster: Cluster, folder: Path) -> None:
    """A default storage class, and volumes of it where they are missing or used up. Each is for one claim, once."""
    if cluster.api.get_if_there(f"{STORAGE}/{CLASS}") is None:
        cluster.api.create(STORAGE, {
            "metadata": {
                "name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        })  # fmt: skip
    there = {volume["metadata"]["name"]: volume["status"]["phase"] for volume in cluster.api.list(VOLUMES)}
    for number in range(COUNT):
        name = f"local-{number}"
        path = folder / name
        if there.get(name) == "Released":
            cluster.api.delete(f"{VOLUMES}/{name}")
            eventually(
                lambda name=name: cluster.api.get_if_there(f"{VOLUMES}/{name}") is None, what=f"{name} is gone"
            )
            shutil.rmtree(path)
        if there.get(name, "Released") == "Released":
            path.mkdir(parents=True)
            cluster.api.create(VOLUMES, _volume(name, path))


def _volume(name: str, path: Path) -> dict[str, object]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
