"""A user's script: ten steps of Adam on a small model, with what Trialrun needs."""

import torch

import trialrun


def train(lr: float) -> float:
    torch.manual_seed(0)
    x, y = torch.randn(256, 16), torch.randn(256, 1)
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(10):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    return torch.nn.functional.mse_loss(model(x), y).item()


if __name__ == "__main__":
    trial = trialrun.trial(lr=0.01)
    trial.report(10, loss=train(trial.parameters["lr"]))
