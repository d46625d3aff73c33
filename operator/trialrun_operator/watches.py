"""Has kopf watch experiments, jobs and pods, and do nothing else. A handler delegates to `event_handler`.

kopf keeps nothing in objects here: it would copy and compare each of them at every event. Three quarters of the
operator's CPU time went into that, for handlers of changes, of which there are none.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import kopf

from trialrun_operator.backends.backend import Backend
from trialrun_operator.event_handler import EventHandler
from trialrun_operator.names import EXPERIMENT_LABEL, KINDS, PODS

# kopf is given so long to end its own tasks.
_STOP_SECONDS = 20.0


async def watch(handler: EventHandler, backends: Sequence[Backend], namespaces: Sequence[str]) -> None:
    """Watches the namespaces, all of them where none is given, until a signal ends it.

    Of the backends' jobs those can be watched that the cluster has.
    """
    await kopf.operator(
        registry=_registry(handler, backends),
        settings=_settings(backends),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )


def _registry(handler: EventHandler, backends: Sequence[Backend]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    async def login(**arguments: Any) -> Any:
        return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)

    async def experiment_seen(event: Any, **_: Any) -> None:
        handler.experiment(event)

    def job_seen(backend: Backend) -> Callable[..., Awaitable[None]]:
        async def seen(event: Any, **_: Any) -> None:
            handler.job(backend, event)

        return seen

    async def pod_seen(event: Any, **_: Any) -> None:
        handler.pod(event)

    kopf.on.login(registry=registry)(login)  # called again when the API server has refused a token that has expired
    for resource in KINDS.values():
        kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)(experiment_seen)
    for backend in backends:
        jobs = backend.jobs
        kopf.on.event(jobs.group, jobs.version, jobs.plural, registry=registry)(job_seen(backend))
    kopf.on.event(PODS.group, PODS.version, PODS.plural, registry=registry)(pod_seen)
    return registry


def _settings(backends: Sequence[Backend]) -> kopf.OperatorSettings:
    """A watch that is silent for 70 s, bookmarks included, is begun anew."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.persistence.diffbase_storage = _NoDiffBase()
    chosen.persistence.progress_storage = _NoProgress()
    chosen.scanning.disabled = True
    chosen.peering.standalone = True
    chosen.watching.server_timeout = 600
    chosen.watching.connect_timeout = 10
    chosen.watching.inactivity_timeout = 70
    chosen.watching.chunk_size = 500
    chosen.queueing.idle_timeout = 1.0
    chosen.networking.request_timeout = 60
    chosen.process.ultimate_exiting_timeout = _STOP_SECONDS
    for resource in (*(backend.jobs for backend in backends), PODS):
        chosen.watching.label_selectors[resource.group, resource.version, resource.plural] = EXPERIMENT_LABEL
    return chosen


class _NoDiffBase(kopf.DiffBaseStorage):  # type: ignore[misc]  # kopf is not seen by mypy
    """Finds nothing to compare."""

    def build(self, **_: Any) -> Any:
        """No field is of interest."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """Nothing was kept."""
        return None

    def store(self, **_: Any) -> None:
        """Keeps nothing."""


class _NoProgress(kopf.ProgressStorage):  # type: ignore[misc]  # kopf is not seen by mypy
    """Handlers of events are not repeated, so there is no progress to keep."""

    def fetch(self, **_: Any) -> Any:
        """Nothing was kept."""
        return None

    def store(self, **_: Any) -> None:
        """Keeps nothing."""

    def purge(self, **_: Any) -> None:
        """There is nothing to remove."""

    def touch(self, **_: Any) -> None:
        """There is nothing to touch."""

    def clear(self, *, essence: Any) -> Any:
        """There is nothing to leave out."""
        return essence
