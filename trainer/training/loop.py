"""The train loop."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.experiment.training import Train, Training
from trainer.training.checkpoint import Checkpoints, Saver, TrainingProgress
from trainer.training.distributed import Ranks
from trainer.training.evaluate import Figures, evaluate
from trainer.training.models import build, dtype_of, outputs_for
from trainer.training.optimize import Optimizer
from trainer.training.redistribute import RankSamples
from trainer.training.samples import SampleSet, Source, TrainingSamples

_NO_SPREAD = 1e-6  # relative: what float32 leaves of a constant


class Diverged(Exception):
    """A loss is no longer finite."""


@dataclass(frozen=True)
class Result:
    """What training came to. `weights` are those of the epoch with the best validation loss; figures are theirs.

    `resumed_from` is the epoch after which it went on from a checkpoint, 0 where it began anew.
    """

    progress: TrainingProgress
    resumed_from: int
    weights: dict[str, Tensor]
    valid: Figures | None
    test: Figures | None


def train(
    training: Training,
    data: SampleSet,
    source: Source,
    *,
    ranks: Ranks,
    device: torch.device,
    checkpoints: Checkpoints = Checkpoints(),  # noqa: B008 - frozen
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
) -> Result:
    """Trains on `source`, the training part of `data` or a multiple of it, as `training` says.

    The same seed and global batch give the same losses for any number of ranks, up to rounding. An epoch's loss is
    the mean over its samples: squared error, or cross-entropy in nats. `on_epoch` is given each epoch's figures.
    With `checkpoints` an interrupted training goes on from its last one, and ends as it would have: to the bit.

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    config = training.train
    dtype = dtype_of(config)
    torch.set_default_dtype(dtype)
    seed_torch(config.seed, device)  # before the model: all ranks start from the same weights

    classes = outputs_for(training.data)
    window, features = data.train.sample_shape
    targets = None
    if config.target_scaling == "ZScore":
        targets = data.manifest.target_mean, target_deviation(data, ranks, device)
    model = build(training.model, window=window, features=features, outputs=classes, targets=targets).to(device)
    parallel = ranks.wrap(model)
    rate = config.learning_rate * (ranks.count if config.learning_rate_scaling == "Linear" else 1)
    optimizer = Optimizer(config, model.parameters(), rate)
    # What was sent to this rank is in memory already, though not in a GPU's.
    resident = training.data.residency == "InMemory" and not (
        isinstance(source, RankSamples) and device.type == "cpu"
    )
    samples = TrainingSamples(source, config, ranks, device, dtype, resident=resident)
    criterion = functional.mse_loss if classes == 1 else functional.cross_entropy
    # DistributedDataParallel divides gradients by the ranks; the loss already counts the whole batch. Where targets
    # are scaled, steps are those of the scaled error, and the loss that is told is in the target's own units.
    step_size = ranks.count / (targets[1] ** 2 if targets is not None else 1)
    like = torch.empty(0, dtype=dtype, device=device)

    def figures(part: Source) -> Figures | None:
        return evaluate(
            model,
            part,
            task=training.data.task,
            classes=classes,
            threshold=training.evaluate.threshold,
            target_mean=data.manifest.target_mean,
            ranks=ranks,
            like=like,
        )

    best = copy(model)
    saver = Saver(checkpoints, training, data.manifest.hash, ranks)
    progress = saver.restore(model, optimizer, best, device)
    resumed_from = progress.epoch

    while not finished(progress, config):
        began = time.perf_counter()
        progress.epoch += 1
        seed_torch(dropout_seed(config.seed, progress.epoch, ranks.rank), device)
        total = torch.zeros((), dtype=torch.float64, device=device)
        for x, y, batch in samples.epoch(progress.epoch):
            if len(y) == 0:  # others have samples left in this step, and wait for this rank's gradients
                loss = parallel(x.new_zeros(1, window, features)).sum() * 0.0
            else:
                loss = criterion(parallel(x), y, reduction="sum") / batch
            total += loss.detach() * batch
            (loss * step_size if step_size != 1 else loss).backward()
            if config.gradient_clip:
                nn.utils.clip_grad_norm_(optimizer.parameters, config.gradient_clip)
            optimizer.step()

        train_loss = ranks.sum(total).item() / samples.count
        require_finite(train_loss, "training", progress.epoch)
        valid = figures(data.valid)
        if valid is not None:
            require_finite(valid.loss, "validation", progress.epoch)
        compared = valid.loss if valid is not None else train_loss
        row = {"epoch": progress.epoch, "trainLoss": train_loss}
        if valid is not None:
            row |= {"validLoss": valid.loss} | valid.named("valid")
        row["seconds"] = time.perf_counter() - began
        progress.history.append(row)
        if compared < progress.best_loss:
            progress.best_loss, progress.best_epoch = compared, progress.epoch
            best = copy(model)
        on_epoch(row)
        saver.epoch_ended(model, optimizer, progress, best)

    model.load_state_dict(best)
    valid, test = figures(data.valid), figures(data.test)
    if test is not None:
        require_finite(test.loss, "test", progress.best_epoch)
    return Result(progress, resumed_from, best, valid, test)


def target_deviation(data: SampleSet, ranks: Ranks, device: torch.device) -> float:
    """The deviation of the training targets of all ranks; 1 where they are constant but for rounding."""
    _, y = data.train.targets(ranks.rank, ranks.count)
    error = y.astype(np.float64) - data.manifest.target_mean
    squares = torch.tensor((error * error).sum(), dtype=torch.float64, device=device)
    deviation = math.sqrt(ranks.sum(squares).item() / len(data.train))
    return deviation if deviation > _NO_SPREAD * abs(data.manifest.target_mean) else 1.0


def finished(progress: TrainingProgress, config: Train) -> bool:
    """Whether all epochs are done, or `patience` of them brought nothing better."""
    waited = progress.epoch - progress.best_epoch
    return progress.epoch >= config.epochs or (config.patience > 0 and waited >= config.patience)


def require_finite(loss: float, part: str, epoch: int) -> None:
    """Raises Diverged for a loss that is NaN or infinite."""
    if not math.isfinite(loss):
        raise Diverged(f"the {part} loss became {loss} in epoch {epoch}")


def seed_torch(seed: int, device: torch.device) -> None:
    """Seeds what `device` draws from. torch.manual_seed notes a stack trace for CUDA, a millisecond each time."""
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    torch.default_generator.manual_seed(seed)


def copy(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights as they are now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def dropout_seed(seed: int, epoch: int, rank: int) -> int:
    """A seed of its own for each epoch and rank, so that a resumed training draws what it would have drawn."""
    return (seed * 1_000_003 + epoch) * 4_099 + rank + 1
