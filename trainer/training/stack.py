"""Multilayer perceptrons of one shape, computed as one: their forward pass, their loss, and its gradients.

Network t's weights are row t of one matrix, in the order in which `build` makes its parameters. A layer of all
networks is then one batched product, and no graph is recorded: docs/decisions/0027-packed-training.md derives the
gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Layer:
    """A linear layer of all networks: weight [networks, outputs, inputs], bias [networks, 1, outputs]."""

    weight: Tensor
    bias: Tensor

    def of(self, x: Tensor) -> Tensor:
        """[networks, samples, inputs] -> [networks, samples, outputs]."""
        return torch.baddbmm(self.bias, x, self.weight.mT)

    def gradients(self, into: "Layer", x: Tensor, errors: Tensor) -> None:
        """Overwrites `into` by the loss's gradients, by the layer's inputs and those of its outputs."""
        torch.bmm(errors.mT, x, out=into.weight)
        torch.sum(errors, 1, keepdim=True, out=into.bias)


class Stack:
    """The networks whose weights are the rows of `weights`. Once they have learnt, `gradients` has the same shape.

    `targets` are the mean and the deviation by which outputs are scaled, where they are.
    """

    def __init__(self, weights: Tensor, like: nn.Module, targets: tuple[float, float] | None) -> None:
        self.weights = weights
        self._shapes = [parameter.shape for parameter in like.parameters()]
        self._layers = self._views(weights)
        self._scale = (0.0, 1.0) if targets is None else targets
        self._of_error = 1.0 if targets is None else 1 / targets[1] ** 2

    @cached_property
    def gradients(self) -> Tensor:
        """[networks, weights]; those that only predict have no need of them."""
        return torch.zeros_like(self.weights)

    @cached_property
    def _into(self) -> list[Layer]:
        return self._views(self.gradients)

    def _views(self, rows: Tensor) -> list[Layer]:
        sizes = [shape.numel() for shape in self._shapes]
        parts = [
            part.view(len(rows), *(shape if len(shape) == 2 else (1, *shape)))
            for part, shape in zip(rows.split(sizes, 1), self._shapes, strict=True)
        ]
        return [Layer(weight, bias) for weight, bias in zip(parts[::2], parts[1::2], strict=True)]

    def outputs(self, x: Tensor) -> Tensor:
        """What the networks make of x [samples, inputs], without dropout: [networks, samples, outputs]."""
        x = x.expand(len(self.weights), *x.shape)
        for layer in self._layers[:-1]:
            x = layer.of(x).relu_()
        return self._scaled(self._layers[-1].of(x))

    def learn(self, x: Tensor, y: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """The mean loss of each network on its samples, [networks]; `gradients` are then those of that loss.

        x is [networks, samples, inputs], y [networks, samples]: returns, or classes. The loss is the squared error,
        or cross-entropy in nats. `noise` is what dropout multiplies each hidden layer's activations by, empty for
        nothing.
        """
        passed = [x]
        for i, layer in enumerate(self._layers[:-1]):
            x = layer.of(x).relu_()
            passed.append(x.mul_(noise[i]) if noise else x)
        loss, errors = self._loss(self._scaled(self._layers[-1].of(x)), y)
        for i in range(len(self._layers) - 1, -1, -1):
            x, layer = passed[i], self._layers[i]
            layer.gradients(self._into[i], x, errors)
            if i:
                errors = torch.bmm(errors, layer.weight)
                if noise:
                    errors.mul_(noise[i - 1])
                errors.mul_(x.sign_())  # of what is positive or 0
        return loss

    def _scaled(self, scores: Tensor) -> Tensor:
        mean, deviation = self._scale
        return scores if (mean, deviation) == (0.0, 1.0) else scores.mul_(deviation).add_(mean)

    def _loss(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each network, and the gradient of the scores that its last layer gave."""
        samples = outputs.shape[1]
        if y.is_floating_point():
            errors = outputs - y.unsqueeze(2)
            loss = (errors * errors).sum((1, 2)) / samples
            return loss, errors.mul_(2 / samples * self._of_error * self._scale[1])
        told = functional.log_softmax(outputs, dim=2)
        classes = y.unsqueeze(2)
        loss = -told.gather(2, classes).sum((1, 2)) / samples
        errors = told.exp_()
        errors.scatter_add_(2, classes, errors.new_full((), -1.0).expand(classes.shape))
        return loss, errors.mul_(self._of_error / samples)

    def clip(self, norm: float) -> None:
        """Scales down the gradients of each network whose norm is larger."""
        norms = torch.linalg.vector_norm(self.gradients, dim=1, keepdim=True)
        self.gradients.mul_((norm / (norms + 1e-6)).clamp_(max=1.0))


def row(model: nn.Module) -> Tensor:
    """A network's weights as a stack has them."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def unstacked(weights: Tensor, like: nn.Module) -> dict[str, Tensor]:
    """A row's weights by name, as the network by itself has them, beside what it does not learn."""
    found, at = {name: buffer.clone() for name, buffer in like.named_buffers()}, 0
    for name, parameter in like.named_parameters():
        found[name] = weights[at : at + parameter.numel()].view(parameter.shape).clone()
        at += parameter.numel()
    return {name: found[name] for name in like.state_dict()}
