"""Saves and restores a training so that resuming it changes nothing. Safetensors only: nothing is ever unpickled.

Rank 0 saves and reads; the others take over what it read, so that all resume the same epoch wherever they run.
A checkpoint is replaced as a whole and synced to disk: a process or a machine may die at any moment.
"""

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.atomic import replace
from trainer.experiment.expand import canonical
from trainer.experiment.training import Training
from trainer.training.distributed import Ranks
from trainer.training.optimize import Optimizer

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class TrainingProgress:
    """What training has reached: everything a checkpoint holds besides tensors."""

    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoints:
    """Where rank 0 keeps a training's checkpoint, and how often.

    `earlier` are folders of attempts that were interrupted, the latest first: a training may go on from theirs, and
    writes none of them. `every_seconds` is the time between checkpoints where `checkpointEvery` doesn't say.
    """

    folder: Path | None = None
    earlier: Sequence[Path] = ()
    every_seconds: float | None = None


class Saver:
    """Checkpoints of one training; without a folder, or any reason to save, it does nothing.

    `data` is the hash of the data set: a training is the same only on the same samples and with as many ranks.
    """

    # By the clock, saving takes this share of the time at most: a large model on a slow volume is saved less often.
    _LARGEST_SHARE = 0.05

    def __init__(
        self,
        places: Checkpoints,
        training: Training,
        data: str,
        ranks: Ranks,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every = training.train.checkpoint_every
        self._seconds = places.every_seconds
        self._wanted = self._every > 0 or self._seconds is not None
        folder = places.folder if ranks.is_rank0 and self._wanted else None
        self._path = folder / CHECKPOINT if folder is not None else None
        self._earlier = [each / CHECKPOINT for each in places.earlier]
        self._ranks = ranks
        self._identity = canonical({"training": training.document(sparse=True), "data": data, "ranks": ranks.count})
        self._clock = clock
        self._saved, self._cost = clock(), 0.0

    def epoch_ended(
        self, model: nn.Module, optimizer: Optimizer, progress: TrainingProgress, best: dict[str, Tensor]
    ) -> None:
        """Saves if it is time to."""
        if self._path is not None and self._due(progress.epoch):
            begun = self._clock()
            self.save(model, optimizer, progress, best)
            self._saved = self._clock()
            self._cost = self._saved - begun

    def save(
        self, model: nn.Module, optimizer: Optimizer, progress: TrainingProgress, best: dict[str, Tensor]
    ) -> None:
        """Replaces the checkpoint as a whole: a process that dies meanwhile leaves the one before."""
        if self._path is None:
            return
        about = {"progress": json.dumps(dataclasses.asdict(progress)), "identity": self._identity}
        save_tensors(self._path, _state(model, optimizer, best), about, durable=True)

    def restore(
        self, model: nn.Module, optimizer: Optimizer, best: dict[str, Tensor], device: torch.device
    ) -> TrainingProgress:
        """Takes up the latest checkpoint of the same training, if there is one; all ranks must call it.

        Another training's or a damaged one is left alone, with a sentence on stderr.
        """
        if not self._wanted:
            return TrainingProgress()
        state = _state(model, optimizer, best)
        reached = self._ranks.text_of_rank0(self._latest(state), device)
        if not reached:
            return TrainingProgress()
        for tensor in state.values():
            self._ranks.copy_from_rank0(tensor)
        progress = TrainingProgress(**json.loads(reached))
        if self._ranks.is_rank0:
            print(f"trialrun: goes on after epoch {progress.epoch}", file=sys.stderr)
        return progress

    def _due(self, epoch: int) -> bool:
        if self._every > 0:
            return epoch % self._every == 0
        passed = self._clock() - self._saved
        return self._seconds is not None and passed >= max(self._seconds, self._cost / self._LARGEST_SHARE)

    def _latest(self, state: dict[str, Tensor]) -> str:
        """Overwrites `state` by the latest checkpoint that can be taken up; "" where there is none."""
        paths = [self._path, *self._earlier] if self._path is not None else []
        return next((reached for path in paths if (reached := self._read(path, state))), "")

    def _read(self, path: Path, state: dict[str, Tensor]) -> str:
        """Overwrites `state` by what was saved at `path` and returns the progress; "" where that can't be used."""
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("identity") != self._identity:
                    print(f"trialrun: {path} belongs to another training and is not taken up", file=sys.stderr)
                    return ""
                saved = {name: file.get_tensor(name) for name in state}
        except FileNotFoundError:
            return ""
        except (SafetensorError, OSError) as error:
            print(f"trialrun: {path} is damaged ({error}) and is not taken up", file=sys.stderr)
            return ""
        with torch.no_grad():
            for name, tensor in state.items():
                tensor.copy_(saved[name])
        return str(about["progress"])


def save_tensors(
    path: Path, tensors: dict[str, Tensor], about: dict[str, str] | None = None, *, durable: bool = False
) -> None:
    """Replaces the safetensors file at `path` as a whole; `durable` also when the machine dies."""
    with replace(path, durable=durable) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, about)
        temporary.chmod(mode)  # safetensors lets only the owner read its files


def _state(model: nn.Module, optimizer: Optimizer, best: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a training by name: these very tensors, not copies."""
    parts = {"model": model.state_dict(), "best": best, "optimizer": optimizer.state()}
    return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
