"""The functional optimizers do what torch.optim's classes do."""

from typing import Any

import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from train.builders import a_training
from trainer.training.optimize import Optimizer

_RATE = 0.01
CASES: dict[str, tuple[dict[str, Any], type[torch.optim.Optimizer], dict[str, Any]]] = {
    "Adam": ({"optimizer": "Adam"}, torch.optim.Adam, {}),
    "Adam with decay": ({"optimizer": "Adam", "weightDecay": 0.1}, torch.optim.Adam, {"weight_decay": 0.1}),
    "AdamW": ({"optimizer": "AdamW", "weightDecay": 0.1}, torch.optim.AdamW, {"weight_decay": 0.1}),
    "AdamW without decay": ({"optimizer": "AdamW"}, torch.optim.AdamW, {"weight_decay": 0.0}),
    "SGD": ({"optimizer": "SGD"}, torch.optim.SGD, {}),
    "SGD with momentum": ({"optimizer": "SGD", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    "SGD with both": (
        {"optimizer": "SGD", "momentum": 0.5, "weightDecay": 0.1},
        torch.optim.SGD,
        {"momentum": 0.5, "weight_decay": 0.1},
    ),
}


def a_model(dtype: torch.dtype) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU(), torch.nn.Linear(9, 1)).to(dtype)


def train_50_steps(model: torch.nn.Module, step: Any, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        x = torch.randn(8, 6, generator=generator, dtype=dtype)
        (model(x).squeeze(1) - x[:, 0]).square().mean().backward()
        step()
    return [parameter.detach() for parameter in model.parameters()]


def by_torch(case: str, dtype: torch.dtype, *, fused: bool) -> list[torch.Tensor]:
    _, kind, options = CASES[case]
    model = a_model(dtype)
    optimizer = kind(model.parameters(), lr=_RATE, fused=fused, **options)

    def step() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return train_50_steps(model, step, dtype)


def by_ours(case: str, dtype: torch.dtype) -> list[torch.Tensor]:
    fields, _, _ = CASES[case]
    model = a_model(dtype)
    return train_50_steps(model, Optimizer(a_training(train=fields).train, model.parameters(), _RATE).step, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["Float32", "Float64"])
@pytest.mark.parametrize("case", CASES)
def test_50_steps_give_the_weights_of_torchs_fused_class_to_the_bit(case: str, dtype: torch.dtype) -> None:
    for ours, theirs in zip(by_ours(case, dtype), by_torch(case, dtype, fused=True), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("case", CASES)
def test_50_steps_give_the_weights_of_torchs_plain_class_to_1e_6(case: str) -> None:
    for ours, theirs in zip(by_ours(case, torch.float64), by_torch(case, torch.float64, fused=False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    for ours, theirs in zip(by_ours(case, torch.float32), by_torch(case, torch.float32, fused=False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_step_drops_the_gradients() -> None:
    model = a_model(torch.float32)
    model(torch.ones(1, 6)).sum().backward()
    Optimizer(a_training().train, model.parameters(), _RATE).step()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_weight_without_a_gradient_stays_where_it_is() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    Optimizer(a_training().train, [weight], _RATE).step()
    assert weight.tolist() == [1.0, 1.0, 1.0]


def test_clipping_holds_the_norm_of_all_gradients_together() -> None:
    # What the loop relies on: one norm over all weights, not one for each.
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    weights[0].grad, weights[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    clip_grad_norm_(weights, 1.0)
    assert weights[0].grad.item() == pytest.approx(0.6, abs=1e-6)
    assert weights[1].grad.item() == pytest.approx(0.8, abs=1e-6)
