"""Trainings and data sets for tests of the trainer: small, on one CPU thread, each field open to change."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import settings

from trainer.data.build import prepare
from trainer.data.dataset import Dataset, open_dataset
from trainer.data.multiply import Multiplied
from trainer.experiment.training import Training
from trainer.training.distributed import Ranks
from trainer.training.loop import Result, train
from trainer.training.trial import RankContext

# Enough for what a test of properties is to find, and a limit of time would fail on a machine that is busy.
few = settings(max_examples=30)

# Synthetic rows: 126 of 175 train, so 121 windows of 5 rows; 9 in the validation part, 30 in the test.
TRAIN_SAMPLES = 121


def a_training(**sections: dict[str, Any]) -> Training:
    """A small MLP on synthetic rows; `data`, `model`, `train` and `evaluate` replace fields by their YAML names."""
    whole: dict[str, dict[str, Any]] = {
        "data": {"source": "synthetic", "rows": 175, "window": 5},
        "model": {"hiddenSize": 8, "layers": 1},
        "train": {"epochs": 3, "device": "CPU"},
    }
    for name, fields in sections.items():
        whole[name] = {**whole.get(name, {}), **fields}
    return Training.model_validate_json(json.dumps(whole))


def dataset_of(training: Training, cache: Path) -> Dataset:
    return open_dataset(prepare(training.data, cache))


def a_context(folder: Path, cache: Path, *, rank: int = 0, ranks: int = 1) -> RankContext:
    return RankContext(Ranks(rank, ranks, rank), f"file://{folder / 'rendezvous'}", cache, folder)


def train_alone(training: Training, cache: Path, **others: Any) -> Result:
    """What `train` makes of it as the only rank."""
    torch.set_num_threads(1)
    data = dataset_of(training, cache)
    multiplier = training.data.multiplier
    source = Multiplied(data.train, multiplier) if multiplier > 1 else data.train
    return train(training, data, source, ranks=Ranks(), device=torch.device("cpu"), **others)


def losses(history: list[dict[str, float]]) -> list[float]:
    return [row["trainLoss"] for row in history]


def without_times(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def history_in(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def write_npz(path: Path, *, samples: int = 120, classes: int = 0, seed: int = 0, window: int = 4) -> dict[str, Any]:
    """An npz whose target is a plain function of the window, and the `data` section that reads it."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((samples, window, 2)).astype(np.float32)
    signal = x[:, -1, 0] - 0.5 * x[:, -2, 1]
    if classes:
        edges = np.quantile(signal, np.arange(1, classes) / classes)
        y = np.searchsorted(edges, signal).astype(np.int64)
    else:
        y = signal.astype(np.float32)
    cut, end = samples * 6 // 10, samples * 8 // 10
    np.savez(
        path,
        X_train=x[:cut],
        y_train=y[:cut],
        X_val=x[cut:end],
        y_val=y[cut:end],
        X_test=x[end:],
        y_test=y[end:],
    )
    data = {"source": "npz", "path": str(path), "window": window, "columns": ["a", "b"], "normalize": "None"}
    return data | ({"task": "Classification", "classes": classes} if classes else {})
