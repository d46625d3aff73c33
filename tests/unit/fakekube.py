"""An API server in memory, and the operator's own client in front of it; `apicontract` holds it to the real one.

It does what the operator relies on and no more: no schemas, no rights, no namespaces that have to exist.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trialrun_operator.kube import Kube, Refused
from trialrun_operator.observe import timestamp

Document = dict[str, Any]

# Of these only a request to `/status` changes the status, and such a request nothing else.
_WITH_STATUS = {"hyperparamsearches", "scaletests", "pytorchjobs", "trainjobs", "pods"}
_PATH = re.compile(r"(/api/v1|/apis/[^/]+/[^/]+)(/namespaces/[^/]+)?/([^/]+)(?:/([^/]+))?(/status)?")
# A label, one that equals a value, or one that is among several.
_SELECTOR = re.compile(r"([^,= ]+)(?:=([^,]*)| in \(([^)]*)\))?(?:,|$)")
_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


@dataclass(frozen=True)
class Fault:
    """What is raised in place of an answer, and whether the request is carried out before."""

    error: BaseException
    done: bool = False


class Killed(BaseException):
    """The process of the client was killed by this request: nothing that it does afterwards reaches the server."""


class FakeApi:
    """The server: `objects` by path, `events` as watches tell them. `now` gives milliseconds since 1970."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._version = 0
        self._lists: dict[str, tuple[int, list[Document]]] = {}
        self.objects: dict[str, Document] = {}
        self.events: list[Document] = []
        self.unknown: set[str] = set()  # kinds that are not installed, by their plural
        self.quotas: dict[str, int] = {}  # how many objects a namespace may have, by "pytorchjobs.kubeflow.org"
        # What changes or refuses objects of a kind, by its plural, before they are created in a namespace.
        self.webhooks: dict[str, list[Callable[[str, Document], None]]] = {}

    def ask(self, method: str, path: str, body: Any = None, *, brief: bool = False, **query: str) -> Document:
        """The answer to a request, `brief` for metadata only; raises `Refused`."""
        root, namespace, plural, name, subresource = _parts(path)
        path, body = path.removesuffix(subresource or ""), json.loads(json.dumps(body))
        if plural in self.unknown or (method != "POST" and name and path not in self.objects):
            raise refused(404, "NotFound", request=f"{method} {path}")
        if method == "POST":
            self._count(root, path, plural)
            answer = self._create(path, plural, body)
        elif method == "PATCH":
            answer = self._patch(path, plural, body, bool(subresource))
        elif method == "DELETE":
            answer = self._delete(path, plural, body or {})
        elif name:
            answer = self.objects[path]
        else:
            where = re.compile(f"{root}{namespace or '/namespaces/[^/]+'}/{plural}/[^/]+")
            answer = self._list(where, query)
            answer["items"] = [_metadata_of(each) if brief else each for each in answer["items"]]
            brief = False
        return json.loads(json.dumps(_metadata_of(answer) if brief else answer))  # the caller's own

    def expire(self) -> None:
        """Forgets the past: a LIST that is under way can't be continued."""
        self._lists = dict.fromkeys(self._lists, (0, []))

    def take_over(self, objects: dict[str, Document]) -> None:
        """Holds the objects of another server in place of its own; no watch tells of that."""
        self.objects = objects
        self._version = max(self._version, *(int(each["metadata"]["resourceVersion"]) for each in objects.values()))

    def collect(self) -> None:
        """Deletes what belonged to objects that are gone, as the garbage collector does a moment later."""
        uids = {each["metadata"]["uid"] for each in self.objects.values()}
        orphans = [path for path, each in self.objects.items() if _is_orphan(each["metadata"], uids)]
        for path in orphans:
            self.ask("DELETE", path)
        if orphans:
            self.collect()

    def _count(self, root: str, path: str, plural: str) -> None:
        kind = ".".join(filter(None, [plural, *root.split("/")[2:3]]))
        used = sum(each.rpartition("/")[0] == path for each in self.objects)
        if used >= self.quotas.get(kind, used + 1):
            said = f"requested: count/{kind}=1, used: count/{kind}={used}, limited: count/{kind}={self.quotas[kind]}"
            raise refused(403, "Forbidden", f"forbidden: exceeded quota: objects, {said}", request=f"POST {path}")

    def _create(self, path: str, plural: str, body: Document) -> Document:
        path = f"{path}/{body['metadata']['name']}"
        if path in self.objects:
            raise refused(409, "AlreadyExists", request=f"POST {path}")
        for admit in self.webhooks.get(plural, ()):
            admit(path.split("/")[-3], body)
        body["metadata"] |= {"namespace": path.split("/")[-3], "creationTimestamp": self._time(),
                             "uid": f"{self._version + 1:08x}-0000-4000-8000-000000000000"}  # fmt: skip
        body["metadata"] |= {"generation": 1} if "spec" in body else {}
        if plural in _WITH_STATUS:
            body.pop("status", None)
        return self._store(path, body | ({"status": {"phase": "Pending"}} if plural == "pods" else {}), "ADDED")

    def _patch(self, path: str, plural: str, body: Any, of_status: bool) -> Document:
        old, replaced = self.objects[path], {}
        if isinstance(body, list):  # the JSON patch of `replace_status`
            body, replaced = {"metadata": {"resourceVersion": body[0]["value"]}}, {"status": body[1]["value"]}
        current = old["metadata"]["resourceVersion"]
        if (body.get("metadata") or {}).get("resourceVersion", current) != current:
            raise refused(409, "Conflict", request=f"PATCH {path}")
        if plural in _WITH_STATUS:
            body = {key: value for key, value in body.items() if (key == "status") == of_status}
        new = _merged(old, body) | replaced
        if new.get("spec") != old.get("spec"):
            new["metadata"] = new["metadata"] | {"generation": old["metadata"]["generation"] + 1}
        return old if new == old else self._store(path, new, "MODIFIED")

    def _delete(self, path: str, plural: str, options: Document) -> Document:
        old = self.objects[path]
        uid = old["metadata"]["uid"]
        if options.get("preconditions", {}).get("uid", uid) != uid:
            raise refused(409, "Conflict", request=f"DELETE {path}")
        runs = plural == "pods" and old["spec"].get("nodeName") and old["status"]["phase"] in ("Pending", "Running")
        if runs and options.get("gracePeriodSeconds") != 0:  # with 0 its kubelet deletes it, which has ended it
            grace = options.get("gracePeriodSeconds") or old["spec"].get("terminationGracePeriodSeconds", 30)
            told = {"deletionTimestamp": self._time(grace), "deletionGracePeriodSeconds": grace}
            deleting = {**old, "metadata": told | old["metadata"]}
            return old if deleting == old else self._store(path, deleting, "MODIFIED")
        gone = self._store(path, old, "DELETED")
        del self.objects[path]
        return gone

    def _list(self, where: re.Pattern[str], query: Mapping[str, str]) -> Document:
        if "continue" in query:
            version, items = self._lists[query["continue"]]
            if not version:
                raise refused(410, "Expired", request=f"GET {where.pattern}")
        else:
            version, found = self._version, sorted(self.objects.items())
            items = [each for at, each in found if where.fullmatch(at)]
        wanted = _SELECTOR.findall(query.get("labelSelector", ""))
        page, limit, metadata = [], int(query.get("limit", 0)), {"resourceVersion": str(version)}
        for number, each in enumerate(items):
            if limit and len(page) == limit:  # what is left may all be of others: the last page is empty then
                metadata["continue"] = f"{where.pattern} of {version} from {number}"
                self._lists[metadata["continue"]] = version, items[number:]
                break
            page += (
                [each] if _selected(each["metadata"], wanted) and _has(each, query.get("fieldSelector", "")) else []
            )
        return {"metadata": metadata, "items": page}

    def _store(self, path: str, document: Document, how: str) -> Document:
        self._version += 1
        stored = {**document, "metadata": document["metadata"] | {"resourceVersion": str(self._version)}}
        self.objects[path] = stored
        self.events.append({"type": how, "object": stored})
        return stored

    def _time(self, later: int = 0) -> str:
        """What the API server writes as the time, or of so many seconds later."""
        return timestamp((self._now() // 1000 + later) * 1000).replace(".000Z", "Z")


class FakeKube(Kube):
    """A client of the server in memory. `writes` are those that were tried, as `"create pytorchjobs"`.

    `fails` has a list for what is asked, in the same words: each request takes the next, None for one that goes well.
    """

    def __init__(self, api: FakeApi) -> None:
        super().__init__(lambda _verb, _code: None)
        self.api = api
        self.fails: dict[str, list[Fault | None]] = {}
        self.writes: list[str] = []
        self._killed: Killed | None = None

    def restart(self) -> None:
        """Another process takes the place of the one that was killed."""
        self._killed = None

    async def request(self, method: str, path: str, body: Any = None, *more: str, **how: Any) -> Document:
        _, _, plural, _, subresource = _parts(path)
        asked = f"{how.get('verb') or _VERBS[method]} {plural}{subresource or ''}"
        await asyncio.sleep(0)  # others come in between, as on a network
        if self._killed is not None:
            raise self._killed
        if method != "GET":
            self.writes.append(asked)
        fault = self.fails[asked].pop(0) if self.fails.get(asked) else None
        if fault is not None and isinstance(fault.error, Killed):
            self._killed = fault.error
        if fault is not None and not fault.done:
            raise fault.error
        brief = "PartialObjectMetadata" in how.get("accept", "".join(more))
        answer = self.api.ask(method, path, body, brief=brief, **(how.get("query") or {}))
        if fault is not None:
            raise fault.error
        return answer


def _parts(path: str) -> tuple[str, str | None, str, str | None, str | None]:
    found = _PATH.fullmatch(path)
    assert found is not None, path
    root, namespace, plural, name, subresource = found.groups()
    return root, namespace, plural, name, subresource


def refused(
    code: int, reason: str = "", message: str = "", *, retry_after: float | None = None, request: str = "a request"
) -> Refused:
    """What `Kube` raises for an answer of this code."""
    return Refused(request, code, reason, message, retry_after)


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    base = old if isinstance(old, dict) else {}
    changed = {key: _merged(base.get(key), value) for key, value in patch.items() if value is not None}
    return {key: value for key, value in base.items() if key not in patch} | changed


def _metadata_of(document: Document) -> Document:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": document["metadata"]}


def _selected(metadata: Document, wanted: list[tuple[str, str, str]]) -> bool:
    labels = metadata.get("labels") or {}
    return all(
        name in labels and (not (value or among) or labels[name] in (among.split(",") if among else [value]))
        for name, value, among in wanted
    )


def _has(document: Document, fields: str) -> bool:
    """Whether an object has the values that a field selector wants."""
    for field in filter(None, fields.split(",")):
        path, _, value = field.partition("=")
        found: Any = document
        for name in path.split("."):
            found = found.get(name, {})
        if found != value:
            return False
    return True


def _is_orphan(metadata: Document, uids: set[str]) -> bool:
    owners = metadata.get("ownerReferences") or ()
    gone = bool(owners) and all(each["uid"] not in uids for each in owners)
    return gone and "deletionTimestamp" not in metadata
