"""An API server in miniature: it keeps objects by their path, and every write raises their resourceVersion."""

from collections.abc import AsyncIterator
from typing import Any

from trialrun_operator.kube import Kube, Refused
from trialrun_operator.names import Resource
from trialrun_operator.observe import timestamp
from unit.builders import START

Document = dict[str, Any]


class ApiServer(Kube):
    """Answers what the operator asks for, but for deletions; labels select by their presence only."""

    def __init__(self) -> None:
        super().__init__(lambda _verb, _code: None)
        self.objects: dict[str, Document] = {}
        self.version = 1

    async def get(self, path: str, **_: Any) -> Document:
        if path not in self.objects:
            raise Refused(f"GET {path}", 404, "NotFound", "", None)
        return self.objects[path]

    async def pages(
        self, resource: Resource, namespace: str | None, selector: str = "", **_: Any
    ) -> AsyncIterator[tuple[list[Document], int]]:
        wanted = {each.partition("=")[0] for each in selector.split(",") if each}
        under = resource.path(namespace) + "/"
        found = [each for path, each in self.objects.items() if path.startswith(under)]
        yield [each for each in found if wanted <= each["metadata"].get("labels", {}).keys()], self.version

    async def create(self, path: str, body: Document, **_: Any) -> Document:
        place = f"{path}/{body['metadata']['name']}"
        if place in self.objects:
            raise Refused(f"POST {path}", 409, "AlreadyExists", "", None)
        known = {"namespace": path.split("/namespaces/")[1].split("/")[0], "uid": place}
        metadata = body["metadata"] | known | {"creationTimestamp": timestamp(START)}
        return self._write(place, body | {"metadata": metadata})

    async def merge(self, path: str, body: Document, **_: Any) -> Document:
        known = self.objects[path]
        if body["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
            raise Refused(f"PATCH {path}", 409, "Conflict", "", None)
        return self._write(path, known | {"data": known["data"] | body["data"]})

    async def replace_status(self, path: str, version: str, status: Document) -> Document:
        assert self.objects[path]["metadata"]["resourceVersion"] == version
        return self._write(path, self.objects[path] | {"status": status})

    def _write(self, path: str, document: Document) -> Document:
        self.version += 1
        self.objects[path] = document | {"metadata": document["metadata"] | {"resourceVersion": str(self.version)}}
        return self.objects[path]
