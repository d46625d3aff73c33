"""Saves and restores a training so that resuming it changes nothing. Safetensors only: nothing is ever unpickled."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.atomic import replace
from trainer.experiment.expand import canonical
from trainer.experiment.training import Training
from trainer.optimize import Optimizer


@dataclass
class Progress:
    """What training has reached: everything a checkpoint holds besides tensors."""

    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Saver:
    """Checkpoints of one training in one folder; without a folder it saves and restores nothing."""

    def __init__(self, folder: Path | None, training: Training) -> None:
        self._path = folder / "checkpoint.safetensors" if folder is not None else None
        self._training = canonical(training.document(sparse=True))

    def save(self, model: nn.Module, optimizer: Optimizer, progress: Progress, best: dict[str, Tensor]) -> None:
        """Replaces the checkpoint as a whole: a process that dies meanwhile leaves the one before."""
        if self._path is None:
            return
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer.state().items()}
        about = {"progress": json.dumps(dataclasses.asdict(progress)), "training": self._training}
        with replace(self._path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, about)

    def restore(
        self, model: nn.Module, optimizer: Optimizer, progress: Progress, best: dict[str, Tensor]
    ) -> tuple[Progress, dict[str, Tensor]]:
        """Takes up the checkpoint of the same training, if there is one; another training's is left alone."""
        if self._path is None or not self._path.exists():
            return progress, best
        with safe_open(self._path, framework="pt") as file:
            about = file.metadata()
            if about.get("training") != self._training:
                return progress, best
            parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
            for key in file.keys():  # noqa: SIM118 - not a dict
                part, _, name = key.partition(".")
                parts[part][name] = file.get_tensor(key)
        model.load_state_dict(parts["model"])
        optimizer.restore(parts["optimizer"])
        saved = json.loads(about["progress"])
        restored = dataclasses.replace(progress, **saved)
        return restored, {name: tensor.to(best[name].device) for name, tensor in parts["best"].items()}
