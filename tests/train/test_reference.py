"""What a trial's figures are seen against: hashes of what it rests on, and the figures of a naive prediction."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.builders import a_training, dataset_of, few
from train.ranks import on_ranks, reference_of
from trainer.training.distributed import Ranks
from trainer.training.redistribute import RankSamples
from trainer.training.reference import figures_of_shares, hash_of_targets, hashes, naive

CPU = torch.device("cpu")
MADE_UP = {"source": "synthetic", "rows": 400, "validFraction": 0.2}


def hashes_of(cache: Path, **data: Any) -> dict[str, float]:
    training = a_training(data=MADE_UP | data)
    return hashes(dataset_of(training, cache), training.data, Ranks(), CPU)


def naive_of(cache: Path, **data: Any) -> dict[str, float]:
    training = a_training(data=MADE_UP | data)
    return naive(dataset_of(training, cache), training.data, Ranks(), CPU)


VALIDATES_OTHERS = {
    "window": {"window": 6},
    "validFraction": {"validFraction": 0.3},
    "testFraction": {"testFraction": 0.3},
    "target": {"target": "Open"},
    "seed": {"seed": 1},
    "rows": {"rows": 401},
    "task": {"task": "Classification"},
    "classes": {"task": "Classification", "classes": 3},
}
VALIDATES_THE_SAME = {
    "columns": {"columns": ["Close"]},
    "normalize": {"normalize": "None"},
    "multiplier": {"multiplier": 3},
    "residency": {"residency": "Streaming"},
}


@pytest.mark.parametrize("fields", VALIDATES_OTHERS.values(), ids=VALIDATES_OTHERS)
def test_other_validation_samples_have_another_hash(fields: dict[str, Any], cache: Path) -> None:
    assert hashes_of(cache)["validationHash"] != hashes_of(cache, **fields)["validationHash"]


@pytest.mark.parametrize("fields", VALIDATES_THE_SAME.values(), ids=VALIDATES_THE_SAME)
def test_the_same_validation_samples_have_the_same_hash(fields: dict[str, Any], cache: Path) -> None:
    assert hashes_of(cache) == hashes_of(cache, **fields)


def test_without_a_validation_part_there_is_no_hash_of_it(cache: Path) -> None:
    assert set(hashes_of(cache, validFraction=0)) == {"dataHash"}


def test_the_content_is_that_of_the_source_and_not_of_how_it_is_cut(cache: Path) -> None:
    same = [hashes_of(cache, **fields)["dataHash"] for fields in ({}, {"window": 6}, {"target": "Open"})]
    assert len(set(same)) == 1
    assert hashes_of(cache, seed=1)["dataHash"] not in same


def test_a_file_that_was_replaced_has_other_content_and_a_copy_elsewhere_the_same(
    cache: Path, tmp_path: Path
) -> None:
    rows = [f"2020-01-{day:02},{100 + day % 5}" for day in range(1, 29)] + [
        f"2020-02-{day:02},{100 + day % 7}" for day in range(1, 29)
    ]
    first, copy = tmp_path / "rows.csv", tmp_path / "copy.csv"
    for path in (first, copy):
        path.write_text("\n".join(["Date,Close", *rows]) + "\n")
    fields = {"source": "csv", "columns": ["Close"], "window": 2}
    before = hashes_of(cache, path=str(first), **fields)
    assert before == hashes_of(cache, path=str(copy), **fields)
    first.write_text("\n".join(["Date,Close", *rows[:-1], "2020-02-28,99"]) + "\n")
    assert hashes_of(cache, path=str(first), **fields)["dataHash"] != before["dataHash"]


@pytest.mark.parametrize("task", ["Regression", "Classification"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_finds_the_same(ranks: int, task: str, cache: Path, tmp_path: Path) -> None:
    training = a_training(data=MADE_UP | {"task": task})
    alone = reference_of(0, 1, training, cache, tmp_path / "alone")
    together = on_ranks(ranks, reference_of, training, cache, tmp_path / "together")
    assert [set(each) for each in together] == [set(alone)] * ranks
    for each in together:
        assert each == pytest.approx(alone, rel=1e-12)
        assert {name: each[name] for name in ("dataHash", "validationHash")} == {
            name: alone[name] for name in ("dataHash", "validationHash")
        }


@few
@given(
    y=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), ranks=st.integers(1, 5), swap=st.booleans()
)
def test_the_hash_of_targets_does_not_depend_on_who_holds_them_and_tells_their_order(
    y: list[float], ranks: int, swap: bool
) -> None:
    targets = np.array(y, np.float32)
    whole = hash_of_targets(np.arange(len(targets)), targets)
    shares = []
    for rank in range(ranks):
        mine = np.arange(rank, len(targets), ranks)
        held = RankSamples(
            np.empty((len(mine), 1, 1), np.float32), targets[mine], len(targets), ranks, Ranks(rank, ranks)
        )
        shares.append(hash_of_targets(*held.targets(rank, ranks)))
    assert sum(shares) % 2**48 == whole
    if swap and targets[0] != targets[-1]:
        turned = targets[::-1].copy()
        assert (hash_of_targets(np.arange(len(turned)), turned) == whole) == bool((turned == targets).all())


def test_the_naive_figures_of_a_regression_are_those_of_the_training_mean(cache: Path) -> None:
    training = a_training(data=MADE_UP)
    data = dataset_of(training, cache)
    mean = np.concatenate(data.train.y).astype(np.float64).mean()
    found = naive_of(cache)
    assert set(found) == {f"naive{part}{metric}" for part in ("Valid", "Test") for metric in ("Mse", "Mae", "R2")}
    for name, part in (("Valid", data.valid), ("Test", data.test)):
        y = np.concatenate(part.y).astype(np.float64)
        assert found[f"naive{name}Mse"] == pytest.approx(((y - mean) ** 2).mean())
        assert found[f"naive{name}Mae"] == pytest.approx(np.abs(y - mean).mean())
        assert found[f"naive{name}R2"] == pytest.approx(1 - ((y - mean) ** 2).mean() / y.var())
        assert found[f"naive{name}R2"] <= 0


@pytest.mark.parametrize("classes", [2, 4])
def test_the_naive_figures_of_a_classification_are_those_of_the_training_classes(classes: int, cache: Path) -> None:
    training = a_training(data=MADE_UP | {"task": "Classification", "classes": classes})
    data = dataset_of(training, cache)
    trained = np.bincount(np.concatenate(data.train.y), minlength=classes)
    y = np.concatenate(data.valid.y)
    found = naive_of(cache, task="Classification", classes=classes)
    shares = trained / trained.sum()
    assert found["naiveValidAccuracy"] == pytest.approx((y == trained.argmax()).mean())
    assert found["naiveValidLogLoss"] == pytest.approx(-np.log(shares[y]).mean())
    if classes == 2:  # always class 1: precision is its share, recall 1
        share = (y == 1).mean()
        assert found["naiveValidF1"] == pytest.approx(2 * share / (1 + share))


def test_a_class_that_training_lacks_leaves_no_naive_log_loss() -> None:
    figures = figures_of_shares(np.array([3.0, 1.0, 0.0]), np.array([1.0, 0.0, 2.0]))
    assert figures.metrics.keys() == {"accuracy", "f1"}
    assert figures.metrics["accuracy"] == pytest.approx(1 / 3)
    assert all(math.isfinite(value) for value in figures.metrics.values())


def test_without_validation_and_test_there_are_no_naive_figures(cache: Path) -> None:
    assert naive_of(cache, validFraction=0, testFraction=0) == {}
