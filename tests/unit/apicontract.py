"""What the operator relies on from an API server, as a table of requests and their answers.

`test_fakekube` holds the server in memory to it, and `cluster/test_apicontract` the real one. Names of versions and
UIDs are given in the order in which they are seen: "v1" is the first resourceVersion that a sequence comes across.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from trialrun_operator.kube import Kube, Refused
from trialrun_operator.names import CONFIG_MAPS, PODS, SEARCHES, Resource
from unit.builders import a_document

Document = dict[str, Any]
# Has the garbage collector do its work, and returns once the object at a path is gone.
Collect = Callable[[str], None]


@dataclass
class Session:
    """One sequence of requests in a namespace; `seen` has the resourceVersions and UIDs by their names here."""

    kube: Kube
    namespace: str
    collect: Collect
    seen: dict[str, str] = field(default_factory=dict)

    def name(self, letter: str, value: str) -> str:
        """The name of a value, a new one if it was not seen before."""
        known = {each: name for name, each in self.seen.items() if name.startswith(letter)}
        return known.setdefault(value, f"{letter}{len(known) + 1}")

    def told(self, document: Document) -> Document:
        """What of an object can be compared between servers."""
        metadata = document["metadata"]
        version, uid = self.name("v", metadata["resourceVersion"]), self.name("u", metadata["uid"])
        self.seen |= {version: metadata["resourceVersion"], uid: metadata["uid"]}
        found: Document = {"version": version, "uid": uid}
        if document["kind"] == SEARCHES.kind:
            found |= {"generation": metadata["generation"], "parallel": document["spec"]["parallelTrials"]}
        if "deletionTimestamp" in metadata:
            found["deleting"] = True
        for key in ("data", "status"):
            if document.get(key) and document["kind"] != "Pod":
                found[key] = document[key]
        return found


Request = Callable[[Session], Awaitable[Any]]


def create(resource: Resource, name: str, **body: Any) -> Request:
    async def ask(session: Session) -> Any:
        owner = body.pop("owned_by", None)
        metadata: Document = {"name": name, "labels": body.pop("labels", {})}
        if owner:
            kind = {"apiVersion": CONFIG_MAPS.api_version, "kind": CONFIG_MAPS.kind}
            metadata["ownerReferences"] = [kind | {"name": owner, "uid": session.seen["u1"]}]
        whole = {"apiVersion": resource.api_version, "kind": resource.kind} | body | {"metadata": metadata}
        return session.told(await session.kube.create(resource.path(session.namespace), whole))

    return ask


def get(resource: Resource, name: str, *, metadata_only: bool = False) -> Request:
    async def ask(session: Session) -> Any:
        path = resource.path(session.namespace, name)
        found = await session.kube.get(path, metadata_only=metadata_only)
        return sorted(found) if metadata_only else session.told(found)

    return ask


def merge(resource: Resource, name: str, body: Document, *, version: str | None = None) -> Request:
    async def ask(session: Session) -> Any:
        given = {"metadata": {"resourceVersion": session.seen[version]}} if version else {}
        return session.told(await session.kube.merge(resource.path(session.namespace, name), body | given))

    return ask


def replace_status(name: str, version: str, status: Document) -> Request:
    async def ask(session: Session) -> Any:
        path = SEARCHES.path(session.namespace, name)
        return session.told(await session.kube.replace_status(path, session.seen.get(version, version), status))

    return ask


def delete(resource: Resource, name: str, uid: str = "u1", *, ignored: bool = True) -> Request:
    """By way of `Kube.delete`, which does not mind what is gone or another; or else with the server's answer."""

    async def ask(session: Session) -> Any:
        path, given = resource.path(session.namespace, name), session.seen.get(uid, uid)
        if ignored:
            return await session.kube.delete(path, given)
        return await session.kube.request("DELETE", path, {"preconditions": {"uid": given}})

    return ask


def listing(resource: Resource, selector: str, *, limit: int, between: Request | None = None) -> Request:
    """The names in each page, and whether all pages are of one version; something happens after the first."""

    async def ask(session: Session) -> Any:
        pages, versions = [], set()
        query = {"limit": str(limit), "labelSelector": selector}
        while True:
            page = await session.kube.request("GET", resource.path(session.namespace), query=query, verb="list")
            pages.append([each["metadata"]["name"] for each in page["items"]])
            versions.add(page["metadata"]["resourceVersion"])
            if not page["metadata"].get("continue"):
                return pages, len(versions) == 1
            query["continue"] = page["metadata"]["continue"]
            if between is not None and len(pages) == 1:
                await between(session)

    return ask


def collected(name: str) -> Request:
    async def ask(session: Session) -> Any:
        session.collect(CONFIG_MAPS.path(session.namespace, name))

    return ask


async def answers(session: Session, requests: list[tuple[Request, Any]]) -> list[Any]:
    """What comes of each request; a refusal is told by its code and reason."""
    found: list[Any] = []
    for ask, _ in requests:
        try:
            found.append(await ask(session))
        except Refused as refused:
            found.append(f"{refused.code} {refused.reason}")
    return found


MAP, POD = CONFIG_MAPS, PODS
SEARCH = {"spec": a_document()["spec"] | {"parallelTrials": 2}}
POD_SPEC = {"containers": [{"name": "one", "image": "one"}], "automountServiceAccountToken": False}


def _map(version: int, **data: str) -> Document:
    return {"version": f"v{version}", "uid": "u1"} | ({"data": data} if data else {})


def _search(version: int, generation: int = 1, parallel: int = 2, **status: Any) -> Document:
    made = {"version": f"v{version}", "uid": "u1", "generation": generation, "parallel": parallel}
    return made | ({"status": status} if status else {})


TABLE: dict[str, list[tuple[Request, Any]]] = {
    "a name can be taken once": [
        (get(MAP, "one"), "404 NotFound"),
        (create(MAP, "one", data={"a": "1"}), _map(1, a="1")),
        (create(MAP, "one", data={"a": "2"}), "409 AlreadyExists"),
        (get(MAP, "one"), _map(1, a="1")),
        (get(MAP, "one", metadata_only=True), ["apiVersion", "kind", "metadata"]),
    ],
    "a merge patch adds, replaces and, by null, removes": [
        (merge(MAP, "one", {"data": {"a": "1"}}), "404 NotFound"),
        (create(MAP, "one", data={"a": "1", "b": "2"}), _map(1, a="1", b="2")),
        (merge(MAP, "one", {"data": {"b": "3", "c": "4"}}), _map(2, a="1", b="3", c="4")),
        (merge(MAP, "one", {"data": {"a": None, "none": None}}), _map(3, b="3", c="4")),
        (merge(MAP, "one", {"data": {"b": "3"}}), _map(3, b="3", c="4")),
        (merge(MAP, "one", {"data": None}), _map(4)),
    ],
    "a patch with an old version is a conflict and changes nothing": [
        (create(MAP, "one", data={"a": "1"}), _map(1, a="1")),
        (merge(MAP, "one", {"data": {"a": "2"}}, version="v1"), _map(2, a="2")),
        (merge(MAP, "one", {"data": {"a": "3"}}, version="v1"), "409 Conflict"),
        (merge(MAP, "one", {"data": {"a": "2"}}, version="v1"), "409 Conflict"),
        (get(MAP, "one"), _map(2, a="2")),
    ],
    "spec and status are written apart, and only the spec counts generations": [
        (create(SEARCHES, "one", **SEARCH, status={"phase": "Running"}), _search(1)),
        (replace_status("one", "v1", {"phase": "Pending", "failed": 0}), _search(2, phase="Pending", failed=0)),
        (replace_status("one", "v1", {"phase": "Running"}), "409 Conflict"),
        (replace_status("one", "v2", {"phase": "Running"}), _search(3, phase="Running")),
        (replace_status("one", "v3", {"phase": "Running"}), _search(3, phase="Running")),
        (merge(SEARCHES, "one", {"status": {"phase": "Failed"}}), _search(3, phase="Running")),
        (merge(SEARCHES, "one", {"spec": {"parallelTrials": 3}, "status": {"phase": "Failed"}}),
         _search(4, 2, 3, phase="Running")),
        (merge(SEARCHES, "one", {"metadata": {"labels": {"a": "1"}}}), _search(5, 2, 3, phase="Running")),
        (replace_status("two", "1", {"phase": "Running"}), "404 NotFound"),
    ],
    "what is deleted is the object that was meant": [
        (delete(MAP, "one"), None),
        (delete(MAP, "one", ignored=False), "404 NotFound"),
        (create(MAP, "one"), _map(1)),
        (delete(MAP, "one", "another"), None),
        (delete(MAP, "one", "another", ignored=False), "409 Conflict"),
        (get(MAP, "one"), _map(1)),
        (delete(MAP, "one"), None),
        (get(MAP, "one"), "404 NotFound"),
        (create(MAP, "one"), {"version": "v2", "uid": "u2"}),
    ],
    "a pod that has a node stays until its kubelet has ended it": [
        (create(POD, "waits", spec=POD_SPEC), {"version": "v1", "uid": "u1"}),
        (delete(POD, "waits", "u1"), None),
        (get(POD, "waits"), "404 NotFound"),
        (create(POD, "runs", spec=POD_SPEC | {"nodeName": "none-such"}), {"version": "v2", "uid": "u2"}),
        (delete(POD, "runs", "u2"), None),
        (get(POD, "runs"), {"version": "v3", "uid": "u2", "deleting": True}),
        (delete(POD, "runs", "u2"), None),
        (get(POD, "runs"), {"version": "v3", "uid": "u2", "deleting": True}),
    ],
    "what belongs to an object goes with it": [
        (create(MAP, "owner"), _map(1)),
        (create(MAP, "owned", owned_by="owner"), {"version": "v2", "uid": "u2"}),
        (create(MAP, "owned-too", owned_by="owner"), {"version": "v3", "uid": "u3"}),
        (delete(MAP, "owner"), None),
        (collected("owned"), None),
        (collected("owned-too"), None),
        (get(MAP, "owned"), "404 NotFound"),
    ],
    "a list is of one moment, in pages, and of what is selected": [
        *((create(MAP, name, labels={"of": "it", "n": n}), {"version": f"v{n}", "uid": f"u{n}"})
          for n, name in (("1", "c"), ("2", "a"), ("3", "b"))),
        (create(MAP, "other", labels={"n": "4"}), {"version": "v4", "uid": "u4"}),
        (listing(MAP, "of", limit=500), ([["a", "b", "c"]], True)),
        (listing(MAP, "of=it", limit=2), ([["a", "b"], ["c"]], True)),
        (listing(MAP, "of=it,n=2", limit=2), ([["a"]], True)),
        (listing(MAP, "of=nothing", limit=2), ([[]], True)),
        (listing(MAP, "of=it,n in (1,3)", limit=5), ([["b", "c"]], True)),
        (listing(MAP, "n in (2,4)", limit=5), ([["a", "other"]], True)),
        (listing(MAP, "of", limit=2, between=delete(MAP, "c", "u1")), ([["a", "b"], ["c"]], True)),
        (listing(MAP, "of", limit=1, between=create(MAP, "d", labels={"of": "it"})), ([["a"], ["b"], []], True)),
        (listing(MAP, "of", limit=5), ([["a", "b", "d"]], True)),
    ],
}  # fmt: skip
