"""Stands between a program and the API server, and does to its requests and watches what networks and servers do.

A program is given `kubeconfig_of(...)`, and never knows. What is to go wrong is said by the two hooks.
"""

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from cluster.component import free_port
from cluster.kubeconfig import Access

WRITES = ("POST", "PATCH", "PUT", "DELETE")
_HOP = {"host", "content-length", "transfer-encoding", "connection", "content-encoding", "accept-encoding"}


@dataclass(frozen=True)
class Request:
    """A request of the program; `number` counts the requests, `write` the writes, from 1 (0: it is none)."""

    number: int
    write: int
    method: str
    path: str
    query: str
    body: bytes
    is_watch: bool

    @property
    def kind(self) -> str:
        """What is done to which kind of object, as in `PATCH hyperparamsearches/status`."""
        _, _, rest = self.path.partition("/namespaces/")
        _, plural, *name_and_part = rest.split("/")
        return "/".join([f"{self.method} {plural}", *name_and_part[1:]])


@dataclass(frozen=True)
class Fault:
    """What happens to a request. `lost` and `unanswered` cut the connection before and after it is forwarded."""

    status: int = 0
    retry_after: int | None = None
    lost: bool = False
    unanswered: bool = False
    delay_seconds: float = 0.0
    then: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class WatchFault:
    """What happens to an event of a watch; `stalls` lets nothing more through.

    `gone` ends the watch with 410, `fails` with 500, for which kopf ends the process.
    """

    drop: bool = False
    repeat: bool = False
    delay_seconds: float = 0.0
    gone: bool = False
    fails: bool = False
    stalls: bool = False
    cut: bool = False


NO_FAULT, NO_WATCH_FAULT = Fault(), WatchFault()


def _watch_error(code: int, reason: str) -> bytes:
    status = {"kind": "Status", "code": code, "reason": reason, "message": "made up by the test"}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


_GONE, _FAILED = _watch_error(410, "Expired"), _watch_error(500, "InternalError")


@dataclass
class FaultyApi:
    """The proxy, in a thread of its own. Use as a context manager."""

    access: Access
    on_request: Callable[[Request], Fault] = lambda _: NO_FAULT
    on_event: Callable[[str, dict[str, Any]], WatchFault] = lambda _path, _event: NO_WATCH_FAULT
    # Names that were created, by the plural of their kind: successes only.
    created: dict[str, list[str]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    requests: int = 0
    watches: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.port = free_port()
        self._live: list[tuple[str, web.StreamResponse]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def kubeconfig_of(self, kubeconfig: Path) -> Path:
        """The kubeconfig of the same user, by way of this proxy."""
        config = yaml.safe_load(kubeconfig.read_text())
        for cluster in config["clusters"]:
            cluster["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        file = kubeconfig.with_name(f"{kubeconfig.name}-by-{self.port}")
        file.write_text(yaml.safe_dump(config))
        return file

    def forget(self, *plurals: str) -> None:
        """Ends the watches of some kinds with 410, as if their resourceVersion were no longer known."""

        async def end() -> None:
            for plural, response in self._live:
                if plural in plurals:
                    with suppress(ConnectionError):
                        await response.write(_GONE)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(20)

    def __enter__(self) -> "FaultyApi":
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # Without the administrator's certificate, which the API server would believe before the program's own token.
        nobody = replace(self.access, certificate=b"", key=b"", token="")
        connector = aiohttp.TCPConnector(limit=0, ssl=nobody.ssl_context())
        endless = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=endless, read_bufsize=2**22) as self._session:
            application = web.Application(client_max_size=2**24)
            application.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self.port)
            await site.start()
            self._ready.set()
            await self._stop.wait()
            await site.stop()
            await asyncio.sleep(0.05)  # a connection that was accepted last is known to the runner only then
            await runner.cleanup()
            under_way = asyncio.all_tasks() - {asyncio.current_task()}
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        await asyncio.sleep(0.2)  # a connection with TLS is not closed at once

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        number = 0
        if request.method in WRITES:
            self.writes.append(f"{request.method} {request.path}")
            number = len(self.writes)
        is_watch = request.query.get("watch") in ("true", "1")
        sent = await request.read()
        fault = self.on_request(
            Request(self.requests, number, request.method, request.path, request.query_string, sent, is_watch)
        )
        await asyncio.sleep(fault.delay_seconds)
        if fault.lost:
            fault.then()
            return self._cut(request)
        if fault.status:
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            said = {"kind": "Status", "code": fault.status, "reason": "Injected", "message": "made up by the test"}
            return web.json_response(said, status=fault.status, headers=headers)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        try:
            async with self._session.request(
                request.method,
                f"{self.access.server}{request.raw_path}",
                headers=headers,
                data=sent or None,
            ) as answer:
                if is_watch and answer.status == 200:
                    return await self._watch(request, answer)
                body = await answer.read()
        except aiohttp.ClientError:
            return self._cut(request)
        if request.method == "POST" and answer.status == 201:
            name = json.loads(body).get("metadata", {}).get("name", "")
            self.created.setdefault(request.path.rpartition("/")[2], []).append(name)
        if fault.unanswered:
            fault.then()
            return self._cut(request)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        return web.Response(status=answer.status, body=body, headers=kept)

    async def _watch(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        self.watches[plural] = self.watches.get(plural, 0) + 1
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._live.append((plural, response))
        try:
            await self._pass_on(request.path, answer, response)
        except (ConnectionError, aiohttp.ClientError):
            pass  # either side has gone
        finally:
            self._live.remove((plural, response))
        return response

    async def _pass_on(self, path: str, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
        async for line in answer.content:
            fault = self.on_event(path, json.loads(line))
            await asyncio.sleep(fault.delay_seconds)
            if fault.stalls:
                await self._stop.wait()
            if fault.cut or fault.stalls:
                return
            if fault.gone or fault.fails:
                await response.write(_GONE if fault.gone else _FAILED)
                return
            for _ in range(0 if fault.drop else 2 if fault.repeat else 1):
                await response.write(line)

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
