"""Runs trials that train together: reads their data once, leaves of each its artefacts and a report."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.data.scale import training_part
from trainer.experiment.record import RankReport, Seconds
from trainer.experiment.training import Training
from trainer.training.distributed import Ranks, joined
from trainer.training.environment import environment
from trainer.training.loop import Diverged, Result
from trainer.training.pack import Left, train_pack
from trainer.training.reference import hashes, naive
from trainer.training.trial import failure, metrics_of, now, size, write_artefacts


@dataclass(frozen=True)
class Member:
    """A trial of a pack, and where it leaves what it makes."""

    training: Training
    folder: Path


def run_pack(
    members: Sequence[Member],
    cache: Path,
    ready: Sequence[Path],
    *,
    started: float,
    on_epoch: Callable[[int, dict[str, float]], None],
    taken_out: Callable[[], Collection[int]],
) -> Iterator[tuple[int, RankReport]]:
    """Trains the members; yields each, by its place, with its report as it leaves the pack.

    One that was taken out leaves a provisional report. Whatever else goes wrong is raised: it is of the whole pack,
    and nobody knows whose fault it was. `started` is when this process began (time.time). Times are a member's share
    of the pack's.
    """
    first, count, ranks = members[0].training, len(members), Ranks()
    torch.set_num_threads(first.train.threads)
    begun = time.time()
    data = open_dataset(prepare(first.data, cache, ready=tuple(ready)))
    source = training_part(data, first.data.multiplier, (*ready, cache))
    opened = time.time()
    with joined(ranks, first.train.device, "") as device:
        beside = hashes(data, first.data, ranks, device)
        measured = naive(data, first.data, ranks, device)
        known = RankReport(environment=environment(device, first.train.threads)).model_copy(update=size(data, source))
        spent = max(0.0, begun - started) + time.time() - opened
        shared = Seconds(start=spent / count, data=(opened - begun) / count, total=0.0)

        def report(left: Left) -> RankReport:
            seconds = shared.model_copy(
                update={"train": left.seconds, "total": shared.start + shared.data + left.seconds}
            )
            about = known.model_copy(update={"clock": now(), "seconds": seconds, "metrics": beside})
            if isinstance(left.end, Diverged):
                told = failure(ranks, left.end)
                return about.model_copy(update={"outcome": told.outcome, "error": told.error, "environment": None})
            if left.end is None:
                return about.model_copy(update={"provisional": True})
            return about.model_copy(update=_result(members[left.member], left.end, seconds))

        def _result(member: Member, result: Result, seconds: Seconds) -> dict[str, object]:
            metrics, begun = metrics_of(result) | measured, time.perf_counter()
            write_artefacts(member.folder, member.training, data, result, metrics, seconds)
            written = time.perf_counter() - begun
            total = seconds.model_copy(update={"total": seconds.total + written})
            return {"metrics": beside | metrics, "epochs": result.progress.epoch, "seconds": total}

        trainings = [member.training for member in members]
        for left in train_pack(trainings, data, source, device=device, on_epoch=on_epoch, taken_out=taken_out):
            yield left.member, report(left)
