"""The train loop of version 0.1 as it was, for an MLP on one rank. Later ones are measured by it."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.adam import adam

from trainer.data.dataset import Dataset, Part

_BLOCK = 1024


def train(data: Dataset, *, hidden: int, layers: int, rate: float, seed: int, epochs: int, batch: int) -> list[float]:
    """Trains with Adam in float32 and returns the validation loss of each epoch."""
    torch.default_generator.manual_seed(seed)
    window, features = data.train.sample_shape
    width, stack = window * features, list[nn.Module]([nn.Flatten()])
    for _ in range(layers):
        stack += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    model = _Network(nn.Sequential(*stack), nn.Linear(hidden, 1))
    parameters = list(model.parameters())
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    steps = [torch.zeros((), dtype=torch.float32) for _ in parameters]
    x, y = _tensors(data.train, np.arange(len(data.train)))
    best, best_loss, losses = _copy(model), math.inf, list[float]()
    for epoch in range(1, epochs + 1):
        total = torch.zeros((), dtype=torch.float64)
        for inputs, targets in _steps(x, y, batch, _order(len(y), batch, seed, epoch)):
            loss = functional.mse_loss(model(inputs), targets, reduction="sum") / len(targets)
            total += loss.detach() * len(targets)
            loss.backward()
            with torch.no_grad():
                gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
                adam(
                    parameters,
                    gradients,
                    first,
                    second,
                    [],
                    steps,
                    lr=rate,
                    weight_decay=0.0,
                    decoupled_weight_decay=False,
                    beta1=0.9,
                    beta2=0.999,
                    eps=1e-8,
                    amsgrad=False,
                    maximize=False,
                    fused=True,
                )
            for parameter in parameters:
                parameter.grad = None
        total.item()
        losses.append(_mse(model, data.valid))
        if losses[-1] < best_loss:
            best, best_loss = _copy(model), losses[-1]
    model.load_state_dict(best)
    _mse(model, data.valid), _mse(model, data.test)
    return losses


class _Network(nn.Module):
    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        scores = self.head(self.body(x))
        return scores.squeeze(1) if self.head.out_features == 1 else scores


def _order(samples: int, batch: int, seed: int, epoch: int) -> NDArray[np.int32]:
    order = np.arange(samples, dtype=np.int32)
    random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    steps, rest = divmod(samples, batch)
    whole = order[: steps * batch].reshape(steps, batch)
    if rest:
        longer = np.concatenate([whole[:, :rest], order[None, steps * batch :]])
        random.permuted(longer, axis=0, out=longer)
        whole[:, :rest] = longer[:-1]
        order[steps * batch :] = longer[-1]
    shorter = whole[:, rest:]
    shorter[...] = random.permuted(shorter, axis=0)
    return order


def _steps(x: Tensor, y: Tensor, batch: int, order: NDArray[np.int32]) -> Iterator[tuple[Tensor, Tensor]]:
    size = max(1, _BLOCK // batch) * batch
    for start in range(0, len(order), size):
        where = torch.from_numpy(order[start : start + size].astype(np.int64))
        yield from zip(x[where].split(batch), y[where].split(batch), strict=True)


def _mse(model: nn.Module, part: Part) -> float:
    sums = torch.zeros(4, dtype=torch.float64)
    for start in range(0, len(part), _BLOCK):
        x, y = _tensors(part, np.arange(start, min(start + _BLOCK, len(part))))
        model.eval()
        with torch.inference_mode():
            out = model(x)
        model.train()
        error, target = (out - y).double(), y.double()
        sums += torch.stack([(error * error).sum(), error.abs().sum(), target.sum(), (target * target).sum()])
    return float(sums[0]) / len(part)


def _tensors(part: Part, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    x, y = part.gather(indices)
    return torch.from_numpy(x), torch.from_numpy(y)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
