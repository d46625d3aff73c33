"""The samples of a multiplied set that ranks train on: the same for any rank count and batch, held or streamed."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from train.builders import a_training, dataset_of
from trainer.data.multiply import Multiplied
from trainer.training.distributed import Ranks
from trainer.training.samples import TrainingSamples

MULTIPLIER = 7


def stream(cache: Path, *, ranks: int, batch: int, resident: bool, epoch: int) -> list[Counter[bytes]]:
    """The samples of each step of an epoch, of all ranks together, as bytes."""
    training = a_training(train={"batchSize": batch})
    source = Multiplied(dataset_of(training, cache).train, MULTIPLIER)
    steps: list[Counter[bytes]] = []
    for rank in range(ranks):
        samples = TrainingSamples(
            source, training.train, Ranks(rank, ranks), torch.device("cpu"), torch.float32, resident=resident
        )
        for step, (x, y, _) in enumerate(samples.epoch(epoch)):
            if step == len(steps):
                steps.append(Counter())
            steps[step].update(
                window.numpy().tobytes() + target.numpy().tobytes() for window, target in zip(x, y, strict=True)
            )
    return steps


@pytest.mark.parametrize("batch", [4, 32, 101, 5000])
def test_every_step_has_the_same_samples_for_1_2_and_4_ranks_held_or_streamed(batch: int, cache: Path) -> None:
    whole = stream(cache, ranks=1, batch=batch, resident=True, epoch=1)
    for ranks in (1, 2, 4):
        for resident in (True, False):
            assert stream(cache, ranks=ranks, batch=batch, resident=resident, epoch=1) == whole


def test_every_epoch_and_every_batch_has_the_same_samples(cache: Path) -> None:
    def of_epoch(batch: int, epoch: int) -> Counter[bytes]:
        return sum(stream(cache, ranks=2, batch=batch, resident=False, epoch=epoch), Counter())

    once = of_epoch(32, 1)
    assert once.total() == MULTIPLIER * 121
    assert max(once.values()) == 1
    assert of_epoch(32, 2) == of_epoch(7, 1) == of_epoch(1000, 9) == once


def test_an_epoch_is_the_same_whatever_came_before_it(cache: Path) -> None:
    training = a_training()
    source = Multiplied(dataset_of(training, cache).train, MULTIPLIER)

    def samples() -> TrainingSamples:
        return TrainingSamples(source, training.train, Ranks(), torch.device("cpu"), torch.float32, resident=False)

    trained = samples()
    for epoch in (1, 2):
        assert sum(len(y) for _, y, _ in trained.epoch(epoch)) == trained.count
    resumed = samples()
    for (x, y, whole), (again_x, again_y, again) in zip(trained.epoch(3), resumed.epoch(3), strict=True):
        assert torch.equal(x, again_x)
        assert torch.equal(y, again_y)
        assert whole == again
