"""Speaks to an API server in plain JSON: small enough that a test sees every request that it makes."""

import http.client
import json
import ssl
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from cluster.kubeconfig import Access

Json = dict[str, Any]

STRATEGIC_MERGE = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class ApiError(Exception):
    """The API server refused; `code` and `reason` are as in its Status object."""

    def __init__(self, request: str, code: int, reason: str, message: str) -> None:
        super().__init__(f"{request}: {code} {reason}: {message}")
        self.code = code
        self.reason = reason


class Api:
    """Requests by path: `api.get("/api/v1/namespaces/default/pods", labelSelector="a=b")`. Threads may share it."""

    def __init__(self, access: Access) -> None:
        self._connections: list[http.client.HTTPSConnection] = []
        self._host = urlsplit(access.server)
        self._headers = {"Accept": "application/json", **access.headers}
        self._ssl = access.ssl_context()
        self._local = threading.local()

    def close(self) -> None:
        """Ends the connections; a further request makes a new one."""
        self._local = threading.local()
        while self._connections:
            self._connections.pop().close()

    def __del__(self) -> None:
        self.close()

    def get(self, path: str, **query: str) -> Json:
        return self.request("GET", path, query=query)

    def list(self, path: str, **query: str) -> "list[Json]":
        items: list[Json] = self.request("GET", path, query=query)["items"]
        return items

    def create(self, path: str, body: Json) -> Json:
        return self.request("POST", path, body)

    def replace(self, path: str, body: Json) -> Json:
        return self.request("PUT", path, body)

    def patch(self, path: str, body: Json, kind: str = MERGE) -> Json:
        return self.request("PATCH", path, body, kind=kind)

    def apply(self, path: str, body: Json) -> Json:
        """Server-side apply: creates the object or brings it into line, at any size."""
        return self.request("PATCH", path, body, kind=APPLY, query={"fieldManager": "tests", "force": "true"})

    def delete(self, path: str, *, grace_seconds: int | None = None, propagation: str = "Background") -> Json:
        options: Json = {"propagationPolicy": propagation}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        return self.request("DELETE", path, options)

    def get_if_there(self, path: str) -> Json | None:
        try:
            return self.get(path)
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    def serves(self, collection: str) -> bool:
        """Whether objects of a kind can be had already; shortly after its CRD was made they can't."""
        try:
            self.get(collection, limit="1")
        except ApiError as error:
            if error.code not in (404, 429, 503):
                raise
            return False
        return True

    def delete_if_there(self, path: str, *, grace_seconds: int | None = None) -> None:
        try:
            self.delete(path, grace_seconds=grace_seconds)
        except ApiError as error:
            if error.code != 404:
                raise

    def request(
        self,
        method: str,
        path: str,
        body: Json | bytes | None = None,
        *,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Json:
        target = f"{path}?{urlencode(query)}" if query else path
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        response, answer = self._exchange(method, target, content, {**self._headers, "Content-Type": kind})
        document: Json = json.loads(answer) if answer[:1] == b"{" else {"message": answer.decode(errors="replace")}
        if response.status >= 400:
            message = document.get("message", "")
            raise ApiError(f"{method} {path}", response.status, document.get("reason", response.reason), message)
        return document

    def _exchange(
        self, method: str, target: str, content: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            try:
                return self._answer(connection, method, target, content, headers)
            except (http.client.BadStatusLine, ConnectionError, ssl.SSLEOFError):
                pass  # The server closed the idle connection, as it does after 90 s.
        connection = http.client.HTTPSConnection(self._host.netloc, context=self._ssl, timeout=60)
        self._local.connection = connection
        self._connections.append(connection)
        return self._answer(connection, method, target, content, headers)

    def _answer(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        target: str,
        content: bytes | None,
        headers: dict[str, str],
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """The whole answer. A connection on which anything went wrong can't be used again."""
        try:
            connection.request(method, target, content, headers)
            response = connection.getresponse()
            return response, response.read()
        except BaseException:
            connection.close()
            self._local.connection = None
            raise
