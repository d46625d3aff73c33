"""What a multiplied training set costs in time and memory as it grows, beside a DataLoader over the whole of it."""

from benchmarks.timing import in_turn, line, median, process, ratio

ROUNDS = 7
_COMMON = """
import json, os, sys, time
import torch
from trainer.data.build import prepare
from trainer.data.cache import default_cache
from trainer.data.dataset import open_dataset
from trainer.experiment.training import Training
torch.set_num_threads(1)
"""
_TRIAL = (
    _COMMON
    + """
from trainer.training.distributed import Ranks
from trainer.training.trial import RankContext, run_rank
multiplier, epochs = int(sys.argv[1]), int(sys.argv[2])
data = {"multiplier": multiplier, "residency": "Streaming"}
training = Training.model_validate_json(json.dumps({"data": data, "train": {"epochs": epochs}}))
begun = time.process_time()
report = run_rank(training, RankContext(Ranks(), "env://", default_cache(), None), started=time.time())
assert report.outcome == "Succeeded", report
print(time.process_time() - begun, report.memory.peak_bytes - report.memory.floor_bytes)
"""
)
_LOADER = (
    _COMMON
    + """
import numpy as np
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from trainer.data.multiply import Multiplied
from trainer.training.models import build
training = Training()
data = open_dataset(prepare(training.data, default_cache()))
many = Multiplied(data.train, int(sys.argv[1]))
x, y = map(torch.from_numpy, many.gather(np.arange(len(many))))
begun = time.process_time()  # the set is there already
torch.manual_seed(0)
model = build(training.model, window=60, features=5, outputs=1)
optimizer, loss = torch.optim.Adam(model.parameters(), lr=0.001), nn.MSELoss()
for batch_x, batch_y in DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True):
    optimizer.zero_grad()
    loss(model(batch_x), batch_y).backward()
    optimizer.step()
print(time.process_time() - begun, 0)
"""
)


def main() -> None:
    """Prints the ratios for the default MLP at batch 32 on the default data, in CPU seconds."""
    taken = in_turn(
        {
            "10x": lambda: _run(_TRIAL, "10", "20"),
            "200x": lambda: _run(_TRIAL, "200", "1"),
            "DataLoader": lambda: _run(_LOADER, "200"),
        },
        ROUNDS,
    )
    seconds = {name: [cpu for cpu, _ in results] for name, results in taken.items()}
    print("Scale: 169,000 samples through an MLP 64 x 2 at batch 32, streamed, 1 thread, CPU seconds")
    for name, values in seconds.items():
        line(name, f"{median(values):.2f} s")
    line("time per sample, 200x / 10x", f"{ratio(seconds['200x'], seconds['10x']):.2f}x", "at most 1.15x")
    line("200x streamed / DataLoader over it", f"{ratio(seconds['200x'], seconds['DataLoader']):.2f}x", "below 1x")
    grown = _run(_TRIAL, "1000", "1")[1] - _run(_TRIAL, "1", "1")[1]
    line("peak above the floor, 1000x - 1x", f"{grown / 2**20:.1f} MiB", "at most 16 MiB")


def _run(program: str, *arguments: str) -> tuple[float, float]:
    seconds, size = process(["-c", program, *arguments]).output.split()[-2:]
    return float(seconds), float(size)


if __name__ == "__main__":
    main()
