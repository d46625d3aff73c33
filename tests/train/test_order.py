"""In which order samples are trained on: the same batches for any number of ranks, a rank's part for ever its own."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.builders import a_training, few
from trainer.training import order
from trainer.training.distributed import Ranks
from trainer.training.samples import TrainingSamples

sizes = st.integers(1, 300)
batches = st.integers(1, 80)
epochs = st.integers(0, 1000)
seeds = st.integers(0, 2**31 - 1)


class Numbers:
    """A source whose sample i holds nothing but i."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert all(0 <= index < self.count for index in indices)
        return indices.astype(np.float32).reshape(-1, 1, 1), indices.astype(np.float32)


def steps(
    count: int, batch: int, ranks: Ranks, *, epoch: int = 1, resident: bool = True
) -> list[tuple[list[int], int]]:
    """The samples that a rank gets in each step of an epoch, and the size of the whole batch."""
    train = a_training(train={"batchSize": batch}).train
    samples = TrainingSamples(Numbers(count), train, ranks, torch.device("cpu"), torch.float64, resident=resident)
    return [(y.long().tolist(), whole) for x, y, whole in samples.epoch(epoch)]


@few
@given(sizes, batches, seeds, epochs)
def test_an_epoch_takes_every_sample_once(count: int, batch: int, seed: int, epoch: int) -> None:
    assert sorted(order.epoch_order(count, batch, seed=seed, epoch=epoch)) == list(range(count))


@few
@given(sizes, batches, seeds, epochs)
def test_a_batch_holds_one_sample_of_each_lane(count: int, batch: int, seed: int, epoch: int) -> None:
    lanes = order.epoch_order(count, batch, seed=seed, epoch=epoch) % batch
    assert lanes.tolist() == [place % batch for place in range(count)]


@few
@given(sizes, st.integers(4, 80), st.sampled_from([1, 2, 3, 4]), st.booleans())
def test_the_parts_of_1_to_4_ranks_make_up_the_same_batches(
    count: int, batch: int, ranks: int, resident: bool
) -> None:
    whole = steps(count, batch, Ranks())
    parts = [steps(count, batch, Ranks(rank, ranks), resident=resident) for rank in range(ranks)]

    assert {len(part) for part in parts} == {len(whole)}
    for step, (samples, size) in enumerate(whole):
        assert len(samples) == size
        assert sorted(sample for part in parts for sample in part[step][0]) == sorted(samples)
        assert {part[step][1] for part in parts} == {size}


@few
@given(sizes, st.integers(3, 80), st.sampled_from([2, 3]), epochs, epochs)
def test_a_rank_trains_on_the_same_part_in_every_epoch(
    count: int, batch: int, ranks: int, one: int, two: int
) -> None:
    for rank in range(ranks):
        first, second = (steps(count, batch, Ranks(rank, ranks), epoch=epoch) for epoch in (one, two))
        assert sorted(chain(*(part for part, _ in first))) == sorted(chain(*(part for part, _ in second)))


def test_a_rank_without_a_single_sample_still_takes_every_step() -> None:
    assert steps(1, 64, Ranks(2, 3)) == [([], 1)]
    assert steps(1, 64, Ranks(2, 3), resident=False) == [([], 1)]
    assert steps(129, 64, Ranks(1, 2))[-1] == ([], 1)


@few
@given(sizes, st.integers(4, 80), st.sampled_from([1, 2, 3, 4]))
def test_a_sample_has_one_owner_where_its_slots_are_ascending(samples: int, batch: int, ranks: int) -> None:
    whole = np.arange(samples)
    owners = order.owner(whole, batch, ranks=ranks)
    for rank in range(ranks):
        mine = whole[owners == rank]
        assert np.array_equal(mine, order.of_rank(whole.astype(np.int32), batch, rank=rank, ranks=ranks))
        assert np.array_equal(order.slot(mine, batch, rank=rank, ranks=ranks), np.arange(len(mine)))


@few
@given(sizes, batches, seeds, epochs)
def test_without_shuffling_samples_come_as_they_are(count: int, batch: int, seed: int, epoch: int) -> None:
    kept = order.epoch_order(count, batch, seed=seed, epoch=epoch, shuffle=False)
    assert kept.tolist() == list(range(count))


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = {tuple(order.epoch_order(200, 7, seed=seed, epoch=epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_within_a_lane_every_order_is_equally_likely() -> None:
    # 3 steps of 2 lanes: 6 orders of each lane, so 36 in all, about 50 times each.
    seen: dict[tuple[int, ...], int] = {}
    for epoch in range(1800):
        found = tuple(order.epoch_order(6, 2, seed=1, epoch=epoch).tolist())
        seen[found] = seen.get(found, 0) + 1
    assert len(seen) == 36
    chi_squared = sum((count - 50) ** 2 / 50 for count in seen.values())
    assert chi_squared < 66.6  # 35 degrees of freedom, p = 0.001


def test_orders_are_the_same_on_every_machine_and_with_every_version_of_numpy() -> None:
    assert order.epoch_order(10, 4, seed=0, epoch=1).tolist() == [0, 1, 2, 3, 4, 9, 6, 7, 8, 5]
    assert order.epoch_order(11, 3, seed=2**31 - 1, epoch=999).tolist() == [9, 7, 2, 6, 1, 8, 3, 10, 5, 0, 4]
    assert order.epoch_order(8, 2, seed=7, epoch=0).tolist() == [4, 7, 2, 5, 6, 1, 0, 3]


def test_a_batch_smaller_than_the_ranks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^train\.batchSize must be at least workers \(3\), got 2$"):
        steps(10, 2, Ranks(0, 3))
