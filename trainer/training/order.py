"""In which order samples are trained on: the same global batches for any number of ranks.

The training set is dealt into as many lanes as a global batch has samples: sample i lies in lane i mod batch. A step
takes one sample of each lane; an epoch shuffles every lane by itself. So a batch does not depend on the ranks, and a
rank that owns every W-th lane trains on the same part of the set in every epoch, and need hold no other
(docs/decisions/0004-sample-order.md).
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Order = NDArray[np.int32]  # half of what int64 takes, for a training set that is not held itself


def epoch_order(samples: int, batch: int, *, seed: int, epoch: int, shuffle: bool = True) -> Order:
    """All sample indices [samples], below 2³¹; the global batch of step t is `[t * batch : (t + 1) * batch]`.

    Position p holds a sample of lane p mod batch.
    """
    order = np.arange(samples, dtype=np.int32)
    if not shuffle:
        return order
    # Philox is counter-based and the same on every platform; (seed, epoch) is its key.
    random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    steps, rest = divmod(samples, batch)
    whole = order[: steps * batch].reshape(steps, batch)
    if rest:  # the first `rest` lanes are longer by one sample
        longer = np.concatenate([whole[:, :rest], order[None, steps * batch :]])
        random.permuted(longer, axis=0, out=longer)
        whole[:, :rest] = longer[:-1]
        order[steps * batch :] = longer[-1]
    shorter = whole[:, rest:]
    shorter[...] = random.permuted(shorter, axis=0)
    return order


def of_rank(order: Order, batch: int, *, rank: int, ranks: int) -> Order:
    """The entries of an epoch's order that `rank` trains on: those of every `ranks`-th lane."""
    if ranks == 1:
        return order
    mine: Order = order[np.resize(np.arange(batch) % ranks == rank, len(order))]
    return mine


def lanes_of_rank(batch: int, *, rank: int, ranks: int) -> int:
    """How many samples of a full global batch are `rank`'s."""
    return len(range(rank, batch, ranks))


def owner(indices: Indices, batch: int, *, ranks: int) -> Indices:
    """The rank in whose lanes each of `indices` lies."""
    owners: Indices = indices % batch % ranks
    return owners


def slot(indices: Indices, batch: int, *, rank: int, ranks: int) -> Indices:
    """Where a rank that holds its own samples, ascending, finds those of `indices`."""
    if ranks == 1:
        return indices
    position, lane = np.divmod(indices, batch)
    place: Indices = position * lanes_of_rank(batch, rank=rank, ranks=ranks) + lane // ranks
    return place
