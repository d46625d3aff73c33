"""Runs functions as the ranks of a trial, each in a real process, forked from one that has torch loaded.

What runs there must be importable: it stands in this module, not in a test.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from train.builders import a_context, dataset_of
from trainer.experiment.record import RankReport
from trainer.experiment.training import Training
from trainer.training import distributed
from trainer.training.distributed import Ranks, joined
from trainer.training.reference import hashes, naive
from trainer.training.trial import run_rank

# Two cores that others use, too. A rank that takes longer hangs.
_LIMIT_SECONDS = 120

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["torch._dynamo", "torch.nn.parallel", "trainer.training.trial", "trainer.commands.train"]
)


def on_ranks(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(rank, count, *arguments)` returns on each rank; the exit code of a rank that died instead."""
    started = []
    for rank in range(count):
        ours, theirs = _context.Pipe()
        process = _context.Process(target=_rank, args=(theirs, function, rank, count, arguments))
        process.start()
        theirs.close()
        started.append((process, ours))
    deadline = time.monotonic() + _LIMIT_SECONDS
    results: list[Any] = []
    try:
        for process, connection in started:
            with closing(connection):
                ready = wait([connection, process.sentinel], max(0.0, deadline - time.monotonic()))
                assert ready, f"rank {len(results)} hangs"
                try:
                    results.append(connection.recv())
                except EOFError:
                    process.join()
                    results.append(process.exitcode)
    finally:
        for process, _ in started:
            if len(results) < count:
                process.kill()
            process.join()
            process.close()
    return results


def _rank(connection: Connection, function: Callable[..., Any], rank: int, count: int, arguments: Any) -> None:
    connection.send(function(rank, count, *arguments))


def run_all(rank: int, count: int, folders: Sequence[Path], cache: Path, trainings: Sequence[Training]) -> Any:
    """One training after the other, as `run_rank` does it; the reports."""
    reports = []
    for folder, training in zip(folders, trainings, strict=True):
        folder.mkdir(exist_ok=True)
        reports.append(run_rank(training, a_context(folder, cache, rank=rank, ranks=count), started=time.time()))
    return reports


def reference_of(rank: int, count: int, training: Training, cache: Path, folder: Path) -> dict[str, float]:
    """What a rank finds of the samples that a trial rests on, and of a naive prediction."""
    ranks = Ranks(rank, count, rank)
    folder.mkdir(exist_ok=True)
    with joined(ranks, "CPU", f"file://{folder / 'rendezvous'}") as device:
        data = dataset_of(training, cache)
        return hashes(data, training.data, ranks, device) | naive(data, training.data, ranks, device)


def run_own(rank: int, count: int, folder: Path, cache: Path, trainings: Sequence[Training]) -> RankReport:
    """A training for each rank."""
    return run_rank(trainings[rank], a_context(folder, cache, rank=rank, ranks=count), started=time.time())


def run_in_haste(rank: int, count: int, folder: Path, cache: Path, training: Training, seconds: float) -> RankReport:
    """The training, with ranks that take each other for dead after so many seconds."""
    distributed.PEER_TIMEOUT = timedelta(seconds=seconds)
    return run_rank(training, a_context(folder, cache, rank=rank, ranks=count), started=time.time())


class Interrupted(Exception):
    """Stands for whatever ends a training between two epochs."""


def run_interrupted(
    rank: int, count: int, folders: Sequence[Path], cache: Path, training: Training, epoch: int
) -> list[RankReport]:
    """The training until it is interrupted in `epoch`, then again to its end; each rank in its own folder."""

    def interrupt(row: dict[str, float]) -> None:
        if row["epoch"] == epoch:
            raise Interrupted

    reports = []
    for on_epoch, rendezvous in ((interrupt, "first"), (lambda _: None, "second")):
        place = a_context(folders[rank], cache, rank=rank, ranks=count)
        place = type(place)(place.ranks, f"file://{folders[0] / rendezvous}", cache, folders[rank])
        reports.append(run_rank(training, place, started=time.time(), on_epoch=on_epoch))
    return reports


def run_until_killed(
    rank: int, count: int, folder: Path, cache: Path, training: Training
) -> tuple[RankReport, float]:
    """The last rank kills itself after its second epoch; the others report, and how long that took them."""
    last = time.monotonic()

    def on_epoch(row: dict[str, float]) -> None:
        nonlocal last
        if row["epoch"] == 2 and rank == count - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        last = time.monotonic()

    report = run_rank(
        training, a_context(folder, cache, rank=rank, ranks=count), started=time.time(), on_epoch=on_epoch
    )
    return report, time.monotonic() - last


def run_command(rank: int, count: int, port: int, home: Path, arguments: Sequence[str]) -> int:
    """`python -m trainer …` as torchrun starts it."""
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(count),
        LOCAL_RANK=str(rank),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        HOME=str(home),
    )
    from trainer.__main__ import main

    code = main(list(arguments))
    sys.stdout.flush()
    return code


def say(rank: int, count: int, rendezvous: str, text: str) -> tuple[str, list[float]]:
    """What reaches a rank of rank 0's text, and of its numbers."""
    import torch

    ranks = Ranks(rank, count, rank)
    with joined(ranks, "CPU", rendezvous) as device:
        numbers = torch.full((3,), float(rank))
        ranks.copy_from_rank0(numbers)
        return ranks.text_of_rank0(text if rank == 0 else "another", device), numbers.tolist()
