"""The train loop: it learns, repeats itself to the bit, stops when it should and says when it went wrong."""

import math
from pathlib import Path

import pytest
import torch

from train.builders import a_training, dataset_of, losses, same_tensors, train_alone, without_times, write_npz
from trainer.training.loop import Diverged, dropout_seed
from trainer.training.models import build

KINDS = ["MLP", "LSTM", "Transformer"]


@pytest.mark.parametrize("kind", KINDS)
def test_training_learns_a_plain_function_of_the_window(kind: str, cache: Path, tmp_path: Path) -> None:
    training = a_training(
        data=write_npz(tmp_path / "set.npz"),
        model={"kind": kind, "hiddenSize": 16},
        train={"epochs": 25, "learningRate": 0.01, "batchSize": 12},
    )
    result = train_alone(training, cache)
    history = losses(result.progress.history)
    assert history[-1] < 0.3 * history[0]
    assert result.valid is not None
    assert result.valid.metrics["r2"] > 0.3


@pytest.mark.parametrize("classes", [2, 5])
def test_training_learns_classes(classes: int, cache: Path, tmp_path: Path) -> None:
    training = a_training(
        data=write_npz(tmp_path / "set.npz", classes=classes, samples=300),
        model={"hiddenSize": 32},
        train={"epochs": 30, "learningRate": 0.01, "batchSize": 20},
    )
    result = train_alone(training, cache)
    assert losses(result.progress.history)[0] < math.log(classes) * 1.5
    for figures in (result.valid, result.test):
        assert figures is not None
        assert figures.metrics["accuracy"] > (0.75 if classes == 2 else 0.45)
        assert figures.confusion is not None
        assert [len(row) for row in figures.confusion] == [classes] * classes
        assert sum(map(sum, figures.confusion)) == 60


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_trains_the_same_weights_to_the_bit(kind: str, cache: Path) -> None:
    training = a_training(model={"kind": kind, "dropout": 0.2, "layers": 2}, train={"seed": 5, "epochs": 2})
    one, other = train_alone(training, cache), train_alone(training, cache)
    assert same_tensors(one.weights, other.weights)
    assert without_times(one.progress.history) == without_times(other.progress.history)
    assert (one.valid, one.test) == (other.valid, other.test)


def test_another_seed_starts_from_other_weights(cache: Path) -> None:
    one, other = (train_alone(a_training(train={"seed": seed, "epochs": 1}), cache) for seed in (0, 1))
    assert losses(one.progress.history) != losses(other.progress.history)


def test_residency_changes_nothing(cache: Path) -> None:
    held, streamed = (
        train_alone(a_training(data={"residency": residency, "multiplier": 2}), cache)
        for residency in ("InMemory", "Streaming")
    )
    assert same_tensors(held.weights, streamed.weights)


def test_a_multiple_of_the_set_makes_as_many_times_the_steps(cache: Path) -> None:
    one, three = (
        train_alone(a_training(data={"multiplier": multiplier}, train={"epochs": 1}), cache) for multiplier in (1, 3)
    )
    # More steps in an epoch: a lower loss at its end. Validation is the same set for both.
    assert one.valid is not None
    assert three.valid is not None
    assert three.valid.loss < one.valid.loss


def test_an_epochs_loss_is_the_mean_over_its_samples(cache: Path) -> None:
    # So little is learned that the loss is that of the first weights.
    training = a_training(
        train={"epochs": 1, "batchSize": 25, "learningRate": 1e-300, "optimizer": "SGD", "precision": "Float64"}
    )
    result = train_alone(training, cache)
    data = dataset_of(training, cache)
    torch.manual_seed(0)
    model = build(training.model, window=5, features=5, outputs=1)
    x, y = data.train.gather(torch.arange(len(data.train)).numpy())
    expected = (model(torch.from_numpy(x).double()) - torch.from_numpy(y).double()).square().mean().item()
    assert losses(result.progress.history) == pytest.approx([expected], rel=1e-12)


def test_dropout_differs_between_epochs_and_ranks() -> None:
    seeds = {dropout_seed(seed, epoch, rank) for seed in (0, 1, 2) for epoch in range(1, 50) for rank in range(8)}
    assert len(seeds) == 3 * 49 * 8
    assert dropout_seed(2**31 - 1, 10**9, 4000) < 2**64


def test_dropout_changes_what_an_epoch_makes_of_the_same_weights(cache: Path) -> None:
    training = a_training(
        model={"dropout": 0.5, "hiddenSize": 32},
        train={"epochs": 4, "learningRate": 1e-300, "optimizer": "SGD", "shuffle": False},
    )
    assert len(set(losses(train_alone(training, cache).progress.history))) == 4


def test_patience_stops_a_training_that_gets_no_better(cache: Path) -> None:
    # Weights that don't move: the first epoch stays the best one.
    training = a_training(train={"epochs": 50, "patience": 3, "learningRate": 1e-300, "optimizer": "SGD"})
    progress = train_alone(training, cache).progress
    assert (progress.epoch, progress.best_epoch) == (4, 1)


def test_without_patience_every_epoch_is_trained(cache: Path) -> None:
    training = a_training(train={"epochs": 6, "learningRate": 1e-300, "optimizer": "SGD"})
    assert train_alone(training, cache).progress.epoch == 6


def test_without_validation_patience_goes_by_the_training_loss(cache: Path) -> None:
    training = a_training(
        data={"validFraction": 0.0},
        train={"epochs": 50, "patience": 2, "learningRate": 1e-300, "optimizer": "SGD", "shuffle": False},
    )
    result = train_alone(training, cache)
    assert result.valid is None
    assert "validLoss" not in result.progress.history[0]
    assert result.progress.epoch < 50


def test_weights_and_figures_are_those_of_the_best_epoch(cache: Path) -> None:
    # A rate so large that the loss jumps up and down.
    training = a_training(train={"epochs": 8, "learningRate": 0.3})
    result = train_alone(training, cache)
    by_epoch = [row["validLoss"] for row in result.progress.history]
    assert result.valid is not None
    assert result.valid.loss == min(by_epoch)
    assert result.progress.best_epoch == by_epoch.index(min(by_epoch)) + 1
    stopped = train_alone(a_training(train={"epochs": result.progress.best_epoch, "learningRate": 0.3}), cache)
    assert same_tensors(result.weights, stopped.weights)


def test_gradient_clipping_bounds_a_step(cache: Path) -> None:
    def moved(clip: float) -> float:
        training = a_training(
            train={"epochs": 1, "batchSize": 1000, "optimizer": "SGD", "learningRate": 1.0, "gradientClip": clip}
        )
        torch.manual_seed(0)
        before = build(training.model, window=5, features=5, outputs=1).state_dict()
        after = train_alone(training, cache).weights
        return math.sqrt(sum((after[name] - before[name]).square().sum().item() for name in before))

    assert moved(0.001) == pytest.approx(0.001, rel=1e-3)
    assert moved(1000.0) == moved(0.0) > 0.01


def test_linear_scaling_leaves_the_rate_of_a_single_rank_alone(cache: Path) -> None:
    plain, scaled = (
        train_alone(a_training(train={"learningRateScaling": scaling, "epochs": 1}), cache)
        for scaling in ("None", "Linear")
    )
    assert same_tensors(plain.weights, scaled.weights)


def test_a_loss_that_is_no_number_names_its_epoch(cache: Path) -> None:
    training = a_training(train={"epochs": 50, "learningRate": 1e30, "optimizer": "SGD", "batchSize": 16})
    with pytest.raises(Diverged, match=r"^the training loss became (nan|inf) in epoch [12]$"):
        train_alone(training, cache)


def test_weights_that_overflow_in_the_last_step_of_an_epoch_diverge_by_the_validation_loss(cache: Path) -> None:
    # One step an epoch: its loss is that of the first weights, and only the validation sees the new ones.
    training = a_training(train={"epochs": 1, "learningRate": 1e38, "optimizer": "SGD", "batchSize": 1000})
    with pytest.raises(Diverged, match=r"^the validation loss became (nan|inf) in epoch 1$"):
        train_alone(training, cache)


def test_without_validation_they_diverge_by_the_test_loss(cache: Path) -> None:
    training = a_training(
        data={"validFraction": 0.0},
        train={"epochs": 1, "learningRate": 1e38, "optimizer": "SGD", "batchSize": 1000},
    )
    with pytest.raises(Diverged, match=r"^the test loss became (nan|inf) in epoch 1$"):
        train_alone(training, cache)
