"""Looks at whatever the queue says is due, and lets no failure of one experiment keep the others waiting."""

import asyncio
import logging
import time
from collections.abc import Callable

from trialrun_operator.kube import ApiFailure
from trialrun_operator.metrics import Metrics
from trialrun_operator.queue import Queue
from trialrun_operator.reconcile import Reconciler

_log = logging.getLogger(__name__)


async def work_off(queue: Queue, reconciler: Reconciler, metrics: Metrics, looked: Callable[[], None]) -> None:
    """A worker: takes one experiment after the other from the queue, for ever."""
    while True:
        await look_at_next(queue, reconciler, metrics)
        looked()


async def look_at_next(queue: Queue, reconciler: Reconciler, metrics: Metrics) -> None:
    """Waits until an experiment is due, looks at it, and gives it back to the queue, however the look went."""
    key = await queue.take()
    began = time.monotonic()
    try:
        computed = await reconciler.reconcile(key)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # whatever it is, the next experiment must not wait for it
        wait = queue.failed(key, getattr(error, "retry_after", None) or 0.0)
        metrics.reconciles.labels("failed").inc()
        expected = isinstance(error, ApiFailure)
        _log.log(
            logging.WARNING if expected else logging.ERROR,
            "%s: %s; the next look is in %.1f s",
            key,
            error,
            wait,
            exc_info=None if expected else error,
        )
    else:
        queue.done(key, computed)
        metrics.reconciles.labels("done").inc()
    metrics.reconcile_seconds.observe(time.monotonic() - began)
    metrics.last_look.set_to_current_time()
