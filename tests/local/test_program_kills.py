"""The runner of programs, or what it has started, is killed: nothing is lost, done twice or left behind."""

import os
import random
import signal
import subprocess
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from conftest import Sweep
from eventually import eventually
from local.cli import ROOT, command, environment
from local.test_programs import a_search
from trainer.local.ledger import read_ledger

SCRIPT = """
import subprocess, time
import yaml
import trialrun
trial = trialrun.trial()
subprocess.Popen(["sleep", "6000"], start_new_session=True)
for step in range(3):
    time.sleep(0.05)
    trial.report(step, loss=trial.parameters["x"] * 10 + step)
"""
TRIALS = 8


def a_run(folder: Path) -> tuple[Path, dict[str, str], str]:
    """The file of a search, the environment of its runner, and the mark that all have who stem from it."""
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    parameters = [{"name": "x", "choices": list(range(TRIALS))}]
    file = a_search(folder, ["python", "train.py"], parameters=parameters, maxFailedTrials=100)
    mark = f"SWEEP={uuid.uuid4()}"
    return file, environment() | dict([mark.split("=")]), mark


def begun(file: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("run", file, "--out", file.parent / "out", "--jobs", "2"),
        cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip


def marked(mark: str) -> list[int]:
    """The living processes that have a variable of this name and value from whoever started them."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            ended = (environ.parent / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not ended and mark.encode() in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found


def check_whole(file: Path, env: dict[str, str], mark: str, before: bytes, seed: int) -> None:
    """Runs what is left, and sees to it that all is there, and once."""
    again = subprocess.run(
        command("run", file, "--out", file.parent / "out"), cwd=ROOT, env=env, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert again.returncode == 0, f"seed {seed}: {again.stderr}"
    assert (file.parent / "out/results.jsonl").read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    done = [record for record in read_ledger(file.parent / "out") if record.outcome == "Succeeded"]
    assert Counter(record.parameters["x"] for record in done) == dict.fromkeys(range(TRIALS), 1), f"seed {seed}"
    assert all(record.metrics == {"loss": int(record.parameters["x"]) * 10 + 2} for record in done), f"seed {seed}"
    assert not marked(mark), f"seed {seed}"


def ledger(file: Path) -> bytes:
    path = file.parent / "out/results.jsonl"
    return path.read_bytes() if path.exists() else b""


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a run takes that nobody disturbs."""
    file, env, mark = a_run(tmp_path_factory.mktemp("undisturbed") / "run")
    began = time.monotonic()
    check_whole(file, env, mark, b"", 0)
    return time.monotonic() - began


@pytest.mark.torture
@pytest.mark.slow
def test_a_runner_of_programs_killed_at_any_moment_goes_on_where_it_was(
    tmp_path: Path, sweep: Sweep, seconds: float
) -> None:
    for seed in sweep.seeds(sample=2, full=50):
        file, env, mark = a_run(tmp_path / str(seed))
        runner = begun(file, env)
        try:
            runner.wait(timeout=random.Random(seed).uniform(0, seconds))
        except subprocess.TimeoutExpired:
            runner.kill()
        runner.communicate()
        eventually(lambda mark=mark: not marked(mark), what=f"seed {seed}: nothing is left behind")
        check_whole(file, env, mark, ledger(file), seed)


@pytest.mark.torture
@pytest.mark.slow
def test_programs_killed_at_any_moment_are_told_of_and_run_again(
    tmp_path: Path, sweep: Sweep, seconds: float
) -> None:
    for seed in sweep.seeds(sample=2, full=50):
        drawn = random.Random(seed)
        file, env, mark = a_run(tmp_path / str(seed))
        runner = begun(file, env)
        for _ in range(4):  # whatever stands there: a script, its children, or who starts them all
            time.sleep(drawn.uniform(0, seconds / 4))
            others = sorted(set(marked(mark)) - {runner.pid})
            if others:
                os.kill(drawn.choice(others), signal.SIGKILL)
        _, said = runner.communicate(timeout=600)
        assert runner.returncode in (0, 1, 2), f"seed {seed}: {said}"
        assert "Traceback" not in said, f"seed {seed}: {said}"
        eventually(lambda mark=mark: not marked(mark), what=f"seed {seed}: nothing is left behind")
        for record in read_ledger(file.parent / "out") if ledger(file) else []:
            assert record.outcome == "Succeeded" or "killed by signal 9" in record.error, (
                f"seed {seed}: {record.error}"
            )
        check_whole(file, env, mark, ledger(file), seed)
