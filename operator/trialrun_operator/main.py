"""Puts the operator together, runs it until it is told to stop, and ends it in order."""

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

from trialrun_operator import health, settings, watches
from trialrun_operator import tracker as tracking
from trialrun_operator.backends import BACKENDS
from trialrun_operator.child_process import ChildProcess
from trialrun_operator.event_handler import EventHandler
from trialrun_operator.kube import Kube
from trialrun_operator.metrics import Metrics
from trialrun_operator.queue import Queue
from trialrun_operator.reconcile import Reconciler
from trialrun_operator.resync import Restart, Resync
from trialrun_operator.store import Store
from trialrun_operator.suggester import PROCESS, PROGRAM, Suggester
from trialrun_operator.tracker import Tracker
from trialrun_operator.worker import work_off

_log = logging.getLogger(__name__)
WORKERS = 4
# A reconcile that is under way may finish; the kubelet waits longer than this by default.
_STOP_SECONDS = 10.0
# Objects made before the youngest are searched for cycles, and how often older ones are too. By Python's own figures
# all that is remembered of thousands of trials is searched every few hundred events, for a quarter of their CPU time.
_GARBAGE_THRESHOLDS = (10_000, 20, 50)


def main() -> int:
    """Runs the operator; gives its exit code."""
    try:
        chosen = settings.from_environment()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(level=chosen.log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it would tell of every event
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    return asyncio.run(run(chosen))


async def run(chosen: settings.Settings) -> int:
    """Runs the operator in this event loop until a signal, or until it has to be started anew (exit code 1)."""

    def now() -> int:
        return time.time_ns() // 1_000_000

    store, queue = Store(now), Queue(time.monotonic)
    metrics = Metrics(lambda: float(queue.depth))
    kube = Kube(metrics.api_called)
    await kube.connect()
    suggesting = ChildProcess(PROGRAM, PROCESS, settings.for_one_thread())
    suggester = Suggester(suggesting, answered=queue.add, clock=time.monotonic)
    tracker = None
    if chosen.tracking:
        tracker = Tracker(ChildProcess(tracking.PROGRAM, tracking.PROCESS), metrics, time.monotonic)
    reconciler = Reconciler(
        kube,
        store,
        queue,
        metrics,
        chosen.image,
        suggester,
        tracker,
        allowed=chosen.allowed,
        enabled=chosen.backends,
        now=now,
        clock=time.monotonic,
    )
    backends = [BACKENDS[kind] for kind in BACKENDS if kind in chosen.backends]
    resync = Resync(kube, store, metrics, chosen.namespaces, backends)
    alive = health.Health(time.monotonic)
    server = await health.serve(chosen.port, alive, lambda: queue.depth, metrics)
    first = asyncio.Event()

    async def synced() -> None:
        reconciler.resynced(resync.there)
        for key in store.experiments():
            queue.add(key)
        alive.resynced()
        first.set()

    async def work() -> None:
        await first.wait()  # nothing is created before everything that exists is known
        await work_off(queue, reconciler, metrics, lambda: alive.looked(queue.depth))

    ours = [
        asyncio.create_task(resync.run(synced), name="resync"),
        asyncio.create_task(suggester.run(), name="suggester"),
        *([] if tracker is None else [asyncio.create_task(tracker.run(), name="tracker")]),
        *(asyncio.create_task(work(), name=f"worker {number}") for number in range(WORKERS)),
    ]
    where = ", ".join(chosen.namespaces) or "all namespaces"
    _log.info("started for %s; the trainer image is %s", where, chosen.image)
    try:
        return await _until_stopped(ours, _watch(EventHandler(store, queue, metrics), resync, chosen, first))
    finally:
        for task in ours:
            task.cancel()
        await asyncio.wait(ours, timeout=_STOP_SECONDS)
        await server.cleanup()
        await kube.close()
        # kopf leaves generators half-way. What they have to say as they are closed comes before our last word.
        await asyncio.get_running_loop().shutdown_asyncgens()
        _log.info("stopped")


async def _watch(handler: EventHandler, resync: Resync, chosen: settings.Settings, first: asyncio.Event) -> None:
    """Has kopf watch, once it is known where there is something to watch, until a signal ends it."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # kopf replaces these by its own
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    waits = [asyncio.create_task(event.wait()) for event in (first, stop)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
    if chosen.namespaces and not resync.open:
        await stop.wait()
    if not stop.is_set():
        await watches.watch(handler, resync.there, resync.open)


async def _until_stopped(ours: list[asyncio.Task[None]], watch: Coroutine[Any, Any, None]) -> int:
    """Runs until a signal ends the watching, or one of our tasks, or the watching, fails; gives the exit code."""
    watching = asyncio.create_task(watch, name="watches")
    done, _ = await asyncio.wait([watching, *ours], return_when=asyncio.FIRST_COMPLETED)
    code = 0
    for task in done:
        error = task.exception() if not task.cancelled() else None
        if isinstance(error, Restart):
            _log.info("ending to be started anew: %s", error)
            code = 1
        elif error is not None:
            _log.error("ending to be started anew: %s failed: %r", task.get_name(), error, exc_info=error)
            code = 1
    if not watching.done():
        watching.cancel()
        await asyncio.wait([watching], timeout=_STOP_SECONDS)
    return code
