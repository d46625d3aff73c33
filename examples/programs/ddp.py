"""DistributedDataParallel as PyTorch's tutorials have it, on points of three spirals: by hand, or with torchrun."""

import os
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import trialrun  # 1

ARMS = 3
STOP = torch.zeros(1)  # 2


def spirals(count, seed):
    """Points of spiral arms, and which arm each is of."""
    generator = torch.Generator().manual_seed(seed)
    arms = torch.arange(count) % ARMS
    along = torch.rand(count, generator=generator)
    turns = 4 * along + arms * (2 * torch.pi / ARMS) + 0.2 * torch.randn(count, generator=generator)
    return TensorDataset(torch.stack([along * turns.sin(), along * turns.cos()], 1), arms)


def main():
    trial = trialrun.trial(lr=0.03, width=32, epochs=8)  # 3
    settings = trial.parameters
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    else:  # by hand it is the only one
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    rank = dist.get_rank()
    torch.manual_seed(trial.seed)

    train, (points, arms) = spirals(2048, seed=1), spirals(600, seed=2).tensors
    sampler = DistributedSampler(train, shuffle=True, seed=trial.seed)
    loader = DataLoader(train, batch_size=64 // dist.get_world_size(), sampler=sampler)
    width = settings["width"]
    layers = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, ARMS))
    model = DistributedDataParallel(layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])

    trial.naive(accuracy=1 / ARMS)  # 4
    for epoch in range(settings["epochs"]):
        sampler.set_epoch(epoch)
        for batch, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch), labels).backward()
            optimizer.step()
        if rank == 0:
            with torch.no_grad():
                right = (model.module(points).argmax(1) == arms).float().mean()
            STOP[0] = trial.report(epoch, accuracy=right)  # 5
        dist.broadcast(STOP, src=0)  # 6
        if STOP:  # 7
            break  # 8
    dist.destroy_process_group()
    time.sleep(0.5)  # gloo's threads let go of what was sent last; if Python ends just then, they crash it


if __name__ == "__main__":
    main()
