"""Trials read their topic under Spark as they do without it."""

from pathlib import Path
from typing import Any

from data_sources.builders import run as data
from kafka.broker import Broker
from kafka.test_commands import a_file
from spark.runs import run, without_times

# What depends on time: the end of a response, up to which is fetched, does so too.
TIMED = {"loadSeconds", "setupSeconds", "fetchSeconds", "decodeSeconds", "dealSeconds"} | {
    "messagesPerSecond", "megabytesPerSecond", "wireBytes",
}  # fmt: skip


def ledger(folder: Path) -> list[dict[str, Any]]:
    records = without_times(folder)
    for record in records:
        record["metrics"] = {name: value for name, value in record["metrics"].items() if name not in TIMED}
    return records


def test_two_ranks_read_a_topic_under_spark_as_under_the_local_launcher(broker: Broker, tmp_path: Path) -> None:
    file = a_file(broker, tmp_path, "spark-{format}-{compression}")
    file.write_text(
        file.read_text().replace("[LZ4, None]", "[LZ4]").replace("timeoutSeconds: 5", "timeoutSeconds: 60")
    )
    assert data("publish", file) == 0
    for launcher in ("local", "spark"):
        assert run(file, tmp_path / launcher, launcher=launcher).returncode == 0
    local, spark = (ledger(tmp_path / launcher) for launcher in ("local", "spark"))
    assert [record["outcome"] for record in spark] == ["Succeeded"] * 2
    assert {record["metrics"]["messages"] for record in spark} == {180}
    assert len({record["metrics"]["checksum"] for record in spark}) == 1
    assert spark == local
