"""Adam, AdamW and SGD in torch's functional form.

Constructing a `torch.optim.Optimizer` imports torch's compiler, a second of start-up that a short trial cannot earn
back; the functions it would call are the same, so the weights are too.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from trainer.experiment.training import Train

_BETAS = (0.9, 0.999)  # torch.optim.Adam's defaults
_EPSILON = 1e-8


class Optimizer:
    """Updates `parameters` from their gradients, and drops those. Its state is two tensors a parameter at most."""

    def __init__(self, train: Train, parameters: Iterable[nn.Parameter], learning_rate: float) -> None:
        self.parameters = list(parameters)
        self._train = train
        self._learning_rate = learning_rate
        moments = 1 if train.optimizer == "SGD" else 2
        self._moments = [[torch.zeros_like(p) for p in self.parameters] for _ in range(moments)]
        self._steps = [torch.zeros((), dtype=torch.float32, device=p.device) for p in self.parameters]

    def step(self) -> None:
        """One update."""
        with torch.no_grad():
            self._update(self._train)
        for parameter in self.parameters:
            parameter.grad = None

    def _update(self, train: Train) -> None:
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        if train.optimizer == "SGD":
            (buffers,) = self._moments
            momentum: list[Tensor | None] = [*buffers] if train.momentum else [None] * len(buffers)
            sgd(
                self.parameters,
                gradients,
                momentum,
                lr=self._learning_rate,
                weight_decay=train.weight_decay,
                momentum=train.momentum,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                fused=True,
            )
        else:
            first, second = self._moments
            adam(
                self.parameters,
                gradients,
                first,
                second,
                [],
                self._steps,
                lr=self._learning_rate,
                weight_decay=train.weight_decay,
                decoupled_weight_decay=train.optimizer == "AdamW",
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                eps=_EPSILON,
                amsgrad=False,
                maximize=False,
                fused=True,
            )

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name: these very tensors, to be saved from and restored into."""
        named = {f"moment{k}.{i}": m for k, moments in enumerate(self._moments) for i, m in enumerate(moments)}
        return named | {f"step.{i}": step for i, step in enumerate(self._steps)}
