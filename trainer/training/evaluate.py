"""Exact metrics over all ranks: sums are added up first and divided last, so no sharding changes a figure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.experiment.training import Task
from trainer.training.distributed import Ranks
from trainer.training.samples import Source, tensors
from trainer.training.stack import Stack

_CHUNK = 1024  # samples per forward pass: bounds the memory of a large validation set


@dataclass(frozen=True)
class Figures:
    """`loss` is what early stopping compares; `metrics` have names without a part's prefix, such as mse.

    `confusion[i][j]` counts samples of class i that were taken for class j. `undefined` names metrics that have no
    value on these samples, and are not among `metrics`.
    """

    loss: float
    metrics: dict[str, float]
    confusion: list[list[int]] | None = None
    undefined: tuple[str, ...] = ()

    def named(self, part: str) -> dict[str, float]:
        """The metrics with a prefix: validMse."""
        return {metric_name(part, name): value for name, value in self.metrics.items()}


def metric_name(part: str, name: str) -> str:
    """A metric's name with a part's prefix: validMse."""
    return part + name[0].upper() + name[1:]


def evaluate(
    model: nn.Module,
    source: Source,
    *,
    task: Task,
    classes: int,
    threshold: float,
    target_mean: float,
    ranks: Ranks,
    like: Tensor,
) -> Figures | None:
    """The model's figures on all samples of `source`, None of an empty one. `like` has the dtype and device.

    `target_mean` is a number near the targets: R² sums how far they are from it, so a large mean costs no digits.
    """
    if len(source) == 0:
        return None
    sums = torch.zeros(4 if task == "Regression" else 1 + classes * classes, dtype=torch.float64, device=like.device)
    for out, y in outputs(model, source, ranks, like):
        if task == "Regression":
            sums += _regression(out, y, target_mean)
        else:
            sums += _classification(out, y, classes, threshold)
    totals = ranks.sum(sums).tolist()
    if task == "Regression":
        return regression_figures(len(source), *totals)
    return classification_figures(totals[0], np.array(totals[1:]).reshape(classes, classes))


def evaluate_stack(
    stack: Stack, x: Tensor, y: Tensor, *, classes: int, threshold: float, target_mean: float
) -> list[Figures]:
    """The same of every network of a stack, on all samples x [samples, inputs] with their targets; there are some."""
    regression = y.is_floating_point()
    sums = x.new_zeros(len(stack.weights), 4 if regression else 1 + classes * classes, dtype=torch.float64)
    with torch.inference_mode():
        for some, targets in zip(x.split(_CHUNK), y.split(_CHUNK), strict=True):
            out = stack.outputs(some)
            sums += (
                _stacked_regression(out.squeeze(2), targets, target_mean)
                if regression
                else _stacked_classification(out, targets, threshold)
            )
    if regression:
        return [regression_figures(len(y), *each) for each in sums.tolist()]
    return [
        classification_figures(loss, np.array(counts).reshape(classes, classes)) for loss, *counts in sums.tolist()
    ]


def outputs(model: nn.Module, source: Source, ranks: Ranks, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """What the model makes of this rank's share of `source`, beside the targets, in chunks."""
    mine = np.arange(ranks.rank, len(source), ranks.count, dtype=np.int64)
    for start in range(0, len(mine), _CHUNK):
        x, y = tensors(source.gather(mine[start : start + _CHUNK]), like.device, like.dtype)
        yield outputs_of(model, x), y


def outputs_of(model: nn.Module, x: Tensor) -> Tensor:
    """The model's outputs without dropout and without a graph."""
    model.eval()
    with torch.inference_mode():
        out: Tensor = model(x)
    model.train()
    return out


def _regression(out: Tensor, y: Tensor, target_mean: float) -> Tensor:
    error, target = (out - y).double(), y.double() - target_mean
    return torch.stack([(error * error).sum(), error.abs().sum(), target.sum(), (target * target).sum()])


def _classification(out: Tensor, y: Tensor, classes: int, threshold: float) -> Tensor:
    loss = functional.cross_entropy(out.double(), y, reduction="sum")
    cells = torch.bincount(y * classes + predicted_class(out, threshold), minlength=classes * classes)
    return torch.cat([loss.reshape(1), cells.double()])


def _stacked_regression(out: Tensor, y: Tensor, target_mean: float) -> Tensor:
    error, target = (out - y).double(), y.double() - target_mean
    targets = torch.stack([target.sum(), (target * target).sum()]).expand(len(out), 2)
    return torch.cat([torch.stack([(error * error).sum(1), error.abs().sum(1)], dim=1), targets], dim=1)


def _stacked_classification(out: Tensor, y: Tensor, threshold: float) -> Tensor:
    networks, samples, classes = out.shape
    scores, targets = out.reshape(-1, classes), y.repeat(networks)
    losses = functional.cross_entropy(scores.double(), targets, reduction="none").view(networks, samples).sum(1)
    network = torch.arange(networks, device=y.device).repeat_interleave(samples)
    cells = (network * classes + targets) * classes + predicted_class(scores, threshold)
    counts = torch.bincount(cells, minlength=networks * classes * classes).view(networks, -1)
    return torch.cat([losses.unsqueeze(1), counts.double()], dim=1)


def predicted_class(out: Tensor, threshold: float) -> Tensor:
    """The class of each row of logits; of two, class 1 from probability `threshold` on."""
    if out.shape[1] == 2:
        return (torch.softmax(out, dim=1)[:, 1] >= threshold).long()
    return out.argmax(dim=1)


def regression_figures(n: int, squared: float, absolute: float, target: float, target_squared: float) -> Figures:
    """MSE, MAE and R² from the sums of e², |e|, y and y² over n samples; y may be counted from any number.

    R² = 1 - Σe² / (Σy² - (Σy)²/n); a constant target has none.
    """
    spread = target_squared - target * target / n
    metrics = {"mse": squared / n, "mae": absolute / n}
    r2 = -math.inf
    if spread > 1e-12 * target_squared:  # what rounding leaves of a constant target is no spread
        r2 = 1 - squared / spread
    if math.isfinite(r2):
        return Figures(squared / n, metrics | {"r2": r2})
    return Figures(squared / n, metrics, undefined=("r2",))


def classification_figures(loss: float, confusion: np.ndarray[Any, np.dtype[Any]]) -> Figures:
    """Log loss, accuracy and F1 from the summed loss and the counts of true class by predicted class.

    F1 is class 1's of two classes, else the mean over the classes that occur, as in scikit-learn. There is none where
    class 1 of two does not occur: whatever is predicted, it would be 0.
    """
    n = confusion.sum()
    hits = np.diag(confusion)
    either = confusion.sum(axis=0) + confusion.sum(axis=1)
    scores = np.divide(2 * hits, either, out=np.zeros(len(hits)), where=either > 0)
    seen = either > 0
    f1 = scores[1] if len(scores) == 2 else scores[seen].mean()
    metrics = {"logLoss": loss / n, "accuracy": hits.sum() / n}
    defined = len(scores) > 2 or confusion[1].any()
    if defined:
        metrics["f1"] = f1
    return Figures(
        loss / n,
        {name: float(value) for name, value in metrics.items()},
        confusion.astype(int).tolist(),
        () if defined else ("f1",),
    )
