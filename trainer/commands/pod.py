"""`pod`: one rank of one trial in a container: told by one environment variable, it leaves one report.

It writes the report from the start, marked as provisional: whatever kills it, its last figures are there to read.
"""

import argparse
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from trainer.atomic import InPlace
from trainer.cgroup import memory_limit, own_group
from trainer.container import enter_data, leave, require_writable
from trainer.data.cache import default_cache
from trainer.experiment.error_messages import sentences
from trainer.experiment.errors import UserError
from trainer.experiment.outcome import EXIT_CODES
from trainer.experiment.record import MemoryLimit, encode_report
from trainer.experiment.training import Training
from trainer.memory import MemoryMonitor
from trainer.training.distributed import Ranks, load, ranks_from_environment
from trainer.training.environment import process_started
from trainer.training.trial import RankContext, failure, run_rank

VARIABLE = "TRIALRUN_TRIAL"
_CHECKPOINT_SECONDS = 5.0
_SHOW_SECONDS = 10.0  # between lines in the pod's log


def main(options: argparse.Namespace) -> int:
    """Trains, writes the report as the container's termination message, and exits with the outcome's code."""
    signal.signal(signal.SIGTERM, _end)
    text = os.environ.get(VARIABLE)
    if text is None:
        raise UserError(f"{VARIABLE}: must be set; the operator tells a pod its trial there")
    ranks = ranks_from_environment()
    try:
        told = json.loads(text)
        training = _training(told)
        context = _context(told, ranks, options)
    except (UserError, ValueError) as error:
        report = failure(ranks, error)
    else:
        kept = InPlace(options.message)
        report = run_rank(
            training,
            context,
            started=process_started(),
            on_epoch=_shower(training.train.epochs),
            monitor=_monitor(ranks),
            meanwhile=lambda so_far: kept.write(encode_report(so_far)),
        )
    leave(report, options.message)
    print(f"rank {report.rank}: {report.outcome} {report.error}".rstrip(), file=sys.stderr)
    return EXIT_CODES[report.outcome]


def _end(number: int, _: object) -> None:
    """Ends at once when the pod is told to end, which the first process of a container would not notice by itself.

    All that is worth keeping was kept: the last checkpoint, and the provisional report.
    """
    os._exit(128 + number)


def _monitor(ranks: Ranks) -> MemoryMonitor:
    """Measures from now on, when all is loaded, the memory of the container, in which this is the only process."""
    load(ranks.count)
    gc.collect()
    monitor = MemoryMonitor(own_group())
    if (limit := memory_limit()) is not None:
        monitor.limit = MemoryLimit(bytes=limit, kept_by="Cgroup")
    return monitor


def _training(told: dict[str, Any]) -> Training:
    try:
        return Training.model_validate_json(json.dumps(told["training"]))
    except ValidationError as error:
        found = "; ".join(sentences(Training, error))
        raise UserError(f"{VARIABLE}: training: {found} (is this image older than the operator?)") from error


def _context(told: dict[str, Any], ranks: Ranks, options: argparse.Namespace) -> RankContext:
    """Where this rank works. Relative paths begin at the data volume, if there is one."""
    ready = enter_data(options.data)
    attempt = int(told["attempt"])
    folder = None
    if options.output.is_dir():
        # A piece of the UID keeps an experiment apart from one of the same name that was deleted.
        trial = options.output / f"{told['experiment']}-{told['uid'][:8]}" / told["id"]
        folder = trial / str(attempt)
        if ranks.is_rank0:
            require_writable(folder)
    return RankContext(
        ranks,
        "env://",
        default_cache(),
        folder,
        ready=ready,
        earlier=() if folder is None else tuple(folder.with_name(str(one)) for one in range(attempt - 1, 0, -1)),
        # A scale test's cell is measured from its start or not at all.
        checkpoint_seconds=None if folder is None or told["kind"] == "ScaleTest" else _CHECKPOINT_SECONDS,
    )


def _shower(epochs: int) -> Callable[[dict[str, float]], None]:
    """Prints an epoch every few seconds."""
    shown = time.monotonic()

    def show(row: dict[str, float]) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _SHOW_SECONDS:
            shown = time.monotonic()
            print(f"epoch {row['epoch']:.0f} of {epochs}, train loss {row['trainLoss']:.6g}", flush=True)

    return show
