"""Loads a training's samples from Kafka on all ranks at once, and says what that took: barrier to barrier.

Each rank reads and decodes an equal share of the messages. The clock starts when every rank is connected and warm and
stops when the slowest one has its share decoded. Sending the samples to the ranks that train on them comes after.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.build import hash_of, inputs_of
from trainer.data.kafka.checksum import MODULUS
from trainer.data.kafka.client import described
from trainer.data.kafka.fetch import Figures
from trainer.data.kafka.scaling import AllReduce, Combine, fitted, normalised, target_mean
from trainer.data.kafka.source import identity_of, laid_out, require_checksum, require_one_framing, resolved, share
from trainer.data.manifest import FORMAT_VERSION, Counts, Manifest
from trainer.data.split import PARTS
from trainer.experiment.training import Data, Train
from trainer.training.distributed import Group, Ranks
from trainer.training.redistribute import RankSamples, redistribute
from trainer.training.samples import batch_of


@dataclass(frozen=True)
class Loaded:
    """A rank's samples of each part, what is known of the whole set, and the figures of loading it, on rank 0."""

    manifest: Manifest
    train: RankSamples
    valid: RankSamples
    test: RankSamples
    figures: dict[str, float]


def load(data: Data, train: Train, ranks: Ranks, device: torch.device) -> Loaded:
    """The samples of `data.topic`. Every rank must call it.

    Raises:
        DataUnavailable: a message cannot be had or decoded; it names partition and offset.
    """
    all_reduce = _all_reduce(ranks, device)
    unhurried = ranks.unhurried()
    data = _same(data, ranks, device, unhurried)
    batch = batch_of(train, ranks)
    layout = laid_out(data)
    topic = described(data)
    with share(data, topic, layout.segments(layout.share(ranks.rank, ranks.count)), whole=ranks.count == 1) as mine:
        _barrier(ranks, device, unhurried)
        began = time.perf_counter()
        figures = mine.read()
        _barrier(ranks, device, unhurried)
        load_seconds = time.perf_counter() - began
        wire_bytes = mine.wire_bytes()
    buffer = mine.buffer
    require_one_framing(mine, all_reduce)
    checksum = int(all_reduce.added(np.array([buffer.checksum], np.int64))[0]) % MODULUS
    require_checksum(data, checksum)
    scalers = fitted(buffer.blocks(0), layout.count(0), data, all_reduce)
    for number in range(len(PARTS)):
        normalised(buffer.blocks(number), scalers, data)
    mean = target_mean(buffer.blocks(0), layout.count(0), all_reduce)
    redistributing = time.perf_counter()
    train_samples, valid_samples, test_samples = (
        redistribute(
            buffer,
            layout,
            number,
            batch=batch if part == "train" else ranks.count,
            shape=(data.window, len(data.columns)),
            ranks=ranks,
            device=device,
        )
        for number, part in enumerate(PARTS)
    )
    redistribute_seconds = time.perf_counter() - redistributing
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        hash=hash_of(inputs_of(data, identity_of(data, topic))),
        source={"name": data.source, **identity_of(data, topic), "checksum": checksum},
        tickers=tuple(one.ticker for one in scalers),
        columns=data.columns,
        target=None,
        window=data.window,
        task=data.task,
        classes=data.classes if data.task == "Classification" else None,
        class_edges=(),
        counts=Counts(train=layout.count(0), valid=layout.count(1), test=layout.count(2)),
        scalers=scalers,
        target_mean=mean,
        bytes=len(layout) * train_samples.sample_bytes,
        shards=(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    seconds = {
        "loadSeconds": load_seconds,
        "setupSeconds": mine.setup_seconds,
        "fetchSeconds": figures.fetch_seconds,
        "decodeSeconds": figures.decode_seconds,
        "dealSeconds": redistribute_seconds,
    }
    measured = _measured(seconds, figures, wire_bytes, all_reduce) | {"checksum": float(checksum)}
    assert measured["messages"] == len(layout), "reading ends with every message or an error"  # noqa: S101
    return Loaded(manifest, train_samples, valid_samples, test_samples, measured)


def _same(data: Data, ranks: Ranks, device: torch.device, group: Group) -> Data:
    """`data` with the topic and the ranges that an export service named to rank 0, on every rank."""
    if data.export is None:
        return data
    named = ""
    if ranks.is_rank0:
        known = resolved(data, ranks.count)
        named = json.dumps([known.topic, known.ranges])
    topic, ranges = json.loads(ranks.text_of_rank0(named, device, group))
    return data.model_copy(update={"topic": topic, "ranges": tuple(ranges), "export": None})


def _measured(
    seconds: dict[str, float], figures: Figures, wire_bytes: int, all_reduce: AllReduce
) -> dict[str, float]:
    """The figures of all ranks: the seconds of whichever took longest for each, and the sums of what came."""
    slowest = all_reduce.largest(np.array(list(seconds.values()))).tolist()
    measured: dict[str, float] = dict(zip(seconds, slowest, strict=True))
    came = all_reduce.added(np.array([figures.messages, figures.payload_bytes, wire_bytes], np.int64))
    messages, payload, wire = (float(number) for number in came)
    return measured | {
        "messages": messages,
        "messagesPerSecond": messages / measured["loadSeconds"],
        "megabytesPerSecond": payload / 1e6 / measured["loadSeconds"],
        "payloadBytes": payload,
        "wireBytes": wire,
    }


def _all_reduce(ranks: Ranks, device: torch.device) -> AllReduce:
    def by_way_of_device(combine: Callable[[Tensor], Tensor]) -> Combine:
        def combined(array: NDArray[Any]) -> NDArray[Any]:
            result: NDArray[Any] = combine(torch.from_numpy(array).to(device)).cpu().numpy()
            return result

        return combined

    return AllReduce(by_way_of_device(ranks.sum), by_way_of_device(ranks.largest)) if ranks.count > 1 else AllReduce()


def _barrier(ranks: Ranks, device: torch.device, group: Group) -> None:
    """Returns when every rank has come here."""
    ranks.sum(torch.zeros(1, device=device), group).item()
