"""The LIST of everything: what it leaves out, and when it has the process begin anew."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jobs import PYTORCH_JOBS, TRAIN_JOBS
from trialrun_operator.backends import BACKENDS
from trialrun_operator.backends.pytorchjob import JOBS
from trialrun_operator.kube import Kube, Refused
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import PODS, SEARCHES, Resource
from trialrun_operator.resync import Restart, Resync
from trialrun_operator.store import Store
from unit.builders import START
from unit.objects import KEY, UID, a_workload, pod_document

NOW = START + 61_000

T = a_workload().trials


class Cluster(Kube):
    """Lists what `items` has by kind, and refuses with a code what `refusals` has, by kind and namespace."""

    def __init__(self) -> None:
        super().__init__(lambda _verb, _code: None)
        self.refusals: dict[tuple[Resource, str | None], int] = {}
        self.items: dict[Resource, list[dict[str, Any]]] = {}
        self.listed: list[tuple[str, str | None]] = []

    async def pages(
        self, resource: Resource, namespace: str | None, *_: Any, **__: Any
    ) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        self.listed.append((resource.plural, namespace))
        if code := self.refusals.get((resource, namespace)):
            raise Refused("GET", code, "", "", None)
        yield self.items.get(resource, []), 1


def a_resync(cluster: Cluster, *namespaces: str) -> Resync:
    return Resync(cluster, Store(lambda: NOW), Metrics(lambda: 0.0), namespaces, tuple(BACKENDS.values()))


def test_a_namespace_that_can_not_be_read_is_left_out_and_the_others_are_not() -> None:
    cluster = Cluster()
    cluster.refusals[SEARCHES, "gone"] = 403
    resync = a_resync(cluster, "here", "gone")
    asyncio.run(resync.once())
    assert resync.open == ("here",)
    assert [each for each in cluster.listed if each[1] == "gone"] == [("hyperparamsearches", "gone")]
    assert ("pods", "here") in cluster.listed


def test_a_namespace_that_appears_or_goes_begins_the_process_anew() -> None:
    cluster = Cluster()
    resync = a_resync(cluster, "here", "other")
    asyncio.run(resync.once())
    cluster.refusals[SEARCHES, "other"] = 403
    with pytest.raises(Restart, match="namespace other"):
        asyncio.run(resync.once())
    resync = a_resync(cluster, "here", "other")
    asyncio.run(resync.once())
    asyncio.run(resync.once())
    cluster.refusals.clear()
    with pytest.raises(Restart, match="namespace other"):
        asyncio.run(resync.once())


@pytest.mark.parametrize(("resource", "namespace"), [(PODS, "here"), (SEARCHES, None)])
def test_a_role_that_lacks_a_right_is_an_error(resource: Resource, namespace: str | None) -> None:
    cluster = Cluster()
    cluster.refusals[resource, namespace] = 403
    with pytest.raises(Refused):
        asyncio.run(a_resync(cluster, *([namespace] if namespace else [])).once())


def test_a_kind_of_job_that_a_role_does_not_know_is_missing_unless_there_is_no_other() -> None:
    cluster = Cluster()
    cluster.refusals[TRAIN_JOBS.jobs, None] = 403
    resync = a_resync(cluster)
    asyncio.run(resync.once())
    assert resync.there == (PYTORCH_JOBS,)
    cluster.refusals[JOBS, None] = 403
    with pytest.raises(Refused):
        asyncio.run(resync.once())
    assert resync.there == (PYTORCH_JOBS,), "a LIST that failed tells nothing"


def test_what_can_not_be_read_is_left_out_and_everything_else_is_not(caplog: pytest.LogCaptureFixture) -> None:
    cluster, store = Cluster(), Store(lambda: NOW)
    odd, pod = pod_document(T[0]), pod_document(T[1])
    odd["status"]["startTime"] = "this morning"
    cluster.items[PODS] = [odd, pod]
    asyncio.run(Resync(cluster, store, Metrics(lambda: 0.0), (), tuple(BACKENDS.values())).once())
    assert [attempt.identity[0] for attempt in store.attempts(KEY, UID)] == [T[1].id]
    assert f"Pod {KEY.namespace}/{odd['metadata']['name']} is left out" in caplog.text


def test_a_kind_that_appears_begins_the_process_anew() -> None:
    cluster = Cluster()
    cluster.refusals[JOBS, None] = 404
    resync = a_resync(cluster)
    asyncio.run(resync.once())
    assert resync.missing == {JOBS}
    cluster.refusals.clear()
    with pytest.raises(Restart, match="PyTorchJob"):
        asyncio.run(resync.once())
