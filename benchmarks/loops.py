"""Samples per second of a trial's loop, beside the loops that people write by hand."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.timing import in_turn, line, median, ratio
from trainer.data.build import prepare
from trainer.data.cache import default_cache
from trainer.data.dataset import Dataset, open_dataset
from trainer.experiment.training import Training
from trainer.training.distributed import Ranks
from trainer.training.loop import train
from trainer.training.models import build

ROUNDS = 7


def main() -> None:
    """Prints the ratios for the default MLP at batch 32 on the default data."""
    torch.set_num_threads(1)
    training = Training()
    data = open_dataset(prepare(training.data, default_cache()))
    samples = len(data.train) * training.train.epochs
    loops: dict[str, Callable[[], None]] = {
        "trial": lambda: _trial(training, data),
        "indexing": lambda: _indexing(training, data),
        "DataLoader": lambda: _data_loader(training, data),
    }
    taken = in_turn({name: _timed(loop) for name, loop in loops.items()}, ROUNDS)
    print(f"One trial: MLP 64 x 2, batch 32, {training.train.epochs} epochs of {len(data.train)} samples, 1 thread")
    for name, seconds in taken.items():
        line(f"samples/s, {name}", f"{samples / median(seconds):,.0f}")
    line(
        "trial loop / loop that indexes tensors", f"{ratio(taken['indexing'], taken['trial']):.2f}x", "at least 1.0x"
    )
    line("trial loop / DataLoader loop", f"{ratio(taken['DataLoader'], taken['trial']):.2f}x", "at least 1.5x")


def _timed(call: Callable[[], None]) -> Callable[[], float]:
    def timed() -> float:
        begun = time.process_time()
        call()
        return time.process_time() - begun

    return timed


def _trial(training: Training, data: Dataset) -> None:
    train(training, data, data.train, ranks=Ranks(), device=torch.device("cpu"))


def _parts(data: Dataset) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    parts = [tuple(map(torch.from_numpy, part.gather(np.arange(len(part))))) for part in (data.train, data.valid)]
    return parts[0], parts[1]


def _model(training: Training, data: Dataset) -> tuple[nn.Module, torch.optim.Optimizer, nn.Module]:
    torch.manual_seed(0)
    window, features = data.train.sample_shape
    model = build(training.model, window=window, features=features, outputs=1)
    return model, torch.optim.Adam(model.parameters(), lr=training.train.learning_rate), nn.MSELoss()


def _validate(model: nn.Module, loss: nn.Module, valid: tuple[torch.Tensor, ...]) -> float:
    model.eval()
    with torch.no_grad():
        value: float = loss(model(valid[0]), valid[1]).item()
    model.train()
    return value


def _indexing(training: Training, data: Dataset) -> None:
    (x, y), valid = _parts(data)
    model, optimizer, loss = _model(training, data)
    for _ in range(training.train.epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), training.train.batch_size):
            batch = order[start : start + training.train.batch_size]
            optimizer.zero_grad()
            loss(model(x[batch]), y[batch]).backward()
            optimizer.step()
        _validate(model, loss, valid)


def _data_loader(training: Training, data: Dataset) -> None:
    (x, y), valid = _parts(data)
    model, optimizer, loss = _model(training, data)
    loader = DataLoader(TensorDataset(x, y), batch_size=training.train.batch_size, shuffle=True)
    for _ in range(training.train.epochs):
        for batch_x, batch_y in loader:
            optimizer.zero_grad()
            loss(model(batch_x), batch_y).backward()
            optimizer.step()
        _validate(model, loss, valid)
