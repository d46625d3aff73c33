"""Runs one rank of one trial: data, training, artefacts, and a report of how it went, whatever happened.

The same code runs under the local runner, `python -m trainer train`, torchrun and in a pod.
"""

import errno
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.atomic import write_text
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.data.errors import DataUnavailable
from trainer.data.scale import training_part
from trainer.experiment.errors import UserError
from trainer.experiment.memory_words import out_of_memory
from trainer.experiment.metrics import UNDEFINED_BECAUSE
from trainer.experiment.outcome import Outcome
from trainer.experiment.progress import HISTORY
from trainer.experiment.record import Memory, RankReport, Seconds, cut_error, undefined_name
from trainer.experiment.training import Training
from trainer.memory import MemoryMonitor, ticking
from trainer.training.checkpoint import CHECKPOINT, Checkpoints, save_tensors
from trainer.training.distributed import Ranks, is_loss_of_peer, joined
from trainer.training.environment import environment
from trainer.training.evaluate import metric_name
from trainer.training.loading import load
from trainer.training.loop import Diverged, Result, train
from trainer.training.reference import hashes, naive
from trainer.training.samples import SampleSet, Source

WEIGHTS, CONFIG, METRICS, NORMALIZATION = (
    "weights.safetensors",
    "config.json",
    "metrics.json",
    "normalization.json",
)


@dataclass(frozen=True)
class RankContext:
    """Where a rank runs: its place among the ranks, how they meet, where data sets are kept, where artefacts go.

    `ready` are folders of data sets that were built elsewhere and can't be written. `earlier` are the folders of
    attempts at the same trial that were interrupted, the latest first. `checkpoint_seconds` is how often a checkpoint
    is written where the training doesn't say.
    """

    ranks: Ranks
    rendezvous: str
    cache: Path
    folder: Path | None
    ready: tuple[Path, ...] = ()
    earlier: tuple[Path, ...] = ()
    checkpoint_seconds: float | None = None


class Clock:
    """Adds up where a rank's time goes, also when an error ends it."""

    def __init__(self, spent: dict[str, float], started: float) -> None:
        self._spent = spent
        self._started = started
        self._running: tuple[str, float] | None = None

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Adds what passes inside the context to `what`, a field of `Seconds`."""
        self._running = (what, time.perf_counter())
        try:
            yield
        finally:
            self._spent, self._running = self._so_far(), None

    def seconds(self) -> Seconds:
        """What was measured so far, of what is being measured too."""
        return Seconds(**self._so_far(), total=max(0.0, time.time() - self._started))

    def _so_far(self) -> dict[str, float]:
        if (running := self._running) is None:  # taken once: a thread may ask
            return self._spent
        what, begun = running
        return self._spent | {what: self._spent.get(what, 0.0) + time.perf_counter() - begun}


def run_rank(
    training: Training,
    context: RankContext,
    *,
    started: float,
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
    monitor: MemoryMonitor | None = None,
    meanwhile: Callable[[RankReport], None] | None = None,
) -> RankReport:
    """Trains and reports; every error becomes the report's outcome. `started` is when this process began (time.time).

    Rank 0 leaves in `context.folder` the configuration, metrics, history, normalisation and best weights. `meanwhile`
    is given a provisional report 20 times a second, for whoever finds the rank killed.
    """
    begun = time.time()
    monitor = monitor or MemoryMonitor()
    clock = Clock({"start": max(0.0, begun - started)}, started)
    known = RankReport(rank=context.ranks.rank, provisional=True)

    def note(**figures: Any) -> None:
        nonlocal known
        known = known.model_copy(update=figures)

    def tell() -> None:
        assert meanwhile is not None  # noqa: S101
        update = {"clock": now(), "seconds": clock.seconds(), "memory": monitor.result()}
        meanwhile(known.model_copy(update=update))

    try:
        torch.set_num_threads(training.train.threads)
        with ticking(tell) if meanwhile is not None else nullcontext():
            result, data, beside, device = _train(training, context, clock, monitor, on_epoch, note)
        metrics = metrics_of(result) | beside
        if context.ranks.is_rank0 and context.folder is not None:
            write_artefacts(context.folder, training, data, result, metrics, clock.seconds())
            for folder in (context.folder, *context.earlier):  # they have served
                (folder / CHECKPOINT).unlink(missing_ok=True)
        return RankReport(
            rank=context.ranks.rank,
            clock=now(),
            metrics=known.metrics | metrics if context.ranks.is_rank0 else {},
            seconds=clock.seconds(),
            memory=_memory(monitor),
            samples=known.samples,
            dataset_bytes=known.dataset_bytes,
            epochs=result.progress.epoch,
            resumed_from=result.resumed_from,
            environment=environment(device, training.train.threads) if context.ranks.is_rank0 else None,
        )
    except Exception as error:
        left = {
            "seconds": clock.seconds(),
            "memory": _memory(monitor),
            "metrics": known.metrics,
            "samples": known.samples,
            "dataset_bytes": known.dataset_bytes,
        }
        return failure(context.ranks, error).model_copy(update=left)


def failure(ranks: Ranks, error: Exception) -> RankReport:
    """The report of a rank that `error` ended."""
    return RankReport(
        rank=ranks.rank,
        outcome=outcome_of(error),
        error=cut_error(sentence(error)),
        lost_peer=ranks.count > 1 and is_loss_of_peer(error),
        clock=now(),
    )


def _train(
    training: Training,
    context: RankContext,
    clock: Clock,
    monitor: MemoryMonitor,
    on_epoch: Callable[[dict[str, float]], None],
    note: Callable[..., None],
) -> tuple[Result, SampleSet, dict[str, float], torch.device]:
    """What training came to, on what, and beside its metrics the naive ones, and those of loading where measured.

    `note` is given fields of the report as they become known.
    """
    data: SampleSet
    source: Source
    beside: dict[str, float] = {}
    if training.data.source != "kafka":
        with clock.measure("data"):
            data = dataset = open_dataset(prepare(training.data, context.cache, ready=context.ready))
            source = training_part(dataset, training.data.multiplier, (*context.ready, context.cache))
            note(**size(data, source))
    with ExitStack() as group:
        with clock.measure("start"):
            device = group.enter_context(joined(context.ranks, training.train.device, context.rendezvous))
        if training.data.source == "kafka":  # each time anew, and by all ranks together
            with clock.measure("data"):
                data = loaded = load(training.data, training.train, context.ranks, device)
                source, beside = loaded.train, loaded.figures
                note(**size(data, source))
        group.enter_context(clock.measure("train"))
        require_same_data(data, context.ranks, device)
        note(metrics=hashes(data, training.data, context.ranks, device))
        beside = beside | naive(data, training.data, context.ranks, device)

        def observe(row: dict[str, float]) -> None:
            monitor.read()
            on_epoch(row)

        result = train(
            training,
            data,
            source,
            ranks=context.ranks,
            device=device,
            checkpoints=Checkpoints(context.folder, context.earlier, context.checkpoint_seconds),
            on_epoch=observe,
        )
    return result, data, beside, device


def size(data: SampleSet, source: Source) -> dict[str, int]:
    """How much is trained on, as reports name it."""
    return {"samples": len(source), "dataset_bytes": len(source) * data.train.sample_bytes}


def require_same_data(data: SampleSet, ranks: Ranks, device: torch.device) -> None:
    """Raises DataUnavailable on a rank whose data set is not rank 0's, as when each machine downloaded its own."""
    wanted = ranks.text_of_rank0(data.manifest.hash, device)
    if data.manifest.hash != wanted:
        raise DataUnavailable(
            f"data: all workers must train on the same data set, but rank {ranks.rank} has {data.manifest.hash[:16]} "
            f"and rank 0 has {wanted[:16]}; give them one data folder, or the same file"
        )


def outcome_of(error: BaseException) -> Outcome:
    """The outcome that an exception of the training stands for."""
    if isinstance(error, Diverged):
        return Outcome.DIVERGED
    if isinstance(error, DataUnavailable):
        return Outcome.DATA_UNAVAILABLE
    for cause in _causes(error):
        if (found := _memory_used_up(cause)) is not None:
            return found
    return Outcome.INVALID_CONFIG if isinstance(error, UserError | ValueError) else Outcome.CRASHED


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what a group of errors holds, and what they were raised from."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [each for each in (one.__cause__, None if one.__suppress_context__ else one.__context__) if each]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def _memory_used_up(error: BaseException) -> Outcome | None:
    if isinstance(error, torch.OutOfMemoryError):
        return Outcome.DEVICE_OOM
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return Outcome.HOST_OOM
    # Other allocators raise a RuntimeError, or a kind of their own of it, that says so in words; so do the loader of
    # libraries, and the system where shared memory is full.
    told = isinstance(error, RuntimeError | SystemError | ImportError | OSError)
    return out_of_memory(str(error)) if told else None


def sentence(error: BaseException) -> str:
    """An exception as one line: a user's mistake by its text, anything else with its type."""
    # torch appends its C++ stack to some errors.
    text = " ".join(str(error).partition("\nException raised from ")[0].split())
    if isinstance(error, UserError | Diverged):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def write_artefacts(
    folder: Path, training: Training, data: SampleSet, result: Result, metrics: dict[str, float], seconds: Seconds
) -> None:
    """Everything that a run leaves besides its record: what was trained, how well, and what predicts with it.

    The configuration goes first and comes last: a folder that has it holds the whole of one run.
    """
    (folder / CONFIG).unlink(missing_ok=True)
    confusion = {
        part: figures.confusion
        for part, figures in (("valid", result.valid), ("test", result.test))
        if figures is not None and figures.confusion is not None
    }
    undefined = {name: why for name, why in UNDEFINED_BECAUSE.items() if undefined_name(name) in metrics}
    flags = {undefined_name(name) for name in undefined}
    document = {
        "metrics": {name: value for name, value in metrics.items() if name not in flags},
        "bestEpoch": result.progress.best_epoch,
        "epochs": result.progress.epoch,
        "seconds": seconds.document(),
    }
    found = {"undefined": undefined, "confusion": confusion}
    document |= {name: value for name, value in found.items() if value}
    write_text(folder / METRICS, json.dumps(document, indent=2) + "\n")
    write_text(folder / HISTORY, "".join(json.dumps(row) + "\n" for row in result.progress.history))
    write_text(
        folder / NORMALIZATION, data.manifest.model_dump_json(by_alias=True, exclude={"shards"}, indent=2) + "\n"
    )
    save_tensors(folder / WEIGHTS, result.weights)
    write_text(folder / CONFIG, json.dumps(training.portable(), indent=2) + "\n")


def metrics_of(result: Result) -> dict[str, float]:
    """What a training measured, by the names that records have."""
    metrics = {"trainLoss": result.progress.history[-1]["trainLoss"]}
    for part, figures in (("valid", result.valid), ("test", result.test)):
        if figures is not None:
            metrics |= figures.named(part)
            metrics |= {undefined_name(metric_name(part, name)): 1.0 for name in figures.undefined}
    return metrics


def _memory(monitor: MemoryMonitor) -> Memory | None:
    try:
        memory = monitor.result()
    except (OSError, MemoryError):
        return None
    # Asking whether CUDA is there would start it, and take memory.
    if torch.cuda.is_initialized():
        memory = memory.model_copy(update={"device_peak_bytes": torch.cuda.max_memory_allocated()})
    return memory
