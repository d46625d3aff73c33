"""What the page for users of the earlier benchmark module says to run, run with real brokers."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kafka.broker import Broker
from trainer.benchmark.suite import Suite

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-the-benchmark-module.md").read_text(encoding="utf-8")
# The page's file at a size that takes seconds, and on the tests' own broker.
SMALLER = {
    "repeats: 30": "repeats: 2",
    "workers: 3": "workers: 2",
    "0:0:19999": "0:0:99",
    "1:0:19999": "1:0:99",
    "2:0:19999": "2:0:99",
    "warmupMessages: 1000": "warmupMessages: 10",
}
(COMMANDS,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def a_file(folder: Path, broker: Broker, topic: str, **smaller: str) -> None:
    """The page's file, with what differs by `smaller`."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    brokers = {"host1:9092,host2:9092,host3:9092": broker.address, "loading-{": f"{topic}-{{"}
    for whole, small in (SMALLER | brokers | smaller).items():
        assert whole in text
        text = text.replace(whole, small)
    (folder / "loading.yaml").write_text(text)


def ran(line: str, folder: Path) -> str:
    """What a command of the page says, in the folder with the file."""
    _, *arguments = shlex.split(line, comments=True)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_commands_of_the_page_run_and_compare_the_four_experiments(broker: Broker, tmp_path: Path) -> None:
    a_file(tmp_path, broker, "here")
    said = {line: ran(line, tmp_path) for line in COMMANDS.splitlines() if "spark" not in line}
    assert len(said) == 4
    assert "8 trials" in next(iter(said.values()))
    for line in list(said)[-2:]:  # run and report
        assert "loadSeconds in s, ranked by the mean" in said[line]
    suite = Suite.imported(str(tmp_path / "runs" / "loading" / "statistics.json"))
    assert set(suite.samples) == {"Avro · LZ4", "Avro · None", "JSON · LZ4", "JSON · None"}
    assert {len(sample.values) for sample in suite.samples.values()} == {2}
    assert all(name in suite.text() for name in suite.samples)


@pytest.mark.slow
def test_the_command_of_the_page_runs_an_experiment_through_torch_distributor(broker: Broker, tmp_path: Path) -> None:
    a_file(
        tmp_path, broker, "there", **{"[Avro, JSON]": "[Avro]", "[LZ4, None]": "[LZ4]", "workers: 3": "workers: 1"}
    )
    for line in COMMANDS.splitlines():
        if "publish" in line or "spark" in line:
            ran(line, tmp_path)
    suite = Suite.imported(str(tmp_path / "runs" / "loading-spark" / "statistics.json"))
    assert [(name, len(sample.values)) for name, sample in suite.samples.items()] == [("Avro · LZ4", 2)]
