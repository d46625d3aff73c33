"""Saves and restores a training so that resuming it changes nothing. Safetensors only: nothing is ever unpickled.

Rank 0 saves and reads; the others take over what it read, so that all resume the same epoch wherever they run.
"""

import dataclasses
import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.atomic import replace
from trainer.distributed import Ranks
from trainer.experiment.expand import canonical
from trainer.experiment.training import Training
from trainer.optimize import Optimizer

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class Progress:
    """What training has reached: everything a checkpoint holds besides tensors."""

    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Saver:
    """Checkpoints of one training in rank 0's `folder`; without one there, or `checkpointEvery`, it does nothing.

    `data` is the hash of the data set: a training is the same only on the same samples and with as many ranks.
    """

    def __init__(self, folder: Path | None, training: Training, data: str, ranks: Ranks) -> None:
        self._wanted = training.train.checkpoint_every > 0
        self._path = folder / CHECKPOINT if folder is not None and ranks.lead and self._wanted else None
        self._ranks = ranks
        self._identity = canonical({"training": training.document(sparse=True), "data": data, "ranks": ranks.count})

    def save(self, model: nn.Module, optimizer: Optimizer, progress: Progress, best: dict[str, Tensor]) -> None:
        """Replaces the checkpoint as a whole: a process that dies meanwhile leaves the one before."""
        if self._path is None:
            return
        about = {"progress": json.dumps(dataclasses.asdict(progress)), "identity": self._identity}
        save_tensors(self._path, _state(model, optimizer, best), about)

    def restore(
        self, model: nn.Module, optimizer: Optimizer, best: dict[str, Tensor], device: torch.device
    ) -> Progress:
        """Takes up the checkpoint of the same training, if there is one; all ranks must call it.

        Another training's is left alone. A damaged one is reported on stderr, and the training starts over.
        """
        if not self._wanted:
            return Progress()
        state = _state(model, optimizer, best)
        reached = self._ranks.text_of_lead(self._read(state), device)
        if not reached:
            return Progress()
        for tensor in state.values():
            self._ranks.copy_from_lead(tensor)
        return Progress(**json.loads(reached))

    def _read(self, state: dict[str, Tensor]) -> str:
        """Overwrites `state` by what was saved and returns the progress; "" where there is nothing to take up."""
        if self._path is None or not self._path.exists():
            return ""
        try:
            with safe_open(self._path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("identity") != self._identity:
                    return ""
                saved = {name: file.get_tensor(name) for name in state}
        except (SafetensorError, OSError) as error:
            print(f"trainer: {self._path} is damaged ({error}); training starts over", file=sys.stderr)
            return ""
        with torch.no_grad():
            for name, tensor in state.items():
                tensor.copy_(saved[name])
        return str(about["progress"])


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Replaces the safetensors file at `path` as a whole."""
    with replace(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, about)
        temporary.chmod(mode)  # safetensors lets only the owner read its files


def _state(model: nn.Module, optimizer: Optimizer, best: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a training by name: these very tensors, not copies."""
    parts = {"model": model.state_dict(), "best": best, "optimizer": optimizer.state()}
    return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
