"""Three real trainings, each of 36 points to its end: how the objective went, step by step."""

import hashlib
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import ROOT, process
from trainer.data.cache import default_cache
from trainer.experiment.metrics import Direction
from trainer.experiment.spec import API_VERSION
from trainer.local.ledger import read_ledger

STEPS = 27
_POINTS = 36
_RATE = {"min": 1e-4, "max": 0.3, "scale": "Log"}
_PROGRAMS = ROOT / "examples" / "programs"


@dataclass(frozen=True)
class Training:
    """A search over points drawn at random. With `keeps_best` a trial's result is its best step, else its last."""

    name: str
    metric: str
    direction: Direction
    spec: Mapping[str, Any]
    keeps_best: bool = False

    @property
    def sign(self) -> int:
        """What makes costs of the metric, of which less is better."""
        return 1 if self.direction == "Minimize" else -1

    def cost(self, curve: list[float]) -> float:
        """The cost of a trial that told this much of its curve."""
        costs = [self.sign * value for value in curve]
        return min(costs) if self.keeps_best else costs[-1]


TRAININGS = (
    Training(
        "size of the S&P 500's moves",
        "validMse",
        "Minimize",
        {
            "training": {
                "data": {
                    "source": "sp500",
                    "period": "max",
                    "window": 20,
                    "features": "Changes",
                    "predict": "AbsoluteReturn",
                },
                "model": {"kind": "MLP"},
                "train": {"epochs": STEPS, "batchSize": 64, "targetScaling": "ZScore"},
            },
            "parameters": [
                {"name": "train.learningRate", "range": _RATE},
                {"name": "model.hiddenSize", "choices": [16, 32, 64, 128]},
                {"name": "model.layers", "choices": [1, 2, 3]},
                {"name": "train.batchSize", "choices": [32, 64, 128]},
            ],
        },
        keeps_best=True,
    ),
    Training(
        "digits, a convolutional network",
        "val/accuracy",
        "Maximize",
        {
            "program": {
                "command": ["python", "digits.py"],
                "workingDirectory": str(_PROGRAMS),
                "settings": {"epochs": STEPS},
            },
            "parameters": [
                {"name": "lr", "range": _RATE},
                {"name": "channels", "range": {"min": 4, "max": 32, "step": 4}},
                {"name": "optimizer", "choices": ["Adam", "SGD"]},
                {"name": "momentum", "range": {"min": 0.0, "max": 0.99}, "when": {"optimizer": "SGD"}},
            ],
        },
    ),
    Training(
        "docstrings, a bag of words",
        "eval/accuracy",
        "Maximize",
        {
            "program": {
                "command": ["python", "text.py"],
                "workingDirectory": str(_PROGRAMS),
                "settings": {"epochs": STEPS},
            },
            "parameters": [
                {"name": "learning_rate", "range": _RATE},
                {"name": "width", "range": {"min": 4, "max": 64, "step": 4}},
                {"name": "batch_size", "choices": [16, 32, 64, 128]},
            ],
        },
    ),
)


def curves(training: Training) -> list[list[float]]:
    """The objective of each point after each step. Trained once; what was trained so is kept in the cache."""
    document = {
        "apiVersion": API_VERSION,
        "kind": "HyperparamSearch",
        "metadata": {"name": "bench-search"},
        "spec": {
            "objective": {"metric": training.metric, "direction": training.direction},
            "algorithm": "Random",
            "trials": _POINTS,
            **training.spec,
        },
    }
    folder = default_cache().parent / "bench-search" / _digest(document)
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.with_suffix(".json")
    file.write_text(json.dumps(document))
    begun = time.monotonic()
    print(f"  … {training.name}: {_POINTS} points of {STEPS} steps, in minutes, or from {folder}", file=sys.stderr)
    process(["-m", "trainer", "run", file, "--jobs", "1", "--out", folder])
    print(f"  … {training.name}: there after {time.monotonic() - begun:.0f} s", file=sys.stderr)
    found = [_curve(folder / "trials" / record.id, training.metric) for record in read_ledger(folder) if record.final]
    whole = [curve for curve in found if len(curve) == STEPS and all(map(math.isfinite, curve))]
    if len(whole) < len(found):
        print(f"  … {training.name}: {len(found) - len(whole)} diverged and are left out", file=sys.stderr)
    return whole


def _digest(document: Mapping[str, Any]) -> str:
    """Names what is trained: the search, and the scripts."""
    said = json.dumps(document).replace(str(ROOT), "").encode()
    scripts = b"".join(file.read_bytes() for file in sorted(_PROGRAMS.glob("*.py")))
    return hashlib.sha256(said + scripts).hexdigest()[:12]


def _curve(trial: Path, metric: str) -> list[float]:
    """What a trial told, by its own file or the trainer's."""
    reports = trial / "reports.jsonl"
    if reports.exists():
        told = [json.loads(line).get("metrics", {}) for line in reports.read_text().splitlines()]
    else:
        told = [json.loads(line) for line in (trial / "history.jsonl").read_text().splitlines()]
    return [float(each[metric]) for each in told if metric in each]
