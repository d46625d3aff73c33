"""What Spark needs and doesn't find is said in a sentence, before anything runs where that can be."""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from eventually import eventually
from local.cli import ROOT, descendants, trainer
from spark.runs import finish, run, start, write_search
from trainer.experiment.outcome import Outcome
from trainer.local.ledger import read_ledger


def test_a_scale_test_is_left_to_the_local_launcher() -> None:
    refused = trainer("run", "examples/scaletest.yaml", "--launcher", "spark")
    assert refused.returncode == 2
    assert "must be given a HyperparamSearch, got a ScaleTest" in refused.stderr


def test_without_pyspark_it_says_what_to_install(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name != "pyspark":
            (packages / package.name).symlink_to(package)
    command = ["run", write_search(tmp_path, epochs=[2]), "--out", tmp_path / "out", "--launcher", "spark"]
    refused = subprocess.run(
        [sys._base_executable, "-m", "trainer", *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{packages}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert refused.returncode == 2
    assert "--launcher spark: needs pyspark, which is not installed here" in refused.stderr


def test_without_java_it_says_so(tmp_path: Path) -> None:
    runner = start(write_search(tmp_path, epochs=[2]), tmp_path / "out", JAVA_HOME=str(tmp_path))
    said = finish(runner)
    assert runner.returncode == 2
    assert "--launcher spark: needs Java 17 or later, but none started" in said
    assert not (tmp_path / "out").exists()


def test_a_master_with_fewer_slots_than_workers_makes_trials_unschedulable(tmp_path: Path) -> None:
    out = tmp_path / "out"
    one_slot = "--master local[1] pyspark-shell"
    assert run(write_search(tmp_path, epochs=[2], workers=2), out, PYSPARK_SUBMIT_ARGS=one_slot).returncode == 1
    (record,) = read_ledger(out)
    assert record.outcome is Outcome.UNSCHEDULABLE
    assert "requires more slots than the total number of slots" in record.error


def test_a_master_that_does_not_answer_is_named_while_it_is_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"spark://127.0.0.1:{silent.getsockname()[1]}"
        runner = start(
            write_search(tmp_path, epochs=[2]), tmp_path / "out", PYSPARK_SUBMIT_ARGS=f"--master {url} pyspark-shell"
        )
        assert runner.stderr is not None
        for line in runner.stderr:
            if f"waiting for a session of Spark's from its master, {url}" in line:
                break
        runner.send_signal(signal.SIGINT)
        said = finish(runner)
    assert runner.returncode == 130
    assert "stopped: no trial had started; run the same command again to go on" in said
    assert not (tmp_path / "out").exists()


def test_callers_that_are_no_ranks_of_this_run_are_dropped_and_disturb_nobody(tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start(write_search(tmp_path, epochs=[2]), out)
    told = eventually(lambda: told_to_ranks(runner.pid), what="a rank is started")
    stranger = {"event": "ready", "trial": told["trial"], "rank": 0, "key": "0" * 32}
    with_key = stranger | {"trial": "of another run", "key": told["key"]}
    for said in (
        b"GET / HTTP/1.1\n",
        b"[]\n",
        b"x" * 5000,
        *(json.dumps(one).encode() + b"\n" for one in (stranger, with_key)),
    ):
        with socket.create_connection((told["host"], told["port"]), timeout=30.0) as caller:
            caller.sendall(said)
            assert caller.recv(1) == b""
    finish(runner)
    (record,) = read_ledger(out)
    assert record.outcome is Outcome.SUCCEEDED


def told_to_ranks(runner: int) -> dict[str, Any] | None:
    """The argument of a rank's process."""
    for pid in descendants(runner):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"trainer.spark.rank" in words:
            told: dict[str, Any] = json.loads(words[words.index(b"trainer.spark.rank") + 1])
            return told
    return None
