"""Takes the place of a jobs' controller and of kubelets: gives each job a pod that succeeded, and completes it.

It asks as little of the API server as that takes, three writes for each job: what is measured is the operator.
"""

import asyncio
import json
import time
from datetime import UTC, datetime
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import aiohttp

from cluster import kubeconfig as reader
from cluster.kubeconfig import Access
from trialrun_operator.backends import BACKENDS
from trialrun_operator.backends.backend import Backend
from trialrun_operator.backends.trainjob import RUNTIMES

IN_FLIGHT = 16
# The answer to a write is of no interest beyond its code and, for a pod, its metadata.
_HEADERS = {
    "Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
    "Content-Type": "application/json",
}


class StandIn:
    """Completes every job of a backend's in a namespace with a pod that says it succeeded.

    It does so at once, or when there are `together`. When pods end is told to `ends`, in seconds since 1970.
    """

    def __init__(
        self, access: Access, namespace: str, backend: Backend, together: int, ends: "Queue[float] | None"
    ) -> None:
        self._access = access
        self._backend = backend
        self._namespace = namespace
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._jobs = backend.jobs.path(namespace)
        self._runtimes: dict[str, dict[str, Any]] = {}
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._together = together
        self._ends = ends

    async def run(self) -> None:
        """Works for ever."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self._access.ssl_context())
        endless = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            self._access.server,
            connector=connector,
            headers=self._access.headers,
            timeout=endless,
            read_bufsize=2**22,
        ) as self._session:
            query = {"watch": "1", "timeoutSeconds": "3000"}
            taken: set[str] = set()
            waiting: list[dict[str, Any]] = []
            while True:  # the API server ends the watch of a client that falls behind
                async with self._session.get(self._jobs, params=query) as answer:
                    async for line in answer.content:
                        if not line.startswith(b'{"type":"ADDED"'):  # of our own writes
                            continue
                        job = json.loads(line)["object"]
                        if not job.get("status") and job["metadata"]["uid"] not in taken:
                            taken.add(job["metadata"]["uid"])
                            waiting.append(job)
                        if len(waiting) == self._together:
                            for job in waiting:
                                task = asyncio.create_task(self._complete(job))
                                self._tasks.add(task)
                                task.add_done_callback(self._tasks.discard)
                            waiting.clear()

    async def _complete(self, job: dict[str, Any]) -> None:
        async with self._slots:
            metadata, kind = job["metadata"], {"apiVersion": job["apiVersion"], "kind": job["kind"]}
            pod = self._pod_of_pytorch_job(job) if self._backend.container == "pytorch" else await self._pod_of(job)
            labels = pod["metadata"]["labels"]
            await self._send("POST", self._pods, pod)
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            index = int(labels["trialrun.dev/index"])
            report = json.dumps({"clock": int(time.time() * 1000), "metrics": {"validMse": 1.0 + index}})
            ended = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now, "message": report}
            container = {"name": self._backend.container, "image": "i", "imageID": "", "ready": False,
                         "restartCount": 0, "state": {"terminated": ended}}  # fmt: skip
            # Of a status that is replaced, as the training operator does it, the API server need not encode, patch
            # and decode the object that it has. The rest of the object it keeps.
            over: dict[str, Any] = {"phase": "Succeeded", "startTime": now, "containerStatuses": [container]}
            status = {"metadata": pod["metadata"], "status": over}
            if self._ends is not None:
                self._ends.put(time.time())
            await self._send("PUT", f"{self._pods}/{pod['metadata']['name']}/status", status)
            done = {"status": "True", "reason": "x", "message": "", "lastTransitionTime": now}
            if self._backend.container == "pytorch":
                done |= {"type": "Succeeded", "lastUpdateTime": now}
                over = {"conditions": [done], "completionTime": now, "replicaStatuses": {}}
            else:
                over = {"conditions": [done | {"type": "Complete"}]}
            status = {**kind, "metadata": metadata, "status": over}
            await self._send("PUT", f"{self._jobs}/{metadata['name']}/status", status)

    def _pod_of_pytorch_job(self, job: dict[str, Any]) -> dict[str, Any]:
        metadata, template = job["metadata"], job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
        labels = template["metadata"]["labels"] | {
            "training.kubeflow.org/replica-type": "master",
            "training.kubeflow.org/replica-index": "0",
        }
        kind = {"apiVersion": job["apiVersion"], "kind": job["kind"]}
        owner = {**kind, "name": metadata["name"], "uid": metadata["uid"], "controller": True}
        return {
            "metadata": {"name": f"{metadata['name']}-master-0", "labels": labels, "ownerReferences": [owner]},
            "spec": {**template["spec"], "restartPolicy": "Never"},
        }

    async def _pod_of(self, job: dict[str, Any]) -> dict[str, Any]:
        """The pod of a TrainJob, whose owner is a Job that nobody made."""
        name, runtime = job["metadata"]["name"], job["spec"]["runtimeRef"]["name"]
        if runtime not in self._runtimes:
            async with self._session.get(RUNTIMES.path(self._namespace, runtime)) as answer:
                self._runtimes[runtime] = await answer.json()
        (node,) = self._runtimes[runtime]["spec"]["template"]["spec"]["replicatedJobs"]
        spec, trainer = node["template"]["spec"]["template"]["spec"], job["spec"]["trainer"]
        (patch,) = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        labels = patch["template"]["spec"]["template"]["metadata"]["labels"]
        container = spec["containers"][0] | {part: trainer[part] for part in ("args", "command") if part in trainer}
        container["env"] = [*container.get("env", ()), *trainer["env"]]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": f"{name}-node-0", "controller": True}
        return {
            "metadata": {
                "name": f"{name}-node-0-0",
                "labels": labels | {"batch.kubernetes.io/job-completion-index": "0"},
                "ownerReferences": [owner | {"uid": job["metadata"]["uid"]}],
            },
            "spec": {**spec, "containers": [container]},
        }

    async def _send(self, method: str, path: str, body: dict[str, Any]) -> None:
        async with self._session.request(method, path, data=json.dumps(body), headers=_HEADERS) as answer:
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {await answer.text()}")
            await answer.read()


def stand_in(
    kubeconfig: Path, namespace: str, kind: str, go: Event, together: int = 1, ends: "Queue[float] | None" = None
) -> None:
    """The stand-in's process: begins when told to, and works until it is ended."""
    go.wait()
    asyncio.run(StandIn(reader.read(kubeconfig), namespace, BACKENDS[kind], together, ends).run())
