"""One rank in a child of the runner: carries out its order, leaves its report, tells of epochs on a pipe.

Imports torch, with the settings that must stand before that.
"""

import json
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

# Before torch is imported: its pools are made with these. A rank sets its own number of threads.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
# Asking for GPUs must not initialise CUDA here: a forked child could not use it any more.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
# Ranks on one machine meet on loopback, whatever its name resolves to.
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")

from trainer.atomic import InPlace
from trainer.experiment.outcome import EXIT_CODES
from trainer.experiment.record import encode_report
from trainer.experiment.training import Training
from trainer.local.lines import tell
from trainer.local.processes import REPORT
from trainer.memory import MemoryMonitor
from trainer.training.distributed import Ranks
from trainer.training.trial import RankContext, run_rank

_EVENT_SECONDS = 0.1  # between a rank's progress events: a short epoch must not drown in them


def carry_out(
    order: dict[str, Any],
    events: int,
    *,
    started: float,
    monitor: MemoryMonitor | None = None,
    provisional: bool = False,
) -> int:
    """Trains as ordered and returns the exit code of the outcome. `started` is when this rank's process began.

    `provisional` keeps a report in the folder while it trains, for the case that it is killed.
    """
    folder, rank = Path(order["folder"]), order["rank"]
    folder.mkdir(parents=True, exist_ok=True)
    log_to(folder / f"log-{rank}.txt")
    training = Training.model_validate_json(json.dumps(order["training"]))
    ready = tuple(map(Path, order["ready"]))
    ranks = Ranks(rank, order["ranks"], rank)
    context = RankContext(ranks, order["rendezvous"], Path(order["cache"]), folder, ready=ready)
    path = folder / REPORT.format(rank=rank)
    kept = InPlace(path) if provisional else None
    report = run_rank(
        training,
        context,
        started=started,
        on_epoch=Announcer(events, order["trial"], rank, frozenset(order["told"])),
        monitor=monitor,
        meanwhile=None if kept is None else lambda so_far: kept.write(encode_report(so_far)),
    )
    path.write_bytes(encode_report(report))
    return EXIT_CODES[report.outcome]


def end_with(pipe: int) -> None:
    """Ends this process once nobody holds the other end of `pipe` any more: for a thread of its own."""
    os.read(pipe, 1)
    os._exit(1)


def log_to(path: Path) -> None:
    """Has this process print there from now on; what an earlier one printed may be the log of others, too."""
    path.unlink(missing_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


class Announcer:
    """Tells the runner about epochs, a few a second at most beside those that must be `told`; only rank 0 does."""

    def __init__(self, events: int, trial: str, rank: int, told: Collection[int]) -> None:
        self._events, self._trial, self._rank, self._told = events, trial, rank, told
        self._next = time.monotonic() + _EVENT_SECONDS

    def __call__(self, row: dict[str, float]) -> None:
        if self._rank == 0 and (time.monotonic() >= self._next or row["epoch"] in self._told):
            self._next = time.monotonic() + _EVENT_SECONDS
            tell(self._events, event="epoch", trial=self._trial, figures=row)
