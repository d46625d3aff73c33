"""Metrics are scikit-learn's, whatever the sharding."""

from contextlib import suppress
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from train.builders import few
from trainer.training.distributed import Ranks
from trainer.training.evaluate import Figures, classification_figures, evaluate, predicted_class, regression_figures


class Given:
    """A source that hands out scores as x, so that a model that returns them predicts them."""

    def __init__(self, scores: np.ndarray, y: np.ndarray) -> None:
        self.scores, self.y = scores, y

    def __len__(self) -> int:
        return len(self.y)

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.scores[indices], self.y[indices]


class Kept(Exception):
    """A rank's sums are on their way to the others."""


class OneOfSeveral(Ranks):
    """A rank in a process of several: all but the last leave their sums to it."""

    sums: ClassVar[list[torch.Tensor]] = []

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        self.sums.append(tensor.clone())
        if not self.rank == self.count - 1:
            raise Kept
        tensor.copy_(torch.stack(self.sums).sum(0))
        self.sums.clear()
        return tensor


def figures(
    scores: np.ndarray,
    y: np.ndarray,
    *,
    threshold: float = 0.5,
    ranks: int = 1,
    mean: float = 0.0,
    double: bool = False,
) -> Figures:
    classes = scores.shape[1] if scores.ndim == 2 else 1
    for rank in range(ranks):
        with suppress(Kept):
            found = evaluate(
                torch.nn.Identity(),
                Given(scores, y),
                task="Regression" if classes == 1 else "Classification",
                classes=classes,
                threshold=threshold,
                target_mean=mean,
                ranks=OneOfSeveral(rank, ranks),
                like=torch.empty(0, dtype=torch.float64 if double else torch.float32),
            )
    assert found is not None
    return found


@few
@given(st.integers(2, 60), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_mse_mae_and_r2_are_those_of_scikit_learn(count: int, ranks: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    y = random.normal(0.001, 0.01, count).astype(np.float32)
    scores = (y + random.normal(0, 0.01, count)).astype(np.float32)
    found = figures(scores, y, ranks=ranks, mean=0.001, double=True).metrics

    exact_y, exact = y.astype(np.float64), scores.astype(np.float64)
    assert found["mse"] == pytest.approx(oracle.mean_squared_error(exact_y, exact), rel=1e-12)
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(exact_y, exact), rel=1e-12)
    assert found["r2"] == pytest.approx(oracle.r2_score(exact_y, exact), rel=1e-9, abs=1e-9)


def test_r2_keeps_its_digits_far_from_zero() -> None:
    y = 1e6 + np.random.default_rng(0).normal(0, 1, 500)
    scores = y + np.random.default_rng(1).normal(0, 0.5, 500)
    assert figures(scores, y, mean=1e6, double=True).metrics["r2"] == pytest.approx(
        oracle.r2_score(y, scores), rel=1e-9
    )


def test_a_constant_target_has_no_r2() -> None:
    y = np.full(7, 0.1, np.float32)
    assert "r2" not in figures(y + 1, y).metrics
    assert "r2" not in figures(y + 1, y, mean=0.3).metrics
    assert "r2" not in figures(y[:1], y[:1]).metrics


@few
@given(
    st.sampled_from([2, 3, 5]),
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 0.95),
)
def test_accuracy_f1_confusion_and_log_loss_are_those_of_scikit_learn(
    classes: int, count: int, ranks: int, seed: int, threshold: float
) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(0, 2, (count, classes)).astype(np.float32)
    y = random.integers(0, classes, count)
    found = figures(scores, y, threshold=threshold, ranks=ranks)

    exact = scores.astype(np.float64)
    likely = np.exp(exact - np.logaddexp.reduce(exact, axis=1, keepdims=True))
    predicted = (likely[:, 1] >= threshold).astype(int) if classes == 2 else likely.argmax(axis=1)
    labels = list(range(classes))
    assert found.confusion == oracle.confusion_matrix(y, predicted, labels=labels).tolist()
    assert found.metrics["accuracy"] == pytest.approx(oracle.accuracy_score(y, predicted), rel=1e-12)
    average = "binary" if classes == 2 else "macro"
    if classes > 2 or (y == 1).any():
        f1 = oracle.f1_score(y, predicted, average=average, zero_division=0)
        assert found.metrics["f1"] == pytest.approx(f1, rel=1e-12)
    else:
        assert found.undefined == ("f1",)
    assert found.metrics["logLoss"] == pytest.approx(oracle.log_loss(y, likely, labels=labels), rel=1e-6)


def test_probabilities_count_as_class_1_from_the_threshold_on() -> None:
    logits = torch.log(torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64))
    assert predicted_class(logits, 0.5).tolist() == [0, 1]
    assert predicted_class(torch.zeros(1, 2), 0.5).tolist() == [1]
    assert predicted_class(logits, 0.2).tolist() == [1, 1]
    assert predicted_class(logits, 0.8).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("confusion", "f1"),
    [
        ([[5, 0], [0, 0]], None),
        ([[3, 2], [0, 0]], None),
        ([[0, 0], [5, 0]], 0.0),
        ([[0, 0], [0, 5]], 1.0),
        ([[5, 0, 0], [0, 0, 0], [0, 0, 0]], 1.0),
    ],
)
def test_f1_is_undefined_where_class_1_of_two_does_not_occur_and_the_others_stand(
    confusion: list[list[int]], f1: float | None
) -> None:
    found = classification_figures(1.0, np.array(confusion))
    assert found.metrics.get("f1") == f1
    assert found.undefined == (("f1",) if f1 is None else ())
    assert found.metrics.keys() >= {"logLoss", "accuracy"}


@pytest.mark.parametrize("value", [0.0, 1.0, -3.25, 0.1, 1e30, 1e-30])
@pytest.mark.parametrize("count", [1, 2, 100])
def test_r2_of_a_constant_target_is_undefined_and_the_others_stand(value: float, count: int) -> None:
    y = np.full(count, value, np.float32)
    for mean in (0.0, value, 0.3):
        found = figures(y * 2 + 1, y, mean=mean)
        assert found.undefined == ("r2",)
        assert found.metrics.keys() == {"mse", "mae"}


def test_an_r2_beyond_any_number_is_undefined() -> None:
    found = regression_figures(2, 1e300, 1e150, 0.0, 1e-300)
    assert (found.undefined, found.metrics.keys()) == (("r2",), {"mse", "mae"})


def test_a_set_larger_than_a_chunk_is_evaluated_whole() -> None:
    y = np.arange(2500, dtype=np.float32)
    assert figures(y + 2, y).metrics["mse"] == 4.0


def test_an_empty_part_has_no_figures() -> None:
    empty = Given(np.zeros((0, 1, 1), np.float32), np.zeros(0, np.float32))
    like = torch.empty(0)
    options = {"task": "Regression", "classes": 1, "threshold": 0.5, "target_mean": 0.0}
    assert evaluate(torch.nn.Identity(), empty, **options, ranks=Ranks(), like=like) is None


def test_metrics_are_named_after_their_part() -> None:
    assert Figures(0.1, {"mse": 0.1, "logLoss": 2.0}).named("valid") == {"validMse": 0.1, "validLogLoss": 2.0}
