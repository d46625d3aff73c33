"""LISTs everything once a minute and replaces what watches have told: no watch is trusted for longer than that."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from trialrun_operator import observe
from trialrun_operator.backends.backend import Backend
from trialrun_operator.kube import ApiFailure, Document, Kube, Refused
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import EXPERIMENT_LABEL, KINDS, PODS, Key, Resource
from trialrun_operator.observe import Job, Pod
from trialrun_operator.store import Store, Value, experiment_object

_log = logging.getLogger(__name__)
PERIOD_SECONDS = 60.0
_RETRY_SECONDS = 5.0


class Restart(Exception):
    """What there is to watch is not what it was when the process started; kopf looks for it only then."""


class Resync:
    """Fills the store by LISTs.

    `missing` are the kinds that the API server did not know at the last of them, or, of the `backends`' jobs, let us
    not read, `closed` those of the listed
    namespaces in which it let us read no experiments: there is none of that name, or no role for us in it.
    """

    def __init__(
        self,
        kube: Kube,
        store: Store,
        metrics: Metrics,
        namespaces: tuple[str, ...],
        backends: Sequence[Backend],
    ) -> None:
        self._kube = kube
        self._store = store
        self._metrics = metrics
        self._namespaces = namespaces
        self._jobs = {backend.jobs: backend for backend in backends}
        self.missing: frozenset[Resource] | None = None
        self.closed: frozenset[str] = frozenset()

    @property
    def open(self) -> tuple[str, ...]:
        """The listed namespaces in which there is something to watch."""
        return tuple(namespace for namespace in self._namespaces if namespace not in self.closed)

    @property
    def there(self) -> tuple[Backend, ...]:
        """The backends that the cluster has."""
        return tuple(backend for jobs, backend in self._jobs.items() if jobs not in (self.missing or ()))

    async def run(self, synced: Callable[[], Awaitable[None]]) -> None:
        """LISTs for ever; calls `synced` after each that went well.

        Raises:
            Restart: a kind or a namespace has appeared, or a namespace has gone.
        """
        while True:
            await asyncio.sleep(await self.again(synced))

    async def again(self, synced: Callable[[], Awaitable[None]]) -> float:
        """LISTs once, calls `synced` if that went well, and gives the seconds until the next time."""
        try:
            await self.once()
            await synced()
        except ApiFailure as failure:
            wait = max(_RETRY_SECONDS, failure.retry_after or 0.0)
            _log.warning("resync: %s; the next is in %.0f s", failure, wait)
            return wait
        return PERIOD_SECONDS

    async def once(self) -> None:
        """LISTs experiments, jobs and pods, in this order: a child is never known before its owner could be."""
        missing: set[Resource] = set()
        closed: set[str] = set()
        denied: dict[Resource, Refused] = {}
        for resource in (*KINDS.values(), *self._jobs, PODS):
            for namespace in self._namespaces or (None,):
                if namespace in closed:
                    continue
                try:
                    news = await self._list(resource, namespace)
                except Refused as refused:
                    if refused.code == 404:
                        missing.add(resource)
                    elif refused.code == 403 and namespace is not None and resource in KINDS.values():
                        closed.add(namespace)
                    elif refused.code == 403 and resource in self._jobs:  # a role of an earlier version
                        missing.add(resource)
                        denied[resource] = refused
                    else:
                        raise
                    continue
                if news and self.missing is not None:
                    self._metrics.missed.labels(resource.plural).inc(len(news))
                    _log.debug("resync: %s of %d experiments had changed unseen", resource.plural, len(news))
        if denied and missing.issuperset(self._jobs):
            raise next(iter(denied.values()))
        if self.missing is not None and (appeared := self.missing - missing):
            raise Restart(f"{', '.join(sorted(each.kind for each in appeared))} can be watched now")
        if self.missing is not None and (changed := self.closed ^ closed):
            raise Restart(f"namespace {', '.join(sorted(changed))} can be watched now, or not any longer")
        for namespace in sorted(closed - self.closed):
            _log.warning(
                "namespace %s: not there, or no role lets us read it; left out until that changes", namespace
            )
        self.missing, self.closed = frozenset(missing), frozenset(closed)
        for kind in KINDS:
            self._metrics.experiments.labels(kind).set(
                sum(1 for key in self._store.experiments() if key.kind == kind)
            )
        self._metrics.last_resync.set_to_current_time()

    async def _list(self, resource: Resource, namespace: str | None) -> set[Key]:
        selector = "" if resource in KINDS.values() else EXPERIMENT_LABEL
        listed: list[Value] = []
        version = 0
        async for page, moment in self._kube.pages(resource, namespace, selector):
            listed += (value for document in page if (value := self._value(resource, document)) is not None)
            version = moment

        def concerns(value: Value) -> bool:
            return namespace in (None, value.key.namespace) and _resource(value) == resource

        return self._store.replace(listed, version, concerns)

    def _value(self, resource: Resource, document: Document) -> Value | None:
        """The value of an item of a LIST, None when it is nobody's, or is not what anyone expects."""
        try:
            return self._read(resource, document)
        except Exception as error:  # whatever it is, everything else that is listed must not wait for it
            metadata = document.get("metadata") or {}
            where = f"{metadata.get('namespace')}/{metadata.get('name')}"
            _log.warning("resync: %s %s is left out, it can't be read: %r", resource.kind, where, error)
            return None

    def _read(self, resource: Resource, document: Document) -> Value | None:
        if resource in self._jobs:
            return observe.job(self._jobs[resource], document)
        if resource == PODS:
            return observe.pod(document)
        # Items of a LIST need not say what they are.
        return experiment_object({"apiVersion": resource.api_version, "kind": resource.kind} | document)


def _resource(value: Value) -> Resource:
    if isinstance(value, Job):
        return value.resource
    return PODS if isinstance(value, Pod) else value.key.resource
