"""What a new experiment is refused for, though every field of it is valid."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.commands.init import TEMPLATE
from trainer.experiment.doubts import COMPARED, EFFECTS, MEANINGS, doubts, ignored
from trainer.experiment.expand import expand, samples
from trainer.experiment.load import load, read
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.spec import HyperparamSearch
from unit.builders import an_experiment
from unit.podcases import REFUSED, SENSELESS, TAKEN


def doubts_of(*parameters: dict[str, Any], **spec: Any) -> list[str]:
    experiment = an_experiment(parameters=list(parameters) or [a("model.layers", 1, 2)], **spec)
    return doubts(experiment, expand(experiment))


def a(name: str, *choices: Any) -> dict[str, Any]:
    return {"name": name, "choices": list(choices)}


def kept(metric: str, value: float) -> dict[str, Any]:
    return {"constraints": [{"metric": metric, "atMost": value}]}


CSV = {"data": {"source": "csv", "path": "a.csv"}}
CLASSES = {"data": {"task": "Classification", "classes": 3}}
TWO = {"data": {"task": "Classification"}}
NPZ = {"data": {"source": "npz", "path": "a.npz"}}
MESSAGES = {"source": "kafka", "brokers": "b:1", "topic": "t", "ranges": ["0:0:99"]}
KAFKA = {"data": MESSAGES}
SPLIT = {"data": {**MESSAGES, "split": [{"rate": 0.5}, {"rate": 0.5}]}}
NO_PARTS = {"data": {"validFraction": 0, "testFraction": 0}}
TIME = {"objective": {"metric": "trainSeconds"}}
LOSS = {"metric": "validLogLoss"}


@pytest.mark.parametrize(
    ("parameter", "training", "why"),
    [
        (a("train.momentum", 0.0, 0.5), {}, "only train.optimizer SGD has momentum"),
        (a("train.momentum", 0.0, 0.5), {"train": {"optimizer": "AdamW"}}, "only train.optimizer SGD has momentum"),
        (a("model.heads", 1, 2), {}, "only model.kind Transformer has heads"),
        (a("model.heads", 1, 2), {"model": {"kind": "LSTM"}}, "only model.kind Transformer has heads"),
        (a("evaluate.threshold", 0.4, 0.5), {}, "only Classification with two classes has a threshold"),
        (a("evaluate.threshold", 0.4, 0.5), CLASSES, "only Classification with two classes has a threshold"),
        (a("data.classes", 2, 3), {}, "only data.task Classification has classes"),
        (a("data.period", "1y", "2y"), CSV, "only data.source sp500 and yfinance read it"),
        (a("data.interval", "1d", "1h"), {}, "only data.source yfinance reads it"),
        (a("data.rows", 100, 200), {}, "only data.source synthetic reads it"),
        (a("data.seed", 1, 2), {}, "only data.source synthetic reads it"),
        (a("data.path", "a.csv", "b.csv"), {}, "only data.source csv, parquet and npz read it"),
        (a("data.warmupMessages", 0, 10), {}, "only data.source kafka reads it"),
        (a("data.compression", "None", "Gzip"), {}, "only data.source kafka reads it"),
        (a("data.target", "Close", "Open"), NPZ, "only data.source sp500, yfinance, csv, parquet and synthetic read"),
        (a("data.testFraction", 0.1, 0.2), NPZ, "an npz file and data.split say themselves"),
        (a("data.testFraction", 0.1, 0.2), SPLIT, "an npz file and data.split say themselves"),
        (a("data.validFraction", 0.1, 0.2), SPLIT, "data.split says which messages are which part"),
        (a("data.compression", "None", "Gzip"), KAFKA, "only {compression} in data.topic would choose others"),
        (a("data.timeoutSeconds", 10, 20), KAFKA, "it only says when reading has failed"),
        (a("data.checksum", 1, 2), KAFKA, "it only says which samples are the right ones"),
        (a("data.warmupMessages", 0, 10), KAFKA, "it changes times, and no metric"),
        (a("data.residency", "InMemory", "Streaming"), {}, "it changes times and memory, and no metric"),
        (a("train.checkpointEvery", 0, 5), {}, "it changes times, and no metric"),
        (a("evaluate.threshold", 0.4, 0.5), TWO, "it changes validAccuracy and validF1 alone"),
        (
            a("model.heads", 1, 2),
            {"model": {"kind": "Transformer"}, "data": {"window": 1}},
            "which share out the rows of a window of several",
        ),
        (a("train.batchPer", "Global", "Worker"), {}, "with one worker both are the same"),
        (a("train.learningRateScaling", "None", "Linear"), {}, "with one worker there is nothing to scale"),
    ],
)
def test_a_parameter_without_effect_is_named_with_the_reason(
    parameter: dict[str, Any], training: dict[str, Any], why: str
) -> None:
    objective = LOSS if "Classification" in str(training) else {"metric": "validMse"}
    (said,) = doubts_of(a("model.layers", 1, 2), parameter, training=training, objective=objective)
    assert said.startswith(f"spec.parameters[1]: must make a difference, but {parameter['name']} makes none here")
    assert why in said
    assert said.endswith("leave the parameter out")


@pytest.mark.parametrize(
    ("parameter", "training", "spec"),
    [
        (a("train.momentum", 0.0, 0.5), {"train": {"optimizer": "SGD"}}, {}),
        (a("model.heads", 1, 2), {"model": {"kind": "Transformer"}}, {}),
        (
            a("evaluate.threshold", 0.4, 0.5),
            {"data": {"task": "Classification"}},
            {"objective": {"metric": "validF1"}},
        ),
        (a("data.classes", 2, 3), {"data": {"task": "Classification"}}, {"objective": LOSS}),
        (a("data.period", "1y", "2y"), {}, {}),
        (a("data.rows", 100, 200), {"data": {"source": "synthetic"}}, {}),
        (a("data.path", "a.csv", "b.csv"), {"data": {"source": "csv", "path": "a.csv"}}, {}),
        (a("train.batchPer", "Global", "Worker"), {}, {"workers": 2}),
        (a("train.learningRateScaling", "None", "Linear"), {}, {"workers": 2}),
        (a("data.validFraction", 0.1, 0.2), KAFKA, {}),
        (a("data.testFraction", 0.1, 0.2), KAFKA, {}),
        (a("data.validFraction", 0.1, 0.2), NPZ, {}),  # whether the file has a part of its own is not known here
        (a("data.format", "Avro", "JSON"), KAFKA, {}),
        (a("data.compression", "None", "Gzip"), {"data": {**MESSAGES, "topic": "t-{compression}"}}, {}),
        (a("data.warmupMessages", 0, 10), KAFKA, {"objective": {"metric": "loadSeconds"}}),
        (a("data.residency", "InMemory", "Streaming"), {}, TIME),
        (a("train.checkpointEvery", 0, 5), {}, {"objective": {"metric": "totalSeconds"}}),
        (a("evaluate.threshold", 0.4, 0.5), TWO, {"objective": {"metric": "validAccuracy"}}),
        (a("evaluate.threshold", 0.4, 0.5), TWO, {"objective": LOSS, **kept("validF1", 0.5)}),
        (a("data.residency", "InMemory", "Streaming"), {}, kept("peakMemoryBytes", 10**9)),
        (a("train.checkpointEvery", 0, 5), {}, kept("trainSeconds", 60)),
        (
            a("model.heads", 1, 2),
            {"model": {"kind": "Transformer", "dropout": 0.1}, "data": {"window": 1}},
            {},
        ),
        (a("data.lookback", "Part", "Past"), {}, {}),
        (a("train.optimizer", "Adam", "AdamW"), {"train": {"weightDecay": 0.1}}, {}),
        (a("train.optimizer", "Adam", "SGD"), {}, {}),
        (a("train.patience", 0, 5, 18), {}, {}),
        (a("data.period", "1y", "13mo"), {}, {}),
        (a("data.predict", "Return", "Difference"), {}, {}),
        (a("data.predict", "Return", "Difference"), CLASSES, {"objective": LOSS}),
        (a("data.predict", "Return", "AbsoluteReturn"), TWO, {"objective": LOSS}),
        (a("train.threads", 1, 2), {}, {}),
        (a("train.seed", 0, 1), {}, {}),
    ],
)
def test_a_parameter_with_an_effect_is_fine(
    parameter: dict[str, Any], training: dict[str, Any], spec: dict[str, Any]
) -> None:
    assert doubts_of(parameter, training=training, **spec) == []


def test_points_that_are_the_same_training_are_counted_and_every_reason_named() -> None:
    (said,) = doubts_of(
        a("train.optimizer", "Adam", "SGD"),
        a("train.momentum", 0.0, 0.5, 0.9),
        a("model.kind", "MLP", "Transformer"),
        a("model.heads", 2, 4),
    )
    # Of 24 trials Adam has 3 momenta for each of MLP (2 heads) and Transformer: 12 differ from all before them.
    assert "but 12 of 24 trials are the same training as another (trial 1 as 0, " in said
    assert "train.momentum makes no difference there, as only train.optimizer SGD has momentum" in said
    assert "model.heads makes no difference there, as only model.kind Transformer has heads" in said


@pytest.mark.parametrize(
    ("parameters", "spec", "same", "why"),
    [
        ([a("train.optimizer", "Adam", "AdamW")], {}, "1 of 2", "as AdamW with train.weightDecay 0 is Adam"),
        (
            [a("train.optimizer", "Adam", "AdamW", "SGD"), a("train.weightDecay", 0.0, 0.1)],
            {},
            "1 of 6",
            "train.optimizer makes no difference there, as AdamW with train.weightDecay 0 is Adam",
        ),
        (
            [a("train.patience", 0, 3, 4, 9)],
            {"training": {"train": {"epochs": 5}}},
            "2 of 4",
            "train.epochs are over before that many have passed",
        ),
        (
            [a("train.epochs", 2, 50), a("train.patience", 0, 5)],
            {},
            "1 of 4",
            "train.epochs are over before that many have passed",
        ),
        ([a("data.period", "1y", "12mo", "24mo", "2y")], {}, "2 of 4", "as 12mo is spelled 1y as well"),
        ([a("data.period", "2wk", "14d")], {}, "1 of 2", "and 7d 1wk"),
        (
            [a("data.predict", "Return", "Difference")],
            {"training": TWO, "objective": LOSS},
            "1 of 2",
            "two classes are told by the sign",
        ),
        (
            [a("data.topic", "t-{format}", "t-Avro")],
            {"training": KAFKA},
            "1 of 2",
            "{format} and {compression} in it",
        ),
        (
            [a("data.compression", "Gzip", "None"), a("data.topic", "t-{compression}", "t-None")],
            {"training": KAFKA},
            "2 of 4",
            "data.compression makes no difference there, as messages are read as they are",
        ),
        (
            [a("train.learningRate", 0.001, 0.002), a("train.learningRateScaling", "None", "Linear")],
            {"workers": 2},
            "1 of 4",
            "train.learningRate and train.learningRateScaling make no difference there, as learningRateScaling",
        ),
        (
            [a("train.batchSize", 16, 48), a("train.batchPer", "Global", "Worker")],
            {"workers": 3},
            "1 of 4",
            "train.batchSize and train.batchPer make no difference there, as with batchPer Worker",
        ),
        (
            [a("train.seed", 0, 1), a("train.optimizer", "Adam", "SGD"), a("train.momentum", 0.0, 0.9)],
            {"repeats": 2},
            "7 of 16",
            "train.seed makes no difference there, as repeat r of a seed trains with seed + r; train.momentum makes",
        ),
        (
            [a("model.kind", "MLP", "Transformer"), a("model.heads", 2, 4), a("data.window", 1, 5)],
            {},
            "3 of 8",
            "model.heads makes no difference there",
        ),
    ],
)
def test_points_that_come_to_the_same_training_are_counted_with_the_reason(
    parameters: list[dict[str, Any]], spec: dict[str, Any], same: str, why: str
) -> None:
    (said,) = doubts_of(*parameters, **spec)
    assert said.startswith(f"spec.parameters: must make points that differ, but {same} trials are the same training")
    assert why in said


FIELDS = [
    a("train.optimizer", "SGD", "AdamW", "Adam"), a("train.weightDecay", 0.1, 0.0), a("train.momentum", 0.9, 0.0),
    a("train.patience", 4, 0, 1), a("train.epochs", 2, 5), a("train.seed", 1, 0), a("train.batchSize", 8, 16),
    a("train.batchPer", "Worker", "Global"), a("train.learningRate", 0.2, 0.1), a("model.heads", 2, 4),
    a("train.learningRateScaling", "Linear", "None"), a("model.kind", "Transformer", "MLP"), a("data.window", 5, 1),
    a("data.period", "1y", "12mo"), a("data.residency", "Streaming", "InMemory"), a("data.lookback", "Past", "Part"),
]  # fmt: skip


@given(
    parameters=st.lists(st.sampled_from(FIELDS), min_size=1, max_size=5, unique_by=lambda each: str(each["name"])),
    repeats=st.integers(1, 2),
    workers=st.integers(1, 2),
    metric=st.sampled_from(["validMse", "trainSeconds"]),
)
@settings(max_examples=60)
def test_whatever_varies_a_doubt_is_a_sentence_and_without_one_each_seed_trains_a_point_once(
    parameters: list[dict[str, Any]], repeats: int, workers: int, metric: str
) -> None:
    experiment = an_experiment(parameters=parameters, repeats=repeats, workers=workers, objective={"metric": metric})
    trials = expand(experiment)
    found = doubts(experiment, trials)
    assert all(re.fullmatch(r"spec\.(parameters(\[\d\])?|repeats): must .+", each) for each in found)
    seeds = {(str(trial.parameters | {"train.seed": 0}), trial.training.train.seed) for trial in trials}
    if not found:
        assert len(seeds) == len(trials)


def test_a_mixed_search_without_such_points_is_fine() -> None:
    assert len(doubts_of(a("train.optimizer", "Adam", "SGD"), a("model.heads", 4))) == 1
    assert doubts_of(a("train.optimizer", "Adam", "SGD"), a("train.weightDecay", 0.0, 0.1)) == []


@pytest.mark.parametrize(
    ("seeds", "repeats", "same"),
    [((0, 1), 3, 2), ((0, 1, 2), 2, 2), ((0, 10), 3, 0), ((5, 7), 3, 1), ((0, 1), 1, 0), ((3, 2, 1, 0), 4, 9)],
)
def test_seeds_beside_repeats_that_are_the_same_training_are_counted(
    seeds: tuple[int, ...], repeats: int, same: int
) -> None:
    found = doubts_of(a("train.seed", *seeds), repeats=repeats)
    assert [f"{same} of {len(seeds) * repeats} trials are the same" in each for each in found] == [True] * (same > 0)
    assert all(each.startswith("spec.repeats: must be 1 where train.seed is a parameter") for each in found)


@pytest.mark.parametrize(
    ("metric", "direction", "task"),
    [
        ("validR2", "Minimize", "Regression"), ("validMse", "Maximize", "Regression"),
        ("validMae", "Maximize", "Regression"), ("validAccuracy", "Minimize", "Classification"),
        ("validF1", "Minimize", "Classification"), ("validLogLoss", "Maximize", "Classification"),
        ("trainSeconds", "Maximize", "Regression"), ("totalSeconds", "Maximize", "Regression"),
    ],
)  # fmt: skip
def test_a_direction_against_the_metrics_nature_is_refused(metric: str, direction: str, task: str) -> None:
    training = {"data": {"task": task}}
    (said,) = doubts_of(objective={"metric": metric, "direction": direction}, training=training)
    assert said.startswith("spec.objective.direction: must be M")
    assert f"for {metric}, got {direction}" in said
    other = {"Minimize": "Maximize", "Maximize": "Minimize"}[direction]
    for fine in ({"metric": metric}, {"metric": metric, "direction": other}):
        assert doubts_of(objective=fine, training=training) == []


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("./a.csv", "a.csv"),
        ("b//a.csv", "b/a.csv"),
        ("b/../a.csv", "a.csv"),
        ("b/./a.csv", "b/a.csv"),
        ("a.csv/", "a.csv"),
        ("//data/a.csv", "/data/a.csv"),
        ("/data/../a.csv", "/a.csv"),
        ("../b/../a.csv", "../a.csv"),
    ],
)
def test_another_spelling_of_a_path_is_refused(path: str, plain: str) -> None:
    assert doubts_of(training={"data": {"source": "csv", "path": path}}) == [
        f"spec.training.data.path: must be written as {plain}, got {path}; another spelling gives trials other ids"
    ]
    assert doubts_of(training={"data": {"source": "csv", "path": plain}}) == []


def test_two_spellings_among_choices_are_the_same_training() -> None:
    found = doubts_of(a("data.path", "a.csv", "./a.csv"), training={"data": {"source": "csv", "path": "a.csv"}})
    assert found[0].startswith("spec.parameters[0].choices[1]: must be written as a.csv")
    assert "1 of 2 trials are the same training as another" in found[1]


def test_a_column_that_stands_twice_is_refused() -> None:
    (said,) = doubts_of(training={"data": {"columns": ["Close", "Open", "Close"]}})
    assert said == "spec.training.data.columns: must name a column once, got Close 2 times"


def test_a_scale_test_has_paths_to_doubt_and_no_points() -> None:
    test = an_experiment(kind="ScaleTest", training={"data": {"source": "csv", "path": "./a.csv"}})
    assert len(doubts(test, expand(test))) == 1


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"train": {"momentum": 0.9}}, "train.momentum: is without effect, got 0.9: only train.optimizer SGD has"),
        ({"model": {"heads": 2}}, "model.heads: is without effect, got 2: only model.kind Transformer has heads"),
        ({"evaluate": {"threshold": 0.4}}, "evaluate.threshold: is without effect, got 0.4: only Classification"),
        ({"data": {"classes": 3}}, "data.classes: is without effect, got 3: only data.task Classification"),
        ({"data": {"tickers": ["A"]}}, 'data.tickers: is without effect, got ["A"]: only data.source yfinance, csv'),
        ({"data": {"rows": 100}}, "data.rows: is without effect, got 100: only data.source synthetic reads it"),
        ({"data": {"seed": 1}}, "data.seed: is without effect, got 1: only data.source synthetic reads it"),
        ({"data": {"interval": "1h"}}, 'data.interval: is without effect, got "1h": only data.source yfinance'),
        ({"data": {"path": "a.csv"}}, 'data.path: is without effect, got "a.csv": only data.source csv, parquet'),
        ({"data": {"topic": "t"}}, 'data.topic: is without effect, got "t": only data.source kafka reads it'),
        ({"data": {**CSV["data"], "period": "1y"}}, 'data.period: is without effect, got "1y": only data.source'),
        ({"data": {**NPZ["data"], "testFraction": 0.1}}, "data.testFraction: is without effect, got 0.1: an npz"),
        ({"data": {**SPLIT["data"], "validFraction": 0.2}}, "data.validFraction: is without effect, got 0.2: data"),
        ({"train": {"batchPer": "Worker"}}, 'train.batchPer: is without effect, got "Worker": with one worker'),
    ],
)  # fmt: skip
def test_what_a_training_gives_and_no_trial_reads_is_warned_of_and_refuses_nothing(
    training: dict[str, Any], said: str
) -> None:
    for kind in ("HyperparamSearch", "ScaleTest"):
        parameters = {"parameters": [a("model.layers", 1, 2)]} if kind == "HyperparamSearch" else {}
        if kind == "ScaleTest" and training.get("data", {}).get("source") == "kafka":
            continue  # its multipliers are not Kafka's
        experiment = an_experiment(kind=kind, training=training, **parameters)
        (found,) = ignored(experiment, expand(experiment))
        assert found.startswith(f"spec.training.{said}")
        assert doubts(experiment, expand(experiment)) == []


@pytest.mark.parametrize(
    ("training", "spec"),
    [
        ({"train": {"momentum": 0.9}}, {"parameters": [a("train.optimizer", "Adam", "SGD")]}),  # one of them reads it
        ({"train": {"momentum": 0.0}}, {}),  # the default
        ({"train": {"threads": 2, "checkpointEvery": 3}, "data": {"residency": "Streaming"}}, {}),
        ({"data": {**MESSAGES, "checksum": 5, "timeoutSeconds": 9, "compression": "LZ4", "warmupMessages": 3}}, {}),
        ({"train": {"batchPer": "Worker", "learningRateScaling": "Linear"}}, {"workers": 2}),
        ({"train": {"momentum": 0.9}}, {"parameters": [a("train.momentum", 0.1, 0.2)]}),  # refused as a parameter
    ],
)
def test_what_does_its_work_is_not_warned_of(training: dict[str, Any], spec: dict[str, Any]) -> None:
    experiment = an_experiment(**({"training": training, "parameters": [a("model.layers", 1, 2)]} | spec))
    assert ignored(experiment, expand(experiment)) == []


@pytest.mark.parametrize("path", sorted(Path("examples").rglob("*.yaml")), ids=str)
def test_the_examples_are_beyond_doubt(path: Path) -> None:
    if "kind: HyperparamSearch" in (text := path.read_text()) or "kind: ScaleTest" in text:
        experiment = read(path)
        assert [*doubts(experiment, expand(experiment)), *ignored(experiment, expand(experiment))] == []


def test_the_reference_names_every_field_that_may_be_without_effect() -> None:
    section = (
        Path("docs/reference.md").read_text().split("## What a new experiment is refused for")[1].split("\n## ")[0]
    )
    of_kafka = {path for path, effect in EFFECTS.items() if effect.else_why == "only data.source kafka reads it"}
    named = EFFECTS.keys() | COMPARED.keys() | MEANINGS.keys()
    assert {path for path in named - of_kafka if f"`{path}`" not in section} == set()


def test_memory_that_is_constrained_is_no_time() -> None:
    (said,) = doubts_of(a("train.checkpointEvery", 0, 5), **kept("peakMemoryBytes", 10**9))
    assert "it changes times, and no metric" in said


def test_what_a_learning_search_may_draw_is_judged_before_it_has_drawn_anything() -> None:
    parameters = [a("train.momentum", 0.0, 0.5), a("train.optimizer", "SGD", "Adam")]
    experiment = an_experiment(parameters=parameters, algorithm="TPE", trials=4)
    assert isinstance(experiment, HyperparamSearch)
    (said,) = doubts(experiment, samples(experiment))
    assert "1 of 4 trials drawn at random are the same training as another: train.momentum makes no" in said
    assert doubts(experiment, expand(experiment)) == []


def test_the_template_is_beyond_doubt_whatever_its_metric() -> None:
    for metric, known in OBJECTIVES.items():
        if known.source is None:
            text = TEMPLATE.replace("metric: validMse ", f"metric: {metric} ")
            text = text.replace("task: Regression ", f"task: {known.task or 'Regression'} ")
            assert f"metric: {metric} " in text
            assert doubts(load(text), expand(load(text))) == []


@pytest.mark.parametrize(("pod", "path"), (REFUSED | SENSELESS).values(), ids=REFUSED | SENSELESS)
def test_a_pod_that_no_cluster_would_start_is_refused_with_its_path(pod: dict[str, Any], path: str) -> None:
    (only,) = doubts_of(pod=pod)
    assert only.startswith(f"spec.pod.{path}"), only
    assert ": must " in only


@pytest.mark.parametrize("pod", TAKEN.values(), ids=TAKEN)
def test_any_other_pod_is_taken(pod: dict[str, Any]) -> None:
    assert doubts_of(pod=pod) == []


def test_a_request_beyond_the_limit_of_cells_is_none() -> None:
    pod = {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}
    axes = {"multipliers": [1], "workers": [1]}
    test = an_experiment(kind="ScaleTest", name="scale", axes=axes, pod=pod, cell={"memoryLimit": "512Mi"})
    assert doubts(test, expand(test)) == []
