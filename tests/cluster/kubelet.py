"""Plays the kubelet: takes the pods of simulated nodes through what a test says should happen to them."""

import asyncio
import datetime
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from types import TracebackType

import aiohttp

from cluster import podstatus
from cluster.api import STRATEGIC_MERGE, Api, Json
from cluster.behaviours import Behaviour, Succeeds
from cluster.kubeconfig import Access
from cluster.podstatus import Pod, Status
from cluster.simulatednodes import NodeSize, SimulatedNodes

Script = Callable[[Pod], Behaviour]
Work = Callable[[], Coroutine[None, None, None]]

PODS = "/api/v1/pods"
UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError)
RETRY_SECONDS = 0.2


class KubeletFailed(Exception):
    """The player itself, or a test's script, went wrong."""


class PodGone(Exception):
    """The pod was deleted, or another one has its name now."""


@dataclass
class _Played:
    """A pod of ours: as the API server showed it last, what happens to it, and the task that sees to that."""

    pod: Pod
    behaviour: Behaviour | None = None
    task: "asyncio.Task[None] | None" = None
    is_ending: bool = False


class KubeletPlayer:
    """Simulated nodes and the pods on them, played in a thread of its own. Use as a context manager.

    A pod's namespace decides which script is asked what happens to it: the one given to `play`, or else the default.
    Like a kubelet it carries out deletions and `activeDeadlineSeconds`, and does init containers first. Unlike one it
    restarts nothing, whatever the restart policy.
    """

    def __init__(
        self,
        access: Access,
        script: Script = lambda pod: Succeeds(),  # noqa: ARG005
        *,
        nodes: int = 2,
        size: NodeSize = NodeSize(),  # noqa: B008 - a frozen value
    ) -> None:
        self._access = access
        self._nodes = SimulatedNodes(Api(access), nodes, size)
        self._default = script
        self._scripts: dict[str, Script] = {}
        self._played: dict[str, _Played] = {}
        self._thread = threading.Thread(target=self._run, name="kubelet-player", daemon=True)
        self._is_watching = threading.Event()
        self._session: aiohttp.ClientSession
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        # When (`time.time()`) the API server had taken a pod's last status, by the pod's UID.
        self.ended_at: dict[str, float] = {}
        # What went wrong in the player or a script; a test's fixture fails on it.
        self.errors: list[str] = []

    def start(self) -> None:
        self._nodes.create()
        self._thread.start()
        if not self._is_watching.wait(30):
            raise KubeletFailed(f"the kubelet player saw no pods within 30 s: {self.errors}")

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._nodes.delete()
        if self.errors:
            raise KubeletFailed("\n".join(self.errors))

    def __enter__(self) -> "KubeletPlayer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def nodes(self) -> list[str]:
        """The names of its nodes."""
        return self._nodes.names

    def play(self, namespace: str, script: Script) -> None:
        """Asks `script` about each pod of a namespace that comes to a node from now on."""
        self._scripts[namespace] = script

    def forget(self, namespace: str) -> None:
        """Back to the default script; pods that were cut off from their node are let go, so that they can end."""
        self._scripts.pop(namespace, None)

        def let_go() -> None:
            for played in list(self._played.values()):
                if played.pod["metadata"]["namespace"] == namespace and played.behaviour is not None:
                    played.behaviour = None
                    self._see("MODIFIED", played.pod)

        self._loop.call_soon_threadsafe(let_go)

    def become(self, namespace: str, name: str, behaviour: Behaviour) -> None:
        """Changes what happens to a pod that is on a node already: `become(ns, "a-master-0", Fails(3))` ends it."""

        async def change() -> None:
            for played in self._played.values():
                place = played.pod["metadata"]
                if (place["namespace"], place["name"]) == (namespace, name):
                    self._begin(played, behaviour)
                    return
            raise LookupError(f"pod {namespace}/{name}: is on no simulated node")

        asyncio.run_coroutine_threadsafe(change(), self._loop).result(10)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:
            self.errors.append(f"the kubelet player ended: {error!r}")

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        connector = aiohttp.TCPConnector(limit=32, ssl=self._access.ssl_context())
        async with aiohttp.ClientSession(
            self._access.server, connector=connector, headers=self._access.headers, read_bufsize=2**22
        ) as self._session:
            forever = [asyncio.create_task(each) for each in (self._watch(), self._nodes.keep_alive())]
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait([stopped, *forever], return_when=asyncio.FIRST_COMPLETED)
            tasks = [*forever, *(each.task for each in self._played.values() if each.task)]
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result
        # A connection whose making was cancelled is closed by the loop, a little later.
        await asyncio.sleep(0.25)

    async def _watch(self) -> None:
        """Lists and watches the pods that are on a node; anything that breaks the watch starts it anew."""
        while True:
            try:
                async for kind, seen in self._events():
                    if kind == "LISTED":
                        for gone in self._played.keys() - {pod["metadata"]["uid"] for pod in seen["items"]}:
                            self._forget(gone)
                        for pod in seen["items"]:
                            self._see("ADDED", pod)
                        self._is_watching.set()
                    else:
                        self._see(kind, seen)
            except UNREACHABLE:
                await asyncio.sleep(RETRY_SECONDS)

    async def _events(self) -> AsyncIterator[tuple[str, Json]]:
        on_a_node = {"fieldSelector": "spec.nodeName!="}
        async with self._session.get(PODS, params=on_a_node, raise_for_status=True) as response:
            listing = await response.json()
        yield "LISTED", listing
        version = listing["metadata"]["resourceVersion"]
        watch = {**on_a_node, "watch": "1", "resourceVersion": version, "timeoutSeconds": "600"}
        endless = aiohttp.ClientTimeout(total=None)
        async with self._session.get(PODS, params=watch, timeout=endless, raise_for_status=True) as response:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return  # Most often 410: what the watch began with is too old.
                yield event["type"], event["object"]

    def _see(self, kind: str, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        if pod["spec"]["nodeName"] not in self._nodes.names:
            return
        if kind == "DELETED":
            self._forget(uid)
            return
        is_new = uid not in self._played
        played = self._played.setdefault(uid, _Played(pod))
        played.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            if not played.is_ending and (played.behaviour is None or played.behaviour.kubelet_answers):
                played.is_ending = True
                self._replace(played, partial(self._end, played))
        elif is_new and not _is_over(pod):
            try:
                self._begin(played, self._scripts.get(pod["metadata"]["namespace"], self._default)(pod))
            except Exception as error:
                self.errors.append(f"the script for pod {_name(pod)} failed: {error!r}")

    def _forget(self, uid: str) -> None:
        played = self._played.pop(uid, None)
        if played and played.task:
            played.task.cancel()

    def _begin(self, played: _Played, behaviour: Behaviour) -> None:
        played.behaviour = behaviour
        self._replace(played, partial(self._go_through, played, behaviour))

    def _replace(self, played: _Played, work: Work) -> None:
        if played.task:
            played.task.cancel()
        played.task = asyncio.create_task(self._guarded(played, work))

    async def _guarded(self, played: _Played, work: Work) -> None:
        try:
            await work()
        except PodGone:
            pass
        except Exception as error:
            self.errors.append(f"playing pod {_name(played.pod)} failed: {error!r}")

    async def _go_through(self, played: _Played, behaviour: Behaviour) -> None:
        deadline_seconds = played.pod["spec"].get("activeDeadlineSeconds") if behaviour.kubelet_answers else None
        try:
            async with asyncio.timeout(deadline_seconds) as deadline:
                for stage in behaviour.stages(played.pod):
                    await asyncio.sleep(stage.after_seconds)
                    await self._write(played, stage.status)
                    if stage.delete:
                        await self._delete(played, grace_seconds=0 if stage.delete == "Force" else None)
                if not _is_over(played.pod):
                    await asyncio.Event().wait()
        except TimeoutError:
            if not deadline.expired():
                raise
            await self._write(played, podstatus.past_deadline)

    async def _end(self, played: _Played) -> None:
        """Carries out a deletion: the containers are killed, and then the pod goes."""
        if not _is_over(played.pod):
            await self._write(played, partial(podstatus.ended, exit_code=podstatus.KILLED))
        await self._delete(played, grace_seconds=0)

    async def _write(self, played: _Played, status: Callable[[Pod, str], Status]) -> None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        uid = played.pod["metadata"]["uid"]
        body = {"metadata": {"uid": uid}, "status": status(played.pod, now)}
        played.pod = await self._request("PATCH", f"{_path(played.pod)}/status", body, STRATEGIC_MERGE)
        if _is_over(played.pod):
            self.ended_at[uid] = time.time()

    async def _delete(self, played: _Played, *, grace_seconds: int | None) -> None:
        options: Json = {"preconditions": {"uid": played.pod["metadata"]["uid"]}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        await self._request("DELETE", _path(played.pod), options, "application/json")

    async def _request(self, method: str, path: str, body: Json, kind: str) -> Json:
        """Tries until the API server has an answer, as a kubelet does."""
        while True:
            try:
                async with self._session.request(
                    method, path, data=json.dumps(body), headers={"Content-Type": kind}
                ) as response:
                    answer: Json = await response.json(content_type=None)
                    if response.ok:
                        return answer
                    if response.status in (404, 409):
                        raise PodGone(path)
                    if response.status != 429 and response.status < 500:
                        raise RuntimeError(f"{method} {path}: {response.status} {answer.get('message')}")
            except (*UNREACHABLE, ValueError):
                pass
            await asyncio.sleep(RETRY_SECONDS)


def _is_over(pod: Pod) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def _name(pod: Pod) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _path(pod: Pod) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
