"""Which fields make no difference, and when, is held against the trainer: the same weights and figures to the bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from data_sources.builders import COLUMNS, csv_lines, write_csv
from train.builders import a_training, losses, same_tensors, train_alone, write_npz
from train.ranks import on_ranks, run_all
from trainer.data.kafka.client import Topic
from trainer.data.kafka.layout import part_sizes
from trainer.data.kafka.source import identity_of
from trainer.experiment.doubts import COMPARED, EFFECTS, MEANINGS, Case, why_without_effect
from trainer.experiment.training import Training
from trainer.training.checkpoint import CHECKPOINT, Checkpoints
from trainer.training.loop import Result

Sections = dict[str, Any]
SGD = {"train": {"optimizer": "SGD"}}
TRANSFORMER = {"model": {"kind": "Transformer"}}
ONE_ROW = {"model": {"kind": "Transformer"}, "data": {"window": 1}}
CLASSES = {"data": {"task": "Classification"}}
THREE = {"data": {"task": "Classification", "classes": 3}}
NO_PARTS = {"data": {"validFraction": 0, "testFraction": 0}}
SP500 = {"data": {"source": "sp500", "period": "2y"}}
CSV = {"data": {"source": "csv", "path": "FILES/a.csv"}}
MESSAGES = {"source": "kafka", "brokers": "b:1", "topic": "t", "ranges": ["0:0:99"]}
KAFKA = {"data": MESSAGES}
SPLIT = {"data": {**MESSAGES, "split": [{"rate": 0.5}, {"rate": 0.3}, {"rate": 0.2}]}}
NPZ = {"data": {"source": "npz", "path": "FILES/a.npz", "window": 4, "columns": ["a", "b"], "normalize": "None"}}

# A field, another value than it has, and a training in which that makes no difference.
WITHOUT: list[tuple[str, Any, Sections]] = [
    ("train.momentum", 0.5, {}),
    ("train.momentum", 0.9, {"train": {"optimizer": "AdamW", "weightDecay": 0.1}}),
    ("model.heads", 2, {}),
    ("model.heads", 2, {"model": {"kind": "LSTM"}}),
    ("evaluate.threshold", 0.9, {}),
    ("evaluate.threshold", 0.9, THREE),
    ("data.classes", 3, {}),
    ("data.lookback", "Past", NO_PARTS),
    ("data.target", "Open", NPZ),
    ("data.testFraction", 0.3, NPZ),
    ("data.period", "1y", {}),
    ("data.period", "1y", CSV),
    ("data.interval", "1h", {}),
    ("data.interval", "1h", SP500),
    ("data.tickers", ["A"], {}),
    ("data.path", "x.csv", {}),
    ("data.rows", 200, CSV),
    ("data.seed", 3, CSV),
    ("train.batchPer", "Worker", {}),
    ("train.learningRateScaling", "Linear", {}),
    ("data.brokers", "b:1", {}),
    ("data.topic", "t", {}),
    ("data.ranges", ["0:0:9"], {}),
    ("data.format", "JSON", {}),
    ("data.compression", "LZ4", {}),
    ("data.split", [{"rate": 1}], {}),
    ("data.checksum", 5, {}),
    ("data.warmupMessages", 5, {}),
    ("data.timeoutSeconds", 5, {}),
    ("data.message", {"data": "x"}, {}),
    ("data.export", {"url": "http://exporter:8080/"}, {}),
    ("data.client", {"security.protocol": "ssl"}, {}),
    ("data.clientSecrets", {"sasl.password": "env:X"}, {}),
    # No figure that is compared, though times may change.
    ("data.residency", "Streaming", {}),
    ("data.residency", "Streaming", {"data": {"multiplier": 3}}),
    ("train.checkpointEvery", 1, {}),
]
# A field, another value, and a training in which that makes a difference.
WITH: list[tuple[str, Any, Sections]] = [
    ("train.momentum", 0.5, SGD),
    ("model.heads", 2, TRANSFORMER),
    ("model.heads", 2, {**ONE_ROW, "model": {"kind": "Transformer", "dropout": 0.3}}),
    ("evaluate.threshold", 0.9, CLASSES),
    ("data.classes", 3, CLASSES),
    ("data.lookback", "Past", {}),
    ("data.lookback", "Past", {"data": {"testFraction": 0}}),
    ("data.target", "Open", {}),
    ("data.testFraction", 0.3, {}),
    ("data.validFraction", 0.3, {}),
    ("data.period", "1y", SP500),
    ("data.tickers", ["A"], {"data": {"source": "csv", "path": "FILES/two.csv"}}),
    ("data.path", "FILES/b.csv", CSV),
    ("data.rows", 200, {}),
    ("data.seed", 3, {}),
]
# Two values of one field that are the same training, and a third that isn't.
ALIKE: list[tuple[str, Any, Any, Any, Sections]] = [
    ("train.optimizer", "Adam", "AdamW", "SGD", {}),
    ("train.patience", 9, 8, 2, {"train": {"epochs": 9, "learningRate": 0.5}}),
    ("data.period", "1y", "12mo", "11mo", SP500),
    ("data.period", "52wk", "364d", "371d", SP500),
    ("data.predict", "Return", "Difference", "AbsoluteReturn", CLASSES),
    ("data.path", "FILES/a.csv", "FILES/./b/..//a.csv", "FILES/b.csv", CSV),
]
# Where the fields of ALIKE, by their other fields, are no longer the same training.
UNLIKE: list[tuple[str, Any, Any, Sections]] = [
    ("train.optimizer", "Adam", "AdamW", {"train": {"weightDecay": 0.1}}),
    ("train.patience", 0, 2, {"train": {"epochs": 30, "learningRate": 0.5}}),
    ("data.predict", "Return", "Difference", {}),
    ("data.predict", "Return", "Difference", THREE),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "b").mkdir()
    write_csv(folder / "a.csv", csv_lines(90))
    write_csv(folder / "b.csv", csv_lines(90, seed=1))
    two = [[ticker, *line] for ticker, seed in (("A", 0), ("B", 1)) for line in csv_lines(90, seed)]
    write_csv(folder / "two.csv", two, ("Ticker", "Date", *COLUMNS))
    write_npz(folder / "a.npz")
    return folder


def with_field(path: str, value: Any, sections: Sections, files: Path = Path()) -> Training:
    section, _, name = path.partition(".")
    return plain({**sections, section: {**sections.get(section, {}), name: value}}, files)


def plain(sections: Sections, files: Path = Path()) -> Training:
    return a_training(**json.loads(json.dumps(sections).replace("FILES", str(files))))


def figures(result: Result) -> Any:
    return losses(result.progress.history), result.valid, result.test


def is_the_same(one: Training, other: Training, cache: Path) -> bool:
    a, b = (train_alone(training, cache) for training in (one, other))
    return figures(a) == figures(b) and same_tensors(a.weights, b.weights)


def named(cases: list[Any]) -> list[str]:
    return [" ".join(map(str, case[:-1])) for case in cases]


def test_every_field_of_the_tables_is_held_against_the_trainer() -> None:
    tried = {path for path, *_ in WITHOUT} | {"data.validFraction"}  # which only a topic's split replaces: below
    assert EFFECTS.keys() | COMPARED.keys() == tried
    together = {"train.batchSize", "train.batchPer", "train.learningRate", "train.learningRateScaling", "data.topic"}
    assert MEANINGS.keys() == {path for path, *_ in ALIKE} | together


@pytest.mark.parametrize(("path", "value", "sections"), WITHOUT, ids=named(WITHOUT))
def test_where_a_field_makes_no_difference_all_is_the_same_to_the_bit(
    path: str, value: Any, sections: Sections, cache: Path, files: Path
) -> None:
    changed = with_field(path, value, sections, files)
    assert why_without_effect(path, Case(changed, 1, "validMse")) is not None
    assert is_the_same(plain(sections, files), changed, cache)


def test_heads_make_no_difference_to_a_single_row_but_rounding(cache: Path) -> None:
    # Attention's backward pass leaves zeros or rounding errors in queries and keys, by the CPU that it is made for.
    changed = with_field("model.heads", 2, ONE_ROW)
    assert why_without_effect("model.heads", Case(changed, 1, "validMse")) is not None
    a, b = (train_alone(training, cache) for training in (plain(ONE_ROW), changed))
    for one, other in zip(losses(a.progress.history), losses(b.progress.history), strict=True):
        assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize(("path", "value", "sections"), WITH, ids=named(WITH))
def test_where_a_field_makes_a_difference_figures_differ(
    path: str, value: Any, sections: Sections, cache: Path, files: Path
) -> None:
    changed = with_field(path, value, sections, files)
    assert why_without_effect(path, Case(changed, 1, "validF1")) is None
    assert figures(train_alone(plain(sections, files), cache)) != figures(train_alone(changed, cache))


@pytest.mark.parametrize(("path", "one", "other", "third", "sections"), ALIKE, ids=named(ALIKE))
def test_values_with_one_meaning_are_one_training(
    path: str, one: Any, other: Any, third: Any, sections: Sections, cache: Path, files: Path
) -> None:
    first, same, apart = (with_field(path, value, sections, files) for value in (one, other, third))
    meaning = MEANINGS[path].value
    assert meaning(Case(first, 1, "")) == meaning(Case(same, 1, "")) != meaning(Case(apart, 1, ""))
    assert is_the_same(first, same, cache)
    assert not is_the_same(first, apart, cache)


@pytest.mark.parametrize(("path", "one", "other", "sections"), UNLIKE, ids=named(UNLIKE))
def test_values_with_two_meanings_are_two_trainings(
    path: str, one: Any, other: Any, sections: Sections, cache: Path
) -> None:
    first, apart = (with_field(path, value, sections) for value in (one, other))
    assert MEANINGS[path].value(Case(first, 1, "")) != MEANINGS[path].value(Case(apart, 1, ""))
    assert not is_the_same(first, apart, cache)


def test_a_threshold_changes_neither_what_is_trained_nor_the_log_loss(cache: Path) -> None:
    changed = with_field("evaluate.threshold", 0.9, CLASSES)
    assert why_without_effect("evaluate.threshold", Case(changed, 1, "validLogLoss")) is not None
    one, other = (train_alone(training, cache) for training in (plain(CLASSES), changed))
    assert same_tensors(one.weights, other.weights)
    assert one.valid is not None
    assert other.valid is not None
    assert one.valid.loss == other.valid.loss


def test_checkpoints_that_are_written_change_no_figure(cache: Path, tmp_path: Path) -> None:
    often = with_field("train.checkpointEvery", 1, {})
    kept = train_alone(often, cache, checkpoints=Checkpoints(tmp_path))
    assert (tmp_path / CHECKPOINT).exists()
    assert figures(kept) == figures(train_alone(a_training(), cache))


@pytest.mark.slow
def test_among_workers_batches_and_rates_count_as_the_table_says(cache: Path, tmp_path: Path) -> None:
    trains: list[dict[str, Any]] = [
        {"batchSize": 32, "learningRate": 0.002},
        {"batchSize": 16, "batchPer": "Worker", "learningRate": 0.002},
        {"batchSize": 32, "learningRate": 0.001, "learningRateScaling": "Linear"},
        {"batchSize": 32, "batchPer": "Worker", "learningRate": 0.002},
        {"batchSize": 32, "learningRate": 0.002, "learningRateScaling": "Linear"},
    ]
    trainings = [a_training(train=train) for train in trains]
    torch.set_num_threads(1)
    reports, _ = on_ranks(2, run_all, [tmp_path / str(n) for n in range(len(trains))], cache, trainings)
    measured = [report.metrics["validMse"] for report in reports]
    meant = [
        tuple(MEANINGS[f"train.{name}"].value(Case(each, 2, "")) for name in ("batchSize", "learningRate"))
        for each in trainings
    ]
    assert meant == [(32, 0.002), (32, 0.002), (32, 0.002), (64, 0.002), (32, 0.004)]
    assert measured[0] == measured[1] == measured[2]
    assert len(set(measured)) == 3
    for path in ("train.batchPer", "train.learningRateScaling"):
        assert why_without_effect(path, Case(trainings[0], 2, "validMse")) is None


@pytest.mark.parametrize("path", ["data.validFraction", "data.testFraction"])
def test_the_fractions_part_messages_where_no_split_does(path: str) -> None:
    for sections, counts in ((SPLIT, False), (KAFKA, True)):
        before, after = (with_field(path, value, sections) for value in (0.1, 0.4))
        assert (part_sizes(100, before.data) != part_sizes(100, after.data)) is counts
        assert (why_without_effect(path, Case(after, 1, "validMse")) is None) is counts


@pytest.mark.parametrize(
    ("path", "value"),
    [("data.compression", "LZ4"), ("data.warmupMessages", 5), ("data.timeoutSeconds", 5), ("data.checksum", 5)],
)
def test_samples_of_a_topic_do_not_depend_on_how_they_are_read(path: str, value: Any) -> None:
    topic = Topic("t", "id", (0,), {})
    changed = with_field(path, value, KAFKA)
    assert why_without_effect(path, Case(changed, 1, "validMse")) is not None
    assert identity_of(changed.data, topic) == identity_of(plain(KAFKA).data, topic)
    assert changed.data.topic_name == "t"


def test_placeholders_in_a_topic_stand_for_the_fields() -> None:
    def meant(**data: Any) -> Any:
        return MEANINGS["data.topic"].value(Case(plain({"data": {**MESSAGES, **data}}), 1, ""))

    assert meant(topic="t-{format}") == meant(topic="t-Avro") != meant(topic="t-{format}", format="JSON")
    compressed = with_field("data.compression", "LZ4", {"data": {**MESSAGES, "topic": "t-{compression}"}})
    assert why_without_effect("data.compression", Case(compressed, 1, "validMse")) is None
    assert compressed.data.topic_name == "t-LZ4"
