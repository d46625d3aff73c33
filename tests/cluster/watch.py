"""Hears of every change of a collection, in the order in which they were made: more than polling can see."""

import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlencode, urlsplit

from cluster.api import Json
from cluster.testcluster import Cluster


@dataclass(frozen=True)
class Change:
    """`kind` is ADDED, MODIFIED or DELETED; `heard_at` is of `time.time()`."""

    heard_at: float
    kind: str
    seen: Json

    @property
    def version(self) -> int:
        """Its place in the order of all changes of this API server, whatever their collection."""
        return int(self.seen["metadata"]["resourceVersion"])


class Watch:
    """The changes of a collection from now on. Use as a context manager; it fails if it has missed any."""

    def __init__(self, cluster: Cluster, path: str) -> None:
        self.changes: list[Change] = []
        version = cluster.api.get(path, limit="1")["metadata"]["resourceVersion"]
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3600"}
        host = urlsplit(cluster.access.server).netloc
        self._connection = http.client.HTTPSConnection(host, context=cluster.access.ssl_context())
        self._connection.request("GET", f"{path}?{urlencode(query)}", headers=cluster.access.headers)
        self._answer = self._connection.getresponse()
        assert self._connection.sock is not None
        self._socket: socket.socket = self._connection.sock
        self._stopping = False
        self._broken = ""
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._connection.close()
        if error is None:
            assert not self._broken, f"the test's own watch ended: {self._broken}"

    def _listen(self) -> None:
        try:
            while line := self._answer.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    self._broken = str(event["object"])
                    return
                self.changes.append(Change(time.time(), event["type"], event["object"]))
            why = "the API server ended it"
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = repr(error)
        if not self._stopping:
            self._broken = why
