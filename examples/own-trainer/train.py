"""A trainer of one's own: plain PyTorch, nothing of Trialrun's. See docs/bring-your-own-trainer.md."""

import json
import math
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

EXIT_CODES = {"Succeeded": 0, "Crashed": 1, "Diverged": 66}


def train(settings: dict) -> dict:
    """Learns a curve; any model, any data and any metrics would do."""
    torch.manual_seed(settings["seed"])
    x = torch.linspace(-3, 3, 1024).unsqueeze(1)
    y = sum(torch.sin(k * x) / k for k in range(1, 6))
    model = nn.Sequential(nn.Linear(1, settings["hiddenSize"]), nn.Tanh(), nn.Linear(settings["hiddenSize"], 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["learningRate"], momentum=0.9)
    for _ in range(settings["epochs"]):
        for batch in (2 * torch.randperm(512)).split(settings["batchSize"]):  # even samples train, odd ones validate
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x[batch]), y[batch]).backward()
            optimizer.step()
    loss = nn.functional.mse_loss(model(x[1::2]), y[1::2]).item()
    if not math.isfinite(loss):
        return {"outcome": "Diverged", "error": f"the loss became {loss}"}
    return {"outcome": "Succeeded", "metrics": {"validMse": loss}, "epochs": settings["epochs"]}


def main(message: Path) -> int:
    trial, began = json.loads(os.environ["TRIALRUN_TRIAL"]), time.time()
    try:
        report = train(trial["training"]["model"] | trial["training"]["train"])
    except Exception as error:
        report = {"outcome": "Crashed", "error": f"{type(error).__name__}: {error}"[:1000]}
    report |= {"clock": int(time.time() * 1000), "seconds": {"train": time.time() - began}}
    message.write_text(json.dumps(report))
    return EXIT_CODES[report["outcome"]]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[2] if len(sys.argv) > 2 else "/dev/termination-log")))
