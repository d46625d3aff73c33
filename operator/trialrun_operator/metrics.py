"""What the operator counts about itself, for Prometheus."""

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The figures of one process, in a registry of their own."""

    def __init__(self, queue_depth: Callable[[], float]) -> None:
        self._registry = registry = CollectorRegistry()
        self.reconciles = Counter(
            "trialrun_reconciles", "Looks at an experiment, by how they went.", ["result"], registry=registry
        )
        self.reconcile_seconds = Histogram(
            "trialrun_reconcile_seconds",
            "How long a look at an experiment took, API calls included.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.trials = Counter(
            "trialrun_trials", "Attempts that were recorded, by outcome.", ["kind", "outcome"], registry=registry
        )
        self.suggestions = Counter(
            "trialrun_suggestions", "Points that were suggested and written to a ledger.", registry=registry
        )
        self.jobs_created = Counter("trialrun_jobs_created", "Jobs that were created.", ["kind"], registry=registry)
        self.jobs_deleted = Counter("trialrun_jobs_deleted", "Jobs that were deleted.", ["kind"], registry=registry)
        self.api_calls = Counter(
            "trialrun_api_calls", "Requests to the API server; code 0 for none.", ["verb", "code"], registry=registry
        )
        self.watch_events = Counter(
            "trialrun_watch_events", "Objects that watches delivered.", ["resource"], registry=registry
        )
        self.missed = Counter(
            "trialrun_watch_missed",
            "Changes that a LIST found and no watch had delivered.",
            ["resource"],
            registry=registry,
        )
        self.experiments = Gauge(
            "trialrun_experiments", "Experiments that exist, by kind.", ["kind"], registry=registry
        )
        self.last_look = Gauge(
            "trialrun_last_reconcile_timestamp_seconds", "When an experiment was looked at last.", registry=registry
        )
        self.last_resync = Gauge(
            "trialrun_last_resync_timestamp_seconds", "When all objects were listed last.", registry=registry
        )
        self.tracking_failures = Counter(
            "trialrun_tracking_failures", "Times that MLflow could not be told of trials.", registry=registry
        )
        self.trials_untold = Gauge(
            "trialrun_tracking_trials_untold", "Recorded trials that MLflow was not told of yet.", registry=registry
        )
        tasks = Gauge("trialrun_tasks", "Tasks of the event loop that have not ended.", registry=registry)
        tasks.set_function(_tasks)
        depth = Gauge("trialrun_queue_depth", "Experiments that wait to be looked at.", registry=registry)
        depth.set_function(queue_depth)

    def api_called(self, verb: str, code: int) -> None:
        """Counts a request."""
        self.api_calls.labels(verb, str(code)).inc()

    def text(self) -> bytes:
        """All figures as Prometheus reads them."""
        return bytes(generate_latest(self._registry))


def _tasks() -> float:
    try:
        return float(len(asyncio.all_tasks()))
    except RuntimeError:  # no loop runs
        return 0.0
