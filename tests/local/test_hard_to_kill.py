"""Processes die at any moment; what was done is kept, nothing is done twice, nothing stays behind."""

import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import Sweep
from eventually import eventually
from local.cli import ROOT, alive, command, descendants, kill, measured, start, trainer, trial_processes, write_search
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import decode
from trainer.local.folder import MARK
from trainer.local.ledger import read_ledger

RATES = [0.1, 0.05, 0.03, 0.01, 0.005, 0.003, 0.001, 0.0005]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, object]], float]:
    """The ledger of a run that nobody disturbs, and the seconds it took from start to end."""
    folder = tmp_path_factory.mktemp("undisturbed")
    search = write_search(folder, rates=RATES, epochs=20)
    assert trainer("run", search, "--out", folder / "out").returncode == 0
    records = read_ledger(folder / "out")
    return measured(folder / "out"), (records[-1].finished_at - records[0].accepted_at) / 1000


def lines(folder: Path) -> int:
    ledger = folder / "results.jsonl"
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


@pytest.mark.torture
@pytest.mark.slow
def test_a_runner_killed_at_any_moment_goes_on_where_it_was(
    tmp_path: Path, sweep: Sweep, undisturbed: tuple[list[dict[str, object]], float]
) -> None:
    expected, seconds = undisturbed
    for seed in sweep.seeds(sample=2, full=50):
        folder = tmp_path / str(seed)
        folder.mkdir()
        search = write_search(folder, rates=RATES, epochs=20)
        runner = start("run", search, "--out", folder / "out")
        try:
            runner.wait(timeout=random.Random(seed).uniform(0.0, seconds + 0.5))
        except subprocess.TimeoutExpired:
            family = descendants(runner.pid)
            kill(runner)
            eventually(lambda family=family: not alive(family), what=f"seed {seed}: the runner's children are gone")
        else:
            runner.communicate()
        kept = (folder / "out" / "results.jsonl").read_bytes() if lines(folder / "out") else b""
        again = trainer("run", search, "--out", folder / "out")
        assert again.returncode == 0, f"seed {seed}: {again.stderr}"
        whole = kept[: kept.rfind(b"\n") + 1]
        assert (folder / "out" / "results.jsonl").read_bytes().startswith(whole), f"seed {seed}"
        assert measured(folder / "out") == expected, f"seed {seed}"


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start("run", write_search(tmp_path, rates=RATES, epochs=100), "--out", out)
    eventually(lambda: lines(out) >= 2, what="two trials are done")
    family = descendants(runner.pid)
    _, said = kill(runner, signal.SIGINT)
    assert runner.returncode == 130
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    assert not alive(family)
    assert 2 <= len(read_ledger(out)) < len(RATES)
    assert json.loads((out / "summary.json").read_text())["state"] == "Incomplete"


@pytest.mark.slow
def test_a_terminated_runner_ends_its_children_too(tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start("run", write_search(tmp_path, epochs=100_000), "--out", out)
    eventually(lambda: trial_processes(runner.pid), what="a trial runs")
    family = descendants(runner.pid)
    kill(runner, signal.SIGTERM)
    assert runner.returncode == 130
    assert not alive(family)


def test_children_of_a_killed_fork_server_do_not_train_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start("run", write_search(tmp_path, epochs=100_000), "--out", out)
    eventually(lambda: trial_processes(runner.pid), what="a trial runs")
    family = descendants(runner.pid)
    os.kill(min(family), signal.SIGKILL)
    _, said = runner.communicate(timeout=300)
    assert runner.returncode == 2
    assert "the process that starts trials ended by signal 9" in said
    eventually(lambda: not alive(family), what="its children are gone")


@pytest.mark.slow
def test_two_runners_never_share_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    search = write_search(tmp_path, epochs=100_000)
    runner = start("run", search, "--out", out)
    eventually(lambda: (out / "trials").exists(), what="the first runner runs")
    second = trainer("run", search, "--out", out)
    kill(runner)
    assert second.returncode == 2
    assert "another run is using it" in second.stderr


@pytest.mark.slow
def test_a_crash_a_deadline_and_a_killed_process_are_told_apart(tmp_path: Path) -> None:
    timed_out = tmp_path / "deadline"
    assert (
        trainer("run", write_search(tmp_path, rates=[0.1], epochs=10**6, deadline=1), "--out", timed_out).returncode
        == 1
    )
    (late,) = read_ledger(timed_out)
    assert (late.outcome, late.final) == (Outcome.TIMED_OUT, True)
    assert "deadline" in late.error

    crashed = tmp_path / "crashed"
    search = write_search(tmp_path, rates=[0.1])
    (identity,) = (json.loads(line)["id"] for line in trainer("list", search, "--json").stdout.splitlines())
    (crashed / "trials" / identity / "metrics.json" / "in-the-way").mkdir(parents=True)
    (crashed / MARK).touch()
    assert trainer("run", search, "--out", crashed).returncode == 1
    (crash,) = read_ledger(crashed)
    assert (crash.outcome, crash.exit_code) == (Outcome.CRASHED, 1)
    assert "IsADirectoryError" in crash.error

    killed = tmp_path / "killed"
    runner = start("run", write_search(tmp_path, rates=[0.1], epochs=10**6), "--out", killed)
    (pid,) = eventually(lambda: trial_processes(runner.pid), what="a trial runs")
    os.kill(pid, signal.SIGKILL)
    runner.communicate(timeout=300)
    (dead,) = read_ledger(killed)
    assert (dead.outcome, dead.exit_code) == (Outcome.CRASHED, -9)
    assert "killed by signal 9" in dead.error


@pytest.mark.slow
def test_failed_trials_run_again_and_count_a_second_attempt(tmp_path: Path) -> None:
    out = tmp_path / "out"
    search = write_search(tmp_path, rates=[0.1, 0.01])
    identity = json.loads(trainer("list", search, "--json").stdout.splitlines()[0])["id"]
    obstacle = out / "trials" / identity / "metrics.json" / "in-the-way"
    obstacle.mkdir(parents=True)
    (out / MARK).touch()
    assert trainer("run", search, "--out", out).returncode == 0
    shutil.rmtree(obstacle.parent)
    assert trainer("run", search, "--out", out).returncode == 0
    first, other, second = read_ledger(out)
    assert [(record.index, record.attempt, record.outcome) for record in (first, other, second)] == [
        (0, 1, Outcome.CRASHED),
        (1, 1, Outcome.SUCCEEDED),
        (0, 2, Outcome.SUCCEEDED),
    ]


@pytest.mark.slow
def test_a_diverged_trial_is_never_best_and_no_trial_starts_beyond_the_budget(tmp_path: Path) -> None:
    file = write_search(tmp_path, rates=[10.0**15, 0.01, 10.0**14, 0.001])
    file.write_text(file.read_text().replace("maxFailedTrials: 100", "maxFailedTrials: 2"))
    assert trainer("run", file, "--out", tmp_path / "out").returncode == 0
    file.write_text(file.read_text().replace("maxFailedTrials: 2", "maxFailedTrials: 0"))
    assert trainer("run", file, "--out", tmp_path / "strict").returncode == 1
    records = read_ledger(tmp_path / "out")
    assert [record.outcome for record in records] == ["Diverged", "Succeeded", "Diverged", "Succeeded"]
    assert "epoch" in records[0].error
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["best"]["index"] in (1, 3)
    assert [record.index for record in read_ledger(tmp_path / "strict")] == [0]


@pytest.mark.parametrize("torn", [b'{"schema":1,"id":"abc', b"\x00\x00\x00"])
@pytest.mark.slow
def test_a_torn_last_line_is_never_read_back(tmp_path: Path, torn: bytes) -> None:
    out = tmp_path / "out"
    search = write_search(tmp_path)
    assert trainer("run", search, "--out", out).returncode == 0
    ledger = out / "results.jsonl"
    whole = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(whole[:2]) + torn)
    assert len(read_ledger(out)) == 2
    assert trainer("run", search, "--out", out).returncode == 0
    assert [decode(line).index for line in ledger.read_bytes().splitlines()] == [0, 1, 2]


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_a_sentence_and_no_torn_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    search = write_search(tmp_path, rates=RATES)
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 4; exec "$@"', "bash", *command("run", search, "--out", out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "results.jsonl: cannot be written" in done.stderr
    content = (out / "results.jsonl").read_bytes()
    assert content.endswith(b"\n")
    kept = len(read_ledger(out))
    assert 0 < kept < len(RATES)
    assert trainer("run", search, "--out", out).returncode == 0
    assert [record.index for record in read_ledger(out)] == list(range(len(RATES)))
