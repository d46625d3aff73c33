"""Version 0.1's reconciler, in a process of its own: it looks at an API server in memory for as long as it is told.

The server's state comes in as a line on stdin and goes out as one on stdout, with the writes that were tried. Each
time the reconciler knows nothing. Of this version only the server in memory is imported.
"""

import asyncio
import json
import sys
from types import SimpleNamespace
from typing import Any

from trialrun_operator import apply, memory
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import Key
from trialrun_operator.queue import Queue
from trialrun_operator.reconcile import Reconciler
from trialrun_operator.resync import Resync
from trialrun_operator.store import Store
from unit.fakekube import FakeApi, FakeKube

_STEP_SECONDS = 1.1  # more than must lie between two writes of a status


class Kube(FakeKube):
    """The client as 0.1 calls it."""

    _request = FakeKube.request


async def look(told: dict[str, Any]) -> dict[str, Any]:
    """LISTs and looks again and again, as the operator does with no watch to rely on."""
    passed = 0.0
    apply.time = memory.time = SimpleNamespace(monotonic=lambda: 1000.0 + passed)

    def now() -> int:
        return int(told["now"] + 1000 * passed)

    api = FakeApi(now)
    api.take_over(told["objects"])
    kube, store, queue, metrics = Kube(api), Store(), Queue(lambda: passed), Metrics(lambda: 0.0)
    resync = Resync(kube, store, metrics, ())
    reconciler = Reconciler(kube, store, queue, metrics, told["image"], now=now)
    while passed < told["seconds"]:
        await resync.once()
        reconciler.resynced()
        await reconciler.reconcile(Key(*told["key"]))
        passed += _STEP_SECONDS
    return {"objects": api.objects, "writes": kube.writes, "passed": passed}


for line in sys.stdin:
    print(json.dumps(asyncio.run(look(json.loads(line)))), flush=True)
