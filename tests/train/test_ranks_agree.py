"""The number of ranks changes nothing but the time a training takes."""

from pathlib import Path

import pytest

from train.builders import TRAIN_SAMPLES, a_training, dataset_of, history_in, losses, train_alone
from train.ranks import on_ranks, run_all, say
from trainer.experiment.training import Training

# 121 samples: whole batches, an uneven last one, and one whose single sample leaves the other ranks with none.
BATCHES = {"uneven": 25, "lonely": 24, "larger than the set": 200}
KINDS = ("MLP", "LSTM", "Transformer")


def differences(training: Training, cache: Path, folder: Path) -> float:
    """The largest relative difference of an epoch's loss between one rank and the ranks that ran in `folder`."""
    alone = losses(train_alone(training, cache).progress.history)
    together = losses(history_in(folder))
    assert len(alone) == len(together) == training.train.epochs
    return max(abs(a - b) / abs(a) for a, b in zip(alone, together, strict=True))


def cases(precision: str, **fields: object) -> dict[str, Training]:
    """Every kind of model for 50 steps or more, and the plainest on each batch size."""
    found = {}
    for kind in KINDS:
        for name, batch in BATCHES.items():
            steps = -(-TRAIN_SAMPLES // batch)
            epochs = -(-50 // steps) if steps > 1 else 8
            train = {"batchSize": batch, "epochs": epochs, "precision": precision, **fields}
            if kind == "MLP" or name == "uneven":
                found[f"{kind} {name}"] = a_training(model={"kind": kind}, train=train)
    # Adam's steps don't depend on the scale of gradients; SGD's do.
    found["SGD"] = a_training(
        train={"optimizer": "SGD", "momentum": 0.5, "batchSize": 24, "epochs": 9, "precision": precision}
    )
    found["classes"] = a_training(
        data={"task": "Classification", "classes": 3}, train={"batchSize": 25, "epochs": 10, "precision": precision}
    )
    return found


def test_the_data_sets_have_the_sizes_that_these_tests_speak_of(cache: Path) -> None:
    assert len(dataset_of(a_training(), cache).train) == TRAIN_SAMPLES


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_in_float64_losses_of_one_and_more_ranks_agree_to_1e_9(ranks: int, cache: Path, tmp_path: Path) -> None:
    wanted = cases("Float64", gradientClip=0.5, weightDecay=0.01, optimizer="AdamW")
    folders = [tmp_path / name for name in wanted]
    reports = on_ranks(ranks, run_all, folders, cache, list(wanted.values()))

    assert [report.error for rank in reports for report in rank if report.error] == []
    found = {name: differences(training, cache, tmp_path / name) for name, training in wanted.items()}
    assert {name: value for name, value in found.items() if value > 1e-9} == {}


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1e-4, 1e-3])
def test_in_float32_losses_of_one_and_two_ranks_agree_to_1e_5_over_50_steps(
    rate: float, cache: Path, tmp_path: Path
) -> None:
    wanted = cases("Float32", learningRate=rate)
    folders = [tmp_path / name for name in wanted]
    reports = on_ranks(2, run_all, folders, cache, list(wanted.values()))

    assert [report.error for rank in reports for report in rank if report.error] == []
    found = {name: differences(training, cache, tmp_path / name) for name, training in wanted.items()}
    assert {name: value for name, value in found.items() if value > 1e-5} == {}


@pytest.mark.slow
def test_the_final_metric_of_two_ranks_lies_within_the_spread_of_five_seeds(cache: Path, tmp_path: Path) -> None:
    def training(seed: int) -> Training:
        return a_training(train={"epochs": 20, "batchSize": 25, "learningRate": 0.01, "seed": seed})

    (report,), _ = on_ranks(2, run_all, [tmp_path], cache, [training(0)])
    alone = [train_alone(training(seed), cache).valid for seed in range(5)]
    spread = [figures.metrics["mse"] for figures in alone if figures is not None]

    assert min(spread) <= report.metrics["validMse"] <= max(spread)
    assert report.metrics["validMse"] == pytest.approx(spread[0], rel=1e-3)


def test_metrics_of_three_ranks_are_those_of_one(cache: Path, tmp_path: Path) -> None:
    trainings = [
        a_training(train={"precision": "Float64", "epochs": 1}),
        a_training(data={"task": "Classification"}, train={"precision": "Float64", "epochs": 1}),
        a_training(data={"multiplier": 3, "residency": "Streaming"}, train={"precision": "Float64", "epochs": 1}),
    ]
    folders = [tmp_path / str(number) for number in range(3)]
    lead, *others = on_ranks(3, run_all, folders, cache, trainings)

    assert all(report.metrics == {} for rank in others for report in rank)
    for training, report in zip(trainings, lead, strict=True):
        alone = train_alone(training, cache)
        for part, figures in (("valid", alone.valid), ("test", alone.test)):
            assert figures is not None
            for name, value in figures.named(part).items():
                assert report.metrics[name] == pytest.approx(value, rel=1e-9), name


def test_rank_0_tells_the_others_its_text_and_its_numbers(tmp_path: Path) -> None:
    text = '{"epoch": 3, "where": "Zürich"}'
    assert on_ranks(3, say, f"file://{tmp_path / 'rendezvous'}", text) == [(text, [0.0, 0.0, 0.0])] * 3
    assert on_ranks(2, say, f"file://{tmp_path / 'again'}", "") == [("", [0.0, 0.0, 0.0])] * 2


def test_with_a_batch_per_worker_and_linear_scaling_two_ranks_train_as_one_with_twice_of_both(
    cache: Path, tmp_path: Path
) -> None:
    each = a_training(
        train={
            "batchSize": 10,
            "batchPer": "Worker",
            "learningRate": 0.001,
            "learningRateScaling": "Linear",
            "precision": "Float64",
        }
    )
    whole = a_training(train={"batchSize": 20, "learningRate": 0.002, "precision": "Float64"})
    on_ranks(2, run_all, [tmp_path], cache, [each])
    assert differences(whole, cache, tmp_path) <= 1e-9
