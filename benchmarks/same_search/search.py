"""The search that each system runs: one configuration trained as people write it by hand."""

import itertools
from typing import Any

import numpy as np
import torch
from torch import nn

GRID = [
    {"learning_rate": rate, "hidden": hidden, "layers": layers}
    for rate, hidden, layers in itertools.product([0.0001, 0.001, 0.01], [32, 64, 128], [1, 2])
]


def load(path: str) -> dict[str, torch.Tensor]:
    """The samples: X_train, y_train, X_val, y_val."""
    with np.load(path, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in ("X_train", "y_train", "X_val", "y_val")}


def objective(data: dict[str, torch.Tensor], learning_rate: float, hidden: float, layers: float) -> float:
    """The best validation MSE of 20 epochs."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = data["X_train"].flatten(1), data["y_train"]
    hidden, layers = int(hidden), int(layers)
    stack: list[Any] = []
    width = x.shape[1]
    for _ in range(layers):
        stack += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    model = nn.Sequential(*stack, nn.Linear(width, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    loss = nn.MSELoss()
    best = float("inf")
    for _ in range(20):
        order = torch.randperm(len(x))
        for start in range(0, len(x), 32):
            batch = order[start : start + 32]
            optimizer.zero_grad()
            loss(model(x[batch]).squeeze(1), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            best = min(best, loss(model(data["X_val"].flatten(1)).squeeze(1), data["y_val"]).item())
    return best
