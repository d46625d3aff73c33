"""`data publish`, and experiments that read what it has published."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from data_sources.builders import run
from kafka.broker import Broker
from kafka.builders import on, published
from kafka.reading import read
from local.cli import trainer
from trainer.data.errors import DataUnavailable
from trainer.experiment.errors import UserError
from trainer.experiment.expand import expand
from trainer.experiment.load import read as read_file
from trainer.experiment.outcome import Outcome
from trainer.local.ledger import read_ledger
from trainer.scheduling.workload import running_order

LOADING = """\
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {{name: loading}}
spec:
  objective: {{metric: loadSeconds}}
  parameters:
    - {{name: data.format, choices: [Avro, JSON]}}
    - {{name: data.compression, choices: [LZ4, None]}}
  training:
    data:
      source: kafka
      brokers: {brokers}
      topic: {topic}
      ranges: ["0:0:99", "1:20:99"]
      split: [{{rate: 1}}]
      warmupMessages: 10
      window: 12
      columns: [pixel]
      task: Classification
      classes: 3
      normalize: None
      timeoutSeconds: 60
    model: {{hiddenSize: 1, layers: 1}}
    train: {{epochs: 1, batchSize: 60}}
  order: Shuffled
  workers: 2
  maxFailedTrials: 100
"""


def a_file(broker: Broker, folder: Path, topic: str) -> Path:
    path = folder / "loading.yaml"
    path.write_text(LOADING.format(brokers=broker.address, topic=topic))
    return path


def test_a_search_over_formats_and_compressions_measures_how_long_each_loads(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = a_file(broker, tmp_path, "four-{format}-{compression}")
    assert run("publish", file) == 0
    told = capsys.readouterr().out
    for topic in ("four-Avro-LZ4", "four-Avro-None", "four-JSON-LZ4", "four-JSON-None"):
        assert f"topic     {topic}\nranges    0:0:99 1:0:99\nmessages  200 in " in told
    assert "batches   up to 1,000,000 bytes, waited for 50 ms\n" in told

    done = trainer("run", file, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    records = read_ledger(tmp_path / "run")
    assert [record.outcome for record in records] == [Outcome.SUCCEEDED] * 4
    figures = [record.metrics for record in records]
    assert {each["messages"] for each in figures} == {180}
    assert len({each["checksum"] for each in figures}) == 1
    for each in figures:
        assert each["loadSeconds"] > 0 < each["setupSeconds"]
        assert each["messagesPerSecond"] == pytest.approx(180 / each["loadSeconds"])
        assert each["megabytesPerSecond"] == pytest.approx(each["payloadBytes"] / 1e6 / each["loadSeconds"])
        assert each["wireBytes"] > 0
    experiment = read_file(file)
    order = [trial.id for trial in running_order(experiment, expand(experiment))]
    assert [record.id for record in records] == order != sorted(order, key=[t.id for t in expand(experiment)].index)
    assert [record.started_at for record in records] == sorted(record.started_at for record in records)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["best"]["metric"] == "loadSeconds"


def test_trials_whose_topic_is_missing_fail_and_the_others_run(broker: Broker, tmp_path: Path) -> None:
    file = a_file(broker, tmp_path, "two-{format}-{compression}")
    one = tmp_path / "one.yaml"
    one.write_text(file.read_text().replace("[Avro, JSON]", "[Avro]"))
    assert run("publish", one, "--json") == 0
    file.write_text(file.read_text().replace("workers: 2", "workers: 1"))
    assert trainer("run", file, "--out", tmp_path / "run").returncode == 0  # as many may fail
    outcomes = {record.parameters["data.format"]: record.outcome for record in read_ledger(tmp_path / "run")}
    assert outcomes == {"Avro": Outcome.SUCCEEDED, "JSON": Outcome.DATA_UNAVAILABLE}
    errors = [record.error for record in read_ledger(tmp_path / "run") if record.error]
    assert all("topic two-JSON-" in error and "have none of this name" in error for error in errors)


def test_classes_are_learnt_from_a_topic(broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, classes = load_digits(return_X_y=True)
    x, y = (images / 16).astype(np.float32).reshape(-1, 64, 1), classes.astype(np.int64)
    np.savez(tmp_path / "digits.npz", X_train=x[:1400], y_train=y[:1400], X_val=x[1400:1600], y_val=y[1400:1600],
             X_test=x[1600:], y_test=y[1600:])  # fmt: skip
    shared = "window: 64, columns: [pixel], task: Classification, classes: 10, normalize: None"
    head = LOADING.partition("spec:")[0].format() + "spec:\n  objective: {metric: validAccuracy}\n"
    head += "  parameters: [{name: model.layers, choices: [1]}]\n  training:\n"
    (tmp_path / "disk.yaml").write_text(head + f"    data: {{source: npz, path: {tmp_path}/digits.npz, {shared}}}\n")
    split = "[{rate: 0.7790762}, {rate: 0.1113}, {}]"
    topic = f"source: kafka, brokers: '{broker.address}', topic: digits, ranges: ['0:0:1796'], split: {split}"
    (tmp_path / "topic.yaml").write_text(
        head + f"    data: {{{topic}, {shared}}}\n    train: {{epochs: 10, learningRate: 0.01}}\n"
    )
    assert run("publish", tmp_path / "topic.yaml", "--from", tmp_path / "disk.yaml", "--cache", tmp_path / "c") == 0
    assert "messages  1,797 in Avro" in capsys.readouterr().out
    done = trainer("train", tmp_path / "topic.yaml", "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["messages"] == 1797
    assert metrics["validAccuracy"] > 0.9


def test_samples_go_to_a_topic_that_is_only_named(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    data = on(broker, window=784, classes=10, format="JSON", ranges=["0:0:9", "1:0:9"])
    asked = ["--brokers", broker.address, "--topic", data.topic_name, "--samples", "20", "--partitions", "2"]
    asked += ["--format", "JSON", "--compression", "Zstd", "--batch-bytes", "20000", "--linger-ms", "1", "--json"]
    assert run("publish", *asked) == 0
    (told,) = json.loads(capsys.readouterr().out)["topics"]
    buffer, figures = read(data)
    seconds = told.pop("seconds")
    assert seconds > 0
    assert told == {
        "topic": data.topic_name,
        "ranges": ["0:0:9", "1:0:9"],
        "messages": 20,
        "payloadBytes": figures.payload_bytes,
        "checksum": buffer.checksum,
        "format": "JSON",
        "compression": "Zstd",
        "batchBytes": 20_000,
        "lingerMs": 1,
    }
    with pytest.raises(UserError, match="it is there already, and a data set has a topic of its own"):
        run("publish", *asked)
    assert run("publish", *asked, "--replace", "--seed", "1") == 0
    assert json.loads(capsys.readouterr().out)["topics"][0]["checksum"] != told["checksum"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "an experiment file or --topic is needed, got neither"),
        (["--topic", "t"], "--brokers is needed with --topic"),
        (["--topic", "t", "--brokers", "b"], "--samples: how many to make up is needed"),
        (["--topic", "t t", "--brokers", "b", "--samples", "1"], "topic must be letters, digits"),
        (["--topic", "t", "--brokers", "b", "--samples", "1", "--batch-bytes", "1000001"], "must be 1 to 1,000,000"),
        (["--topic", "t", "--brokers", "b", "--samples", "1", "--linger-ms", "-1"], "--linger-ms: must be 0 or more"),
        (["examples/search.yaml"], "source kafka with ranges is needed to publish for it, got sp500"),
        (["examples/kafka-classes.yaml", "--samples", "10"], "data.ranges need 7,000 samples, got 10"),
        (["examples/kafka-classes.yaml", "--from", "examples/search.yaml"], "Regression, 60 x 5"),
    ],
)
def test_what_cannot_be_published_is_told(options: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        run("publish", *options)


def test_brokers_that_are_not_there_are_told_when_publishing(broker: Broker, tmp_path: Path) -> None:
    hasty = a_file(broker, tmp_path, "t-{format}-{compression}")
    hasty.write_text(hasty.read_text().replace("timeoutSeconds: 60", "timeoutSeconds: 2"))
    with pytest.raises(UserError, match=r"the brokers at 127.0.0.1:9 must answer within data.timeoutSeconds = 2"):
        run("publish", hasty, "--brokers", "127.0.0.1:9")


@pytest.mark.parametrize("schema", ['{"type": "record"}', '{"type": "record", "name": "r", "fields": []}'])
def test_a_topic_that_cannot_be_written_anew_is_not_deleted(schema: str, broker: Broker) -> None:
    data = on(broker)
    before = published(data)
    unfit = data.model_copy(update={"message": data.message.model_copy(update={"avro_schema": schema})})
    with pytest.raises(DataUnavailable, match=r"data\.message\.avroSchema: a (schema|field) .* is required"):
        published(unfit, replace=True)
    assert read(data)[0].checksum == before.checksum
