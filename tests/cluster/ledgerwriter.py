"""A process that writes records into an experiment's ledger with the operator's own code, while another one does.

    python -m cluster.ledgerwriter NAMESPACE NAME UID WRITER FIRST END

It says "ready" and waits for a line; then it writes the records of trials FIRST to END - 1, one after the other, and
says as JSON which it wrote and how often another was first.
"""

import asyncio
import json
import sys

from trainer.experiment.record import Record
from trialrun_operator.kube import ApiFailure, Kube
from trialrun_operator.ledger_store import LedgerStore
from trialrun_operator.names import Key


async def write(namespace: str, name: str, uid: str, writer: str, indices: list[int]) -> None:
    """Writes the records; like the operator it tries again later what could not be written."""
    conflicts = 0

    def called(_verb: str, code: int) -> None:
        nonlocal conflicts
        conflicts += code == 409

    kube = Kube(called)
    await kube.connect()
    ledger = LedgerStore(kube, Key("HyperparamSearch", namespace, name), uid)
    await ledger.refresh()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    written: list[int] = []
    while indices:
        record = Record(id=f"{indices[0]:010x}", index=indices[0], outcome="Succeeded", error=writer)
        try:
            written += [each.index for each in await ledger.add([record])]
            indices.pop(0)
        except ApiFailure:
            indices.append(indices.pop(0))
    await kube.close()
    print(json.dumps({"written": written, "conflicts": conflicts}))


if __name__ == "__main__":
    *place, writer, first, end = sys.argv[1:]
    asyncio.run(write(*place, writer, list(range(int(first), int(end)))))
