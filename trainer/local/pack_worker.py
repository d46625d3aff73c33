"""A pack of trials in a child of the runner: carries out the orders of all, and tells of each as it leaves."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.experiment.outcome import EXIT_CODES
from trainer.experiment.record import encode_report
from trainer.experiment.training import Training
from trainer.local.launcher import STOP
from trainer.local.lines import tell
from trainer.local.processes import LOG, REPORT
from trainer.local.rank import Announcer, log_to
from trainer.training.packed_trials import Member, run_pack

TAKEN_OUT = -9  # what is told of a trial that was to stop: the code of one that was killed


def carry_out_pack(orders: Sequence[dict[str, Any]], events: int, *, started: float) -> int:
    """Trains as ordered and returns 0 when each member has left its report and was told of.

    A file `STOP` in a member's folder takes it out.
    """
    members = [
        Member(Training.model_validate_json(json.dumps(order["training"])), Path(order["folder"])) for order in orders
    ]
    first, *others = (member.folder / LOG.format(rank=0) for member in members)
    log_to(first)
    for log in others:  # one process has one log, which each of its trials shows
        log.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.link(first, log)
    told = [Announcer(events, order["trial"], 0, frozenset(order["told"])) for order in orders]
    waiting = {place: member.folder / STOP for place, member in enumerate(members)}
    for place, report in run_pack(
        members,
        Path(orders[0]["cache"]),
        tuple(map(Path, orders[0]["ready"])),
        started=started,
        on_epoch=lambda at, row: told[at](row),
        taken_out=lambda: {at for at, stop in waiting.items() if stop.exists()},
    ):
        del waiting[place]
        (members[place].folder / REPORT.format(rank=0)).write_bytes(encode_report(report))
        code = TAKEN_OUT if report.provisional else EXIT_CODES[report.outcome]
        tell(events, event="left", trial=orders[place]["trial"], code=code)
    return 0
