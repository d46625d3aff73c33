"""Adam, AdamW and SGD in torch's functional form.

Constructing a `torch.optim.Optimizer` imports torch's compiler, a second of start-up that a short trial cannot earn
back; the functions it would call are the same, so the weights are too.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from trainer.experiment.training import Train
from trainer.training.stack import Stack

_BETAS = (0.9, 0.999)  # torch.optim.Adam's defaults
_EPSILON = 1e-8


class Optimizer:
    """Updates `parameters` from their gradients, and drops those. Its state is two tensors a parameter at most."""

    def __init__(self, train: Train, parameters: Iterable[nn.Parameter], learning_rate: float) -> None:
        self.parameters = list(parameters)
        self._train = train
        self._learning_rate = learning_rate
        self._moments = [[torch.zeros_like(p) for p in self.parameters] for _ in range(_moments(train))]
        self._steps = [torch.zeros((), dtype=torch.float32, device=p.device) for p in self.parameters]

    def step(self) -> None:
        """One update."""
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        _update(self._train, self._learning_rate, self.parameters, gradients, self._moments, self._steps)
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name: these very tensors, to be saved from and restored into."""
        named = {f"moment{k}.{i}": m for k, moments in enumerate(self._moments) for i, m in enumerate(moments)}
        return named | {f"step.{i}": step for i, step in enumerate(self._steps)}


class StackOptimizer:
    """Updates the rows of a stack, each by a training of its own: learning rates and weight decays may differ."""

    def __init__(self, trains: Sequence[Train], stack: Stack) -> None:
        self._trains = trains
        self._moments = [torch.zeros_like(stack.weights) for _ in range(_moments(trains[0]))]
        self._steps = torch.zeros(len(trains), dtype=torch.float32, device=stack.weights.device)
        self._arrange(stack)

    def step(self) -> None:
        """One update of every row."""
        for train, rows in self._alike:
            _update(train, train.learning_rate, *rows)

    def keep(self, rows: list[int], stack: Stack) -> None:
        """Goes on with these rows only, which are all that `stack` has."""
        self._trains = [self._trains[row] for row in rows]
        self._moments = [moments[rows] for moments in self._moments]
        self._steps = self._steps[rows]
        self._arrange(stack)

    def _arrange(self, stack: Stack) -> None:
        """Puts rows together that one call can update."""
        alike: dict[tuple[float, float], list[int]] = {}
        for row, train in enumerate(self._trains):
            alike.setdefault((train.learning_rate, train.weight_decay), []).append(row)

        def of(rows: list[int], matrix: Tensor) -> list[Tensor]:
            return [matrix[row] for row in rows]

        self._alike = [
            (
                self._trains[rows[0]],
                (
                    of(rows, stack.weights),
                    of(rows, stack.gradients),
                    [of(rows, moments) for moments in self._moments],
                    of(rows, self._steps),
                ),
            )
            for rows in alike.values()
        ]


def _moments(train: Train) -> int:
    return 1 if train.optimizer == "SGD" else 2


@torch.no_grad()
def _update(
    train: Train,
    learning_rate: float,
    parameters: Sequence[Tensor],
    gradients: list[Tensor],
    moments: Sequence[list[Tensor]],
    steps: list[Tensor],
) -> None:
    weights = list(parameters)
    if train.optimizer == "SGD":
        (buffers,) = moments
        momentum: list[Tensor | None] = [*buffers] if train.momentum else [None] * len(buffers)
        sgd(
            weights,
            gradients,
            momentum,
            lr=learning_rate,
            weight_decay=train.weight_decay,
            momentum=train.momentum,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            fused=True,
        )
    else:
        first, second = moments
        adam(
            weights,
            gradients,
            first,
            second,
            [],
            steps,
            lr=learning_rate,
            weight_decay=train.weight_decay,
            decoupled_weight_decay=train.optimizer == "AdamW",
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
            fused=True,
        )
