"""Nodes that exist only as objects: made ready, kept alive by their leases, and taken away again."""

import asyncio
import datetime
import secrets
import time
from dataclasses import dataclass
from http.client import HTTPException

from cluster.api import STRATEGIC_MERGE, Api, ApiError, Json
from eventually import eventually

LABEL = "trialrun.dev/simulated-node"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
HEARTBEAT_SECONDS = 10.0
LEASE_SECONDS = 40


@dataclass(frozen=True)
class NodeSize:
    """What a node offers to pods, as Kubernetes quantities. Pods that ask for more stay unschedulable."""

    cpu: str = "512"
    memory: str = "4Ti"
    pods: str = "2000"


class SimulatedNodes:
    """Some nodes of one size. A node that is not simulated takes no new pods meanwhile, or it would run them."""

    def __init__(self, api: Api, count: int, size: NodeSize) -> None:
        self._api = api
        self._size = size
        self._cordoned: list[str] = []
        suffix = secrets.token_hex(3)
        self.names = [f"simulated-{suffix}-{index}" for index in range(count)]

    def create(self) -> None:
        """Returns when the scheduler may use the nodes."""
        for name in self.names:
            self._create(name)
        for node in self._api.list("/api/v1/nodes", labelSelector=f"!{LABEL}"):
            if not node["spec"].get("unschedulable"):
                self._cordoned.append(node["metadata"]["name"])
                self._api.patch(f"/api/v1/nodes/{self._cordoned[-1]}", {"spec": {"unschedulable": True}})
        # A new node is tainted as not ready until the node controller has seen that it is.
        eventually(
            lambda: all("taints" not in self._api.get(f"/api/v1/nodes/{name}")["spec"] for name in self.names),
            what="the simulated nodes lose their taints",
        )

    def delete(self) -> None:
        """Takes the nodes away, with the pods that are still on them."""
        for name in self.names:
            for pod in self._api.list("/api/v1/pods", fieldSelector=f"spec.nodeName={name}"):
                place = pod["metadata"]
                self._api.delete_if_there(
                    f"/api/v1/namespaces/{place['namespace']}/pods/{place['name']}", grace_seconds=0
                )
            self._api.delete_if_there(f"/api/v1/nodes/{name}")
        for name in self._cordoned:
            self._api.patch(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": None}})

    async def keep_alive(self) -> None:
        """Renews the leases, for ever; without it the node controller would evict the pods.

        The API server may be away for a while, as it is when a test stops it; a lease outlives a few missed renewals.
        """
        renewed_at = time.monotonic()
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await asyncio.to_thread(self._renew)
                renewed_at = time.monotonic()
            except (OSError, HTTPException, ApiError):
                if time.monotonic() - renewed_at > LEASE_SECONDS:
                    raise

    def _create(self, name: str) -> None:
        labels = {LABEL: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        node = self._api.create("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
        room = {"cpu": self._size.cpu, "memory": self._size.memory, "pods": self._size.pods}
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "a simulated kubelet is posting ready status",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        self._api.patch(f"/api/v1/nodes/{name}/status", {"status": status}, STRATEGIC_MERGE)
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
        lease = {"metadata": {"name": name, "ownerReferences": [owner]}, "spec": _held_by(name)}
        self._api.create(LEASES, lease)

    def _renew(self) -> None:
        for name in self.names:
            self._api.patch(f"{LEASES}/{name}", {"spec": _held_by(name)})


def _held_by(name: str) -> Json:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
