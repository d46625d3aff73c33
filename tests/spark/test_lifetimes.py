"""Whoever dies, no rank trains on and no JVM stays; what was done is kept."""

import os
import signal
from pathlib import Path

import pytest

from eventually import eventually
from local.cli import alive, descendants, trial_processes
from spark.runs import FOREVER, finish, start, write_search
from trainer.local.ledger import read_ledger


def jvms(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "java"}


@pytest.mark.parametrize("dies", ["interrupted runner", "killed runner", "killed JVM"])
def test_no_child_outlives_its_runner_or_spark(dies: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start(write_search(tmp_path, epochs=[FOREVER]), out)
    eventually(lambda: trial_processes(runner.pid), what="a trial runs")
    family = descendants(runner.pid)
    (jvm,) = jvms(family)
    if dies == "killed JVM":
        os.kill(jvm, signal.SIGKILL)
    else:
        runner.send_signal(signal.SIGINT if dies == "interrupted runner" else signal.SIGKILL)
    said = finish(runner)
    assert "Traceback" not in said
    assert read_ledger(out) == []
    if dies == "interrupted runner":
        assert runner.returncode == 130
        assert "run the same command again to go on" in said
        assert jvm not in alive(family)
    if dies == "killed JVM":
        assert runner.returncode == 2
        assert "Spark's JVM ended with exit code -9" in said
    eventually(lambda: not alive(family), what="all that the runner started is gone")
