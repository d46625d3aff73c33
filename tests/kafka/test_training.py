"""Training from a topic is training from the same samples on disk, to the bit, for one rank and for more."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kafka.broker import Broker
from kafka.builders import document, on, published
from train.builders import a_training, history_in, without_times
from train.ranks import on_ranks, run_all
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.experiment.record import RankReport
from trainer.experiment.training import Data, Training
from trainer.training.predict import load, of_test_set

SPLIT = [{"rate": 0.7}, {"rate": 0.2}, {"rate": 0.1}]


def an_npz(data: Data, path: Path, cache: Path) -> dict[str, Any]:
    """The samples of a topic as an npz, and the `data` section that reads it."""
    dataset = open_dataset(prepare(data, cache))
    arrays = {}
    for name, part in (("train", dataset.train), ("val", dataset.valid), ("test", dataset.test)):
        arrays[f"X_{name}"], arrays[f"y_{name}"] = part.gather(np.arange(len(part)))
    np.savez(path, **arrays)
    like = {"window": data.window, "columns": list(data.columns), "task": data.task, "classes": data.classes}
    return like | {"source": "npz", "path": str(path), "normalize": "None"}


def trained(ranks: int, trainings: dict[str, Training], folder: Path) -> list[list[RankReport]]:
    folder.mkdir()
    reports: list[list[RankReport]] = on_ranks(
        ranks, run_all, [folder / name for name in trainings], folder / "cache", list(trainings.values())
    )
    assert [report.error for rank in reports for report in rank if report.error] == []
    return reports


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_losses_from_a_topic_are_those_of_the_same_samples_on_disk(
    ranks: int, broker: Broker, tmp_path: Path
) -> None:
    data = on(broker, ranges=["1:0:59", "0:10:59", "2:5:59"], split=SPLIT)
    published(data, samples=180, partitions=3)
    model, train = {"kind": "LSTM"}, {"batchSize": 25, "epochs": 4}
    topic = a_training(data=document(data), model=model, train=train)
    disk = a_training(data=an_npz(data, tmp_path / "same.npz", tmp_path), model=model, train=train)
    reports = trained(ranks, {"topic": topic, "disk": disk}, tmp_path / "runs")

    from_topic, from_disk = (history_in(tmp_path / "runs" / name) for name in ("topic", "disk"))
    assert without_times(from_topic) == without_times(from_disk)
    measured, plain = reports[0][0].metrics, reports[0][1].metrics
    del plain["dataHash"]  # of the topic's samples, and of the file
    assert {name: measured[name] for name in plain} == plain
    assert measured["messages"] == 165
    predictions, figures = of_test_set(load(tmp_path / "runs" / "topic"), tmp_path)
    assert figures is not None
    assert len(predictions) == 6 + 5 + 6
    assert figures.named("test") == pytest.approx({name: plain[name] for name in figures.named("test")})
    weights = [(tmp_path / "runs" / name / "weights.safetensors").read_bytes() for name in ("topic", "disk")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("ranks", [1, 2])
def test_normalisation_is_fitted_on_the_training_part_and_does_not_depend_on_the_ranks(
    ranks: int, broker: Broker, tmp_path: Path
) -> None:
    data = on(broker, task="Regression", window=4, columns=["a", "b", "c"], normalize="ZScore", split=SPLIT)
    data = data.model_copy(update={"ranges": ("0:0:49", "1:0:49")})
    published(data, samples=100, partitions=2)
    training = a_training(data=document(data), train={"batchSize": 7})
    trained(ranks, {"topic": training}, tmp_path / "runs")

    dataset = open_dataset(prepare(data, tmp_path))
    x, y = dataset.train.gather(np.arange(len(dataset.train)))
    assert len(x) == 70
    assert np.allclose(x.mean(axis=(0, 1)), 0, atol=1e-6)
    assert np.allclose(x.std(axis=(0, 1)), 1, atol=1e-6)
    told = (tmp_path / "runs" / "topic" / "normalization.json").read_text()
    for number in (*dataset.manifest.scalers[0].mean, *dataset.manifest.scalers[0].deviation):
        assert repr(number) in told
    assert f'"targetMean": {dataset.manifest.target_mean!r}' in told
    assert dataset.manifest.target_mean == pytest.approx(y.mean())
