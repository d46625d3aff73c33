"""The ranks of a trial: who this process is among them, and what they share. Alone, everything is local."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import torch
from torch import Tensor, nn

# How long a rank waits for the others to arrive: on another node an image may first have to be pulled.
START_TIMEOUT = timedelta(minutes=10)
# A rank that then waits this long for the others takes them for dead. Steps take milliseconds.
PEER_TIMEOUT = timedelta(seconds=120)
# Where ranks wait for what takes as long as it takes; the trial's deadline bounds it, a rank that dies ends it.
UNHURRIED = timedelta(days=1)

# What gloo, NCCL and the store in which ranks meet say where the other side is gone or silent. Gloo's other errors,
# such as an unknown network interface, are this rank's own.
_PEER_IS_GONE = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Broken pipe",
    "Timed out waiting",
    "Wait timeout",
    "wait timeout",
    "Application timeout caused pair closure",
    "waiting for clients",
    "client socket has timed out",
    "Connection was likely closed",
    "failed to recv, got 0 bytes",
    "remote process exited",
)

# Ranks that wait for each other with a patience of their own; None for the usual one.
Group: TypeAlias = torch.distributed.ProcessGroup | None


@dataclass(frozen=True)
class Ranks:
    """This process's place: rank `rank` of `count`, the `local`-th on its machine."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def is_rank0(self) -> bool:
        """Whether this rank writes what the trial leaves behind."""
        return self.rank == 0

    def unhurried(self) -> Group:
        """The same ranks, who wait for each other for as long as it takes. Every rank must call it."""
        return torch.distributed.new_group(timeout=UNHURRIED) if self.count > 1 else None

    def sum(self, tensor: Tensor, group: Group = None) -> Tensor:
        """`tensor` added up over all ranks, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor, group=group)
        return tensor

    def largest(self, tensor: Tensor) -> Tensor:
        """The largest of each of `tensor`'s numbers over all ranks, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return tensor

    def exchange(self, rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
        """Gives the first `sent[0]` rows to rank 0, the next `sent[1]` to rank 1, …; what came, by rank."""
        came = rows.new_empty(sum(received), *rows.shape[1:])
        torch.distributed.all_to_all_single(came, rows.contiguous(), received, sent)
        return came

    def copy_from_rank0(self, tensor: Tensor, group: Group = None) -> None:
        """Overwrites `tensor` by rank 0's."""
        if self.count > 1:
            torch.distributed.broadcast(tensor, 0, group=group)

    def text_of_rank0(self, text: str, device: torch.device, group: Group = None) -> str:
        """Rank 0's `text`, on every rank. Goes by way of `device`."""
        if self.count == 1:
            return text
        letters = torch.tensor(list(text.encode()), dtype=torch.uint8, device=device)
        size = torch.tensor(len(letters), device=device)
        self.copy_from_rank0(size, group)
        if not self.is_rank0:
            letters = torch.empty(int(size), dtype=torch.uint8, device=device)
        self.copy_from_rank0(letters, group)
        return bytes(letters.tolist()).decode()

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model` with gradients averaged over all ranks as they come."""
        if self.count == 1:
            return model
        load(self.count)
        return torch.nn.parallel.DistributedDataParallel(model)


def load(count: int) -> None:
    """Imports what `count` ranks need beyond torch: its compiler, a second that a trial of one rank need not wait."""
    if count > 1:
        importlib.import_module("torch._dynamo")


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
def joined(ranks: Ranks, wanted_device: str, rendezvous: str = "env://") -> Iterator[torch.device]:
    """Joins the other ranks at `rendezvous` (env:// or file://…) while the context lasts; yields the device."""
    chosen = device(wanted_device, ranks.local)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if ranks.count == 1:
        yield chosen
        return
    load(ranks.count)
    torch.distributed.init_process_group(
        backend="nccl" if chosen.type == "cuda" else "gloo",
        store=_met(ranks, rendezvous),
        rank=ranks.rank,
        world_size=ranks.count,
        timeout=PEER_TIMEOUT,
    )
    try:
        yield chosen
    finally:
        torch.distributed.destroy_process_group()


def _met(ranks: Ranks, rendezvous: str) -> torch.distributed.Store:
    """The store at `rendezvous`, once every rank has come there."""
    meet = torch.distributed.rendezvous(rendezvous, ranks.rank, ranks.count, timeout=START_TIMEOUT)
    store: torch.distributed.Store = next(iter(meet))[0]
    store.set(f"here/{ranks.rank}", "")
    store.wait([f"here/{rank}" for rank in range(ranks.count)], START_TIMEOUT)
    return store


def is_loss_of_peer(error: BaseException) -> bool:
    """Whether an error says only that another rank is gone, and nothing about this one."""
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _PEER_IS_GONE)
