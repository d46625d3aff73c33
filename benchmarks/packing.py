"""Trials of one shape trained in packs on one core, beside version 0.1's loop, which trains them in turn."""

import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks import loop_of_0_1
from benchmarks.timing import in_turn, line, median, ratio
from trainer.data.build import prepare
from trainer.data.cache import default_cache
from trainer.data.dataset import Dataset, open_dataset
from trainer.experiment.training import Training
from trainer.scheduling.packs import MOST_TOGETHER
from trainer.training.distributed import Ranks
from trainer.training.loop import Result, train
from trainer.training.pack import train_pack

ROUNDS = 5
EPOCHS = 10
_CPU = torch.device("cpu")


def main() -> None:
    """Prints seconds per trial, and how far that is from what the core can multiply."""
    torch.set_num_threads(1)
    data = open_dataset(prepare(Training().data, default_cache()))
    together = {
        "3 trials, one order of samples": [_training(i, seed=0) for i in range(3)],
        "64 trials, one order of samples": [_training(i, seed=0) for i in range(64)],
        "64 trials, each its own order": [_training(i, seed=i) for i in range(64)],
        "512 trials, each its own order": [_training(i, seed=i) for i in range(512)],
    }
    calls: dict[str, Callable[[], float]] = {
        "0.1": _cpu_of(_frozen(data, _training(0, seed=0))),
        "by itself": _cpu_of(lambda: _alone(data)),
    }
    for name, trainings in together.items():
        calls[name] = _cpu_of(partial(_packed, data, trainings))
    calls["peak"] = _peak
    taken = in_turn(calls, ROUNDS)
    print(f"An MLP 64 x 2, batch 32, {EPOCHS} epochs of {len(data.train)} samples; one thread")
    peak = median(taken.pop("peak"))
    work = _multiplications(data) * EPOCHS
    line("the core multiplies 1024 x 1024 matrices at", f"{peak / 1e9:.0f} GFLOP/s")
    for name, seconds in taken.items():
        trials = int(name.split()[0]) if "trials" in name else 1
        each = [one / trials for one in seconds]
        rate = work / median(each)
        bar = "at least 2.5x" if trials > 1 else "at least 1.0x" if name != "0.1" else ""
        line(f"ms per trial, {name}", f"{1000 * median(each):.0f}")
        line("  GFLOP/s, share of that", f"{rate / 1e9:.1f}, {100 * rate / peak:.0f} %")
        line("  times as fast as 0.1's loop", f"{ratio(taken['0.1'], each):.2f}x", bar)


def _training(number: int, *, seed: int) -> Training:
    train = {"epochs": EPOCHS, "learningRate": 0.0001 * 1.01**number, "seed": seed}
    return Training.model_validate({"train": train})


def _frozen(data: Dataset, training: Training) -> Callable[[], object]:
    model, config = training.model, training.train
    return lambda: loop_of_0_1.train(
        data,
        hidden=model.hidden_size,
        layers=model.layers,
        rate=config.learning_rate,
        seed=config.seed,
        epochs=config.epochs,
        batch=config.batch_size,
    )


def _alone(data: Dataset) -> Result:
    return train(_training(0, seed=0), data, data.train, ranks=Ranks(), device=_CPU)


def _packed(data: Dataset, trainings: list[Training]) -> None:
    for start in range(0, len(trainings), MOST_TOGETHER):
        for left in train_pack(trainings[start : start + MOST_TOGETHER], data, data.train, device=_CPU):
            if not isinstance(left.end, Result):
                raise TypeError(f"member {left.member} ended as {left.end}")


def _cpu_of(call: Callable[[], object]) -> Callable[[], float]:
    def taken() -> float:
        begun = time.process_time()
        call()
        return time.process_time() - begun

    return taken


def _peak() -> float:
    """Floating-point operations a second in a large product of matrices."""
    a, b = (torch.rand(1024, 1024) for _ in range(2))
    begun = time.process_time()
    for _ in range(20):
        a @ b
    return 20 * 2 * 1024**3 / (time.process_time() - begun)


def _multiplications(data: Dataset) -> float:
    """Floating-point operations of an epoch's products: forward, and backward twice, but for the first inputs."""
    window, features = data.train.sample_shape
    inputs, hidden = window * features, 64
    return 2.0 * len(data.train) * (2 * inputs * hidden + 3 * hidden * hidden + 3 * hidden)


if __name__ == "__main__":
    main()
