"""Targets scaled in training: figures, weights and predictions stay in the target's own units."""

import json
from pathlib import Path

import numpy as np
import pytest

from local.cli import trainer
from train.builders import a_context, a_training, dataset_of, losses, train_alone
from train.ranks import on_ranks, run_all
from trainer.experiment.record import RankReport
from trainer.local.ledger import read_ledger
from trainer.training.predict import load, of_test_set
from trainer.training.trial import run_rank

SCALED = {"targetScaling": "ZScore", "epochs": 6}


def test_the_first_loss_is_that_of_the_mean_in_the_targets_own_units(cache: Path) -> None:
    training = a_training(train={**SCALED, "learningRate": 1e-12, "epochs": 1})
    result = train_alone(training, cache)
    y = np.concatenate(dataset_of(training, cache).train.y).astype(np.float64)
    assert result.valid is not None
    # An untrained network's outputs, of about 1 when scaled, are deviations around the mean.
    assert 0.5 * y.var() < losses(result.progress.history)[0] < 5 * y.var()
    assert result.valid.metrics["mse"] < 5 * y.var()


def test_scaling_learns_the_same_of_a_target_in_any_unit(cache: Path, tmp_path: Path) -> None:
    """A difference in cents is learnt as one in euros: 100 times the error, and its squares 10,000 times."""
    rng = np.random.default_rng(0)
    prices = 100 + np.cumsum(rng.normal(size=200))
    found = []
    for name, unit in (("euros", 1), ("cents", 128)):  # a power of two, so that only the exponent differs
        path = tmp_path / f"{name}.csv"
        days = np.datetime64("2020-01-01") + np.arange(200)
        lines = [f"{day},{price!r},{price * unit!r}" for day, price in zip(days, prices.tolist(), strict=True)]
        path.write_text("\n".join(["Date,Price,Target", *lines]) + "\n")
        data = {"source": "csv", "path": str(path), "columns": ["Price"], "target": "Target", "predict": "Difference"}
        found.append(losses(train_alone(a_training(data=data, train=SCALED), cache).progress.history))
    assert found[1] == pytest.approx([128**2 * loss for loss in found[0]], rel=1e-4)


def test_without_scaling_nothing_changed(cache: Path) -> None:
    plain, none = a_training(), a_training(train={"targetScaling": "None"})
    assert plain == none
    assert "network.head.weight" not in train_alone(plain, cache).weights


def test_a_constant_target_is_not_divided_by_its_rounding(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "flat.csv"
    days = np.datetime64("2020-01-01") + np.arange(120)
    path.write_text(
        "\n".join(["Date,Price", *(f"{day},{1.1**0.5 * 1.01**n!r}" for n, day in enumerate(days))]) + "\n"
    )
    data = {"source": "csv", "path": str(path), "columns": ["Price"], "target": "Price", "validFraction": 0.2}
    result = train_alone(a_training(data=data, train=SCALED), cache)
    assert all(np.isfinite(losses(result.progress.history)))
    assert result.valid is not None
    assert "r2" not in result.valid.metrics


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_train_on_targets_scaled_alike(ranks: int, cache: Path, tmp_path: Path) -> None:
    training = a_training(train={**SCALED, "precision": "Float64", "batchSize": 25})
    folder = tmp_path / "together"
    reports: list[list[RankReport]] = on_ranks(ranks, run_all, [folder], cache, [training])
    alone = run_rank(training, a_context(tmp_path / "alone", cache), started=0)
    for name in ("trainLoss", "validMse", "testMse"):
        assert reports[0][0].metrics[name] == pytest.approx(alone.metrics[name], rel=1e-9)


def test_a_run_predicts_in_the_targets_own_units(cache: Path, tmp_path: Path) -> None:
    training = a_training(data={"features": "Changes", "predict": "AbsoluteReturn"}, train=SCALED)
    report = run_rank(training, a_context(tmp_path, cache), started=0)
    predictions, figures = of_test_set(load(tmp_path), cache)
    assert figures is not None
    assert figures.metrics["mse"] == pytest.approx(report.metrics["testMse"])
    errors = [float(each.value) - float(each.target or 0) for each in predictions]
    assert np.mean(np.square(errors)) == pytest.approx(report.metrics["testMse"], rel=1e-4)


@pytest.mark.slow
def test_the_best_of_the_example_with_something_to_learn_beats_the_naive_figure(tmp_path: Path) -> None:
    """For five seeds at once, which is a further parameter: the median of the ratios, on validation and test."""
    text = Path("examples/volatility.yaml").read_text()
    assert "  parameters:\n" in text
    search = tmp_path / "seeds.yaml"
    search.write_text(
        text.replace("  parameters:\n", "  parameters:\n    - {name: train.seed, choices: [0, 1, 2, 3, 4]}\n")
    )
    done = trainer("run", search, "--out", tmp_path / "out", "--jobs", "2", "--json")
    assert done.returncode == 0, done.stderr
    records = read_ledger(tmp_path / "out")
    assert len(records) == 5 * 18
    ratios = []
    for seed in range(5):
        best = min((each for each in records if each.seed == seed), key=lambda each: each.metrics["validMse"]).metrics
        ratios.append([best[name] / best[f"naive{name[0].upper()}{name[1:]}"] for name in ("validMse", "testMse")])
    valid, test = np.median(ratios, axis=0)
    print(f"best of 18 by naive, median of 5 seeds: validMse {valid:.3f}, testMse {test:.3f}; {json.dumps(ratios)}")
    assert valid < 1
    assert test < 1
