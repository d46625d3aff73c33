"""The ranks of a trial: who this process is among them, and sums over all of them. Alone, everything is local."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn

# A rank that waits this long for the others takes them for dead. Steps take milliseconds.
PEER_TIMEOUT = timedelta(seconds=120)


@dataclass(frozen=True)
class Ranks:
    """This process's place: rank `rank` of `count`, the `local`-th on its machine."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def lead(self) -> bool:
        """Whether this rank writes what the trial leaves behind."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor` added up over all ranks, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model` with gradients averaged over all ranks as they come."""
        if self.count == 1:
            return model
        # Imported here: it loads torch's compiler, a second that a trial of one rank need not wait.
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model)


def device(wanted: str, local: int = 0) -> torch.device:
    """The device that `train.device` names; Auto takes this rank's GPU where there is one."""
    if wanted == "CPU" or (wanted == "Auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("train.device is CUDA, but torch finds no GPU here; use Auto or CPU")
    return torch.device("cuda", local % torch.cuda.device_count())


def ranks_from_environment() -> Ranks:
    """What torchrun and the training operator say in RANK, WORLD_SIZE and LOCAL_RANK; alone without them."""
    environment = os.environ
    return Ranks(
        rank=int(environment.get("RANK", "0")),
        count=int(environment.get("WORLD_SIZE", "1")),
        local=int(environment.get("LOCAL_RANK", "0")),
    )


@contextmanager
def joined(ranks: Ranks, wanted_device: str, meeting: str = "env://") -> Iterator[torch.device]:
    """Joins the other ranks at `meeting` (env:// or file://…) for as long as the context lasts; yields the device."""
    chosen = device(wanted_device, ranks.local)
    if ranks.count == 1:
        yield chosen
        return
    torch.distributed.init_process_group(
        backend="nccl" if chosen.type == "cuda" else "gloo",
        init_method=meeting,
        rank=ranks.rank,
        world_size=ranks.count,
        timeout=PEER_TIMEOUT,
    )
    try:
        yield chosen
    finally:
        torch.distributed.destroy_process_group()
