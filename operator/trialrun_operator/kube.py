"""Speaks to the API server; nothing else does. Requests by path, answers as JSON, failures as two kinds of error.

It uses `kubernetes.aio` for configuration, authentication and connections, but not its models: one object of theirs
costs more than reading a hundred as JSON.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from trainer.experiment.redact import redacted
from trialrun_operator.names import Resource

Document = dict[str, Any]

IN_FLIGHT = 8
PAGE = 500
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1"
_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


class ApiFailure(Exception):
    """A request had no effect that is known of; `retry_after` seconds is what the API server asks to wait."""

    retry_after: float | None = None


class Unreachable(ApiFailure):
    """There was no answer. What was asked for may have been done or not."""


class Refused(ApiFailure):
    """The API server said no; `code`, `reason` and `message` are as in its Status object, without secrets."""

    def __init__(self, request: str, code: int, reason: str, message: str, retry_after: float | None) -> None:
        message = redacted(message)
        super().__init__(f"{request}: {code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def final(self) -> bool:
        """Whether asking again at once would be answered alike: not for an overloaded or failing server."""
        return 400 <= self.code < 500 and self.code not in (401, 408, 429)


async def all_of(*requests: Awaitable[Any]) -> list[Any]:
    """Waits until every one has ended, gives their results in order.

    Raises:
        BaseException: the first failure, in the order of the requests.
    """
    results = await asyncio.gather(*requests, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


class Kube:
    """The API server. `called` hears of each request: its verb and the answer's code, 0 for none."""

    def __init__(self, called: Callable[[str, int], None]) -> None:
        self._called = called
        self._client: ApiClient | None = None
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def connect(self) -> None:
        """Uses the pod's service account, or else the kubeconfig."""
        configuration = Configuration()
        # Otherwise ~/.netrc and proxies are looked for, in another thread, at every request.
        configuration.client_session_kwargs = {"trust_env": False}
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            await config.load_kube_config(client_configuration=configuration)
        self._client = ApiClient(configuration)
        self._client.user_agent = "trialrun-operator"

    async def close(self) -> None:
        """Ends the connections."""
        if self._client is not None:
            await self._client.close()

    async def get(self, path: str, *, metadata_only: bool = False) -> Document:
        """One object."""
        return await self.request("GET", path, accept=_accept(metadata_only))

    async def pages(
        self,
        resource: Resource,
        namespace: str | None,
        selector: str = "",
        *,
        fields: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[tuple[list[Document], int]]:
        """All objects of a kind, in pages of the same moment, with that moment's resourceVersion."""
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        query |= {"fieldSelector": fields} if fields else {}
        accept = f"{_METADATA.format(list='List')},{_JSON}" if metadata_only else _JSON
        while True:
            page = await self.request("GET", resource.path(namespace), query=query, accept=accept, verb="list")
            metadata = page["metadata"]
            yield page.get("items") or [], int(metadata["resourceVersion"])
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def create(self, path: str, body: Document, *, metadata_only: bool = False) -> Document:
        """The object as it was made."""
        return await self.request("POST", path, body, accept=_accept(metadata_only))

    async def merge(self, path: str, body: Document, *, metadata_only: bool = False) -> Document:
        """The object after a JSON merge patch; a resourceVersion in `body` makes it conditional."""
        return await self.request("PATCH", path, body, "application/merge-patch+json", _accept(metadata_only))

    async def replace_status(self, path: str, version: str, status: Document) -> Document:
        """The object with this status in place of its old one, unless it has changed since `version` (409)."""
        patch: list[Document] = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/status", "value": status},
        ]
        return await self.request("PATCH", f"{path}/status", patch, "application/json-patch+json")

    async def delete(self, path: str, uid: str) -> None:
        """Deletes the object with this UID, and what it owns thereafter; one of another UID stays, as does none."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self.request("DELETE", path, options)
        except Refused as refused:
            if refused.code not in (404, 409):
                raise

    async def request(
        self,
        method: str,
        path: str,
        body: Document | Sequence[Document] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        *,
        query: Mapping[str, str] | None = None,
        verb: str = "",
    ) -> Document:
        """The answer to a request. All the others ask through it: without a server, this alone has to be replaced."""
        assert self._client is not None, "connect() comes first"  # noqa: S101
        code = 0
        async with self._slots:
            try:
                headers = {"Accept": accept, "Content-Type": content_type}
                _, url, headers, *_ = await self._client.param_serialize(
                    method, path, header_params=headers, auth_settings=["BearerToken"]
                )
                target = f"{url}?{urlencode(query)}" if query else url
                response = await self._client.rest_client.request(
                    method, target, headers=headers, body=body, _request_timeout=_TIMEOUT
                )
                answer = await response.read()
                code = response.status
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise Unreachable(f"{method} {path}: no answer: {type(error).__name__} {error}") from error
            finally:
                self._called(verb or _VERBS[method], code)
        document = _document(answer)
        if code >= 400 or document is None:
            said = document or {"reason": "Unreadable", "message": answer[:200].decode(errors="replace")}
            wait = response.headers.get("Retry-After", "")
            raise Refused(
                f"{method} {path}",
                code if code >= 400 else 502,
                str(said.get("reason", "")),
                str(said.get("message", "")),
                float(wait) if wait.isdigit() else None,
            )
        return document


def _accept(metadata_only: bool) -> str:
    return f"{_METADATA.format(list='')},{_JSON}" if metadata_only else _JSON


def _document(answer: bytes) -> Document | None:
    try:
        document = json.loads(answer)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
