"""Feeds watch events to the store, and the experiments that they are about to the queue."""

from collections.abc import Mapping
from typing import Any

from trialrun_operator import observe
from trialrun_operator.backends.backend import Backend
from trialrun_operator.metrics import Metrics
from trialrun_operator.queue import Queue
from trialrun_operator.store import Store, Value, experiment_object

Event = Mapping[str, Any]  # `type` and `object`, as the API server sends them


class EventHandler:
    """Its methods take an event of a watch each, in whatever order they come."""

    def __init__(self, store: Store, queue: Queue, metrics: Metrics) -> None:
        self._store = store
        self._queue = queue
        self._metrics = metrics

    def experiment(self, event: Event) -> None:
        """An experiment was seen."""
        self._take("experiments", event, experiment_object(event["object"]))

    def job(self, backend: Backend, event: Event) -> None:
        """A job of a backend's was seen."""
        self._take(backend.jobs.plural, event, observe.job(backend, event["object"]))

    def pod(self, event: Event) -> None:
        """A pod was seen."""
        self._take("pods", event, observe.pod(event["object"]))

    def _take(self, resource: str, event: Event, value: Value | None) -> None:
        self._metrics.watch_events.labels(resource).inc()
        if value is None:
            return
        news = self._store.put(value)  # a deletion, too, shows how the object was last
        if event["type"] == "DELETED":
            news = self._store.remove(value.uid)
        if news:
            self._queue.add(value.key)
