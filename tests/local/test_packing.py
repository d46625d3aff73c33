"""Searches whose trials train together, as whole runs: the same results, whatever is stopped, diverges or dies."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Sweep
from eventually import eventually
from local.cli import alive, descendants, kill, start, trainer, trial_processes
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import PACK, PACKED_WITH, STEP_SECONDS, Record
from trainer.local.ledger import read_ledger

SEARCH = """
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {{name: packed}}
spec:
  objective: {{metric: validMse}}
  parameters:
    - {{name: train.learningRate, choices: {rates}}}
    - {{name: model.hiddenSize, choices: [8, 16]}}
  training:
    data: {{source: synthetic, rows: 200, window: 5, validFraction: 0.2}}
    model: {{layers: 1, dropout: 0.1}}
    train: {{epochs: {epochs}, batchSize: 16, precision: Float64}}
  deadlineSeconds: {deadline}
  maxFailedTrials: 100
"""
RATES = [0.1, 0.03, 0.01, 0.003]


def write(
    folder: Path,
    packing: str = "Auto",
    *,
    rates: list[float] = RATES,
    epochs: int = 8,
    deadline: int = 60,
    more: str = "",
) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{packing}.yaml"
    path.write_text(SEARCH.format(rates=rates, epochs=epochs, deadline=deadline) + f"  packing: {packing}\n" + more)
    return path


def ran(file: Path, out: Path, *more: str, code: int = 0) -> tuple[dict[str, Record], str]:
    """The records by trial, and what the run said."""
    done = trainer("run", file, "--out", out, *more)
    assert done.returncode == code, done.stderr
    return {record.id: record for record in read_ledger(out)}, done.stderr


def assert_same_results(packed: dict[str, Record], plain: dict[str, Record]) -> None:
    assert packed.keys() == plain.keys()
    for identity, record in plain.items():
        mine = packed[identity]
        assert mine.outcome == record.outcome
        assert mine.metrics == pytest.approx(record.metrics, rel=1e-9)
        assert mine.epochs == record.epochs
        beside = {key: value for key, value in mine.evidence.items() if key not in (PACK, PACKED_WITH)}
        assert beside == record.evidence


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Record], Path]:
    folder = tmp_path_factory.mktemp("plain")
    return ran(write(folder, "None"), folder / "out")[0], folder / "out"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_packed_search_has_the_results_of_one_that_is_not(
    jobs: int, tmp_path: Path, plain: tuple[dict[str, Record], Path]
) -> None:
    records, said = ran(write(tmp_path), tmp_path / "out", "--jobs", str(jobs))
    assert_same_results(records, plain[0])
    assert "packing: 8 trials of 2 shapes; those of one shape can train together" in said
    for record in records.values():
        assert record.evidence[PACKED_WITH] == 3
        assert record.memory == (None,), "what one of several took is not known"
        mine, other = tmp_path / "out" / "trials" / record.id, plain[1] / "trials" / record.id
        assert {each.name for each in mine.iterdir()} == {each.name for each in other.iterdir()}
        assert (mine / "config.json").read_text() == (other / "config.json").read_text()
        assert len((mine / "history.jsonl").read_text().splitlines()) == 8
    packs = {record.evidence[PACK] for record in records.values()}
    assert len(packs) == 2
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["timing"]["packed"] == 8
    assert summary["timing"]["mostAtOnce"] == jobs
    assert summary["timing"]["trials"] <= jobs * summary["timing"]["wall"]


@pytest.mark.slow
def test_a_run_goes_on_packed_where_it_was_not_and_the_other_way_round(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran(write(tmp_path, "None", rates=RATES[:2]), out)
    before = (out / "results.jsonl").read_bytes()
    records, _ = ran(write(tmp_path), out)
    assert (out / "results.jsonl").read_bytes().startswith(before)
    assert sorted(PACK in record.evidence for record in records.values()) == [False] * 4 + [True] * 4


def test_what_is_not_packed_is_said(tmp_path: Path) -> None:
    file = write(tmp_path, epochs=1, rates=[0.1])
    file.write_text(file.read_text().replace("layers: 1", "kind: LSTM, layers: 1"))
    records, said = ran(file, tmp_path / "out")
    assert "packing: 2 trials train one by one: model.kind is LSTM" in said
    assert not any(PACK in record.evidence for record in records.values())


@pytest.mark.slow
def test_one_that_diverges_spoils_no_other(tmp_path: Path) -> None:
    files = [write(tmp_path, packing, rates=[0.1, 1e15, 0.01]) for packing in ("Auto", "None")]
    for file in files:
        file.write_text(file.read_text().replace("batchSize: 16", "batchSize: 16, optimizer: SGD"))
    packed, plain = (ran(file, tmp_path / file.stem)[0] for file in files)
    assert_same_results(packed, plain)
    assert [record.outcome for record in packed.values()].count(Outcome.DIVERGED) == 2
    assert {record.error for record in packed.values()} == {record.error for record in plain.values()}


@pytest.mark.slow
def test_trials_of_a_pack_are_stopped_early_and_the_others_go_on(tmp_path: Path) -> None:
    rates = [0.01, 1e-9, 1e-10, 1e-11, 0.02]
    more = "  earlyStopping: {rule: Median, minStep: 50}\n"
    file = write(tmp_path, rates=rates, epochs=400, more=more)
    records, _ = ran(file, tmp_path / "out")
    stopped = [record for record in records.values() if record.outcome is Outcome.STOPPED]
    assert stopped
    assert not list((tmp_path / "out").rglob("stop")), "what asked them to is taken away"
    for record in records.values():
        assert record.evidence[PACKED_WITH] == 4
        if record.outcome is Outcome.STOPPED:
            assert record.metrics["validMse"] > 0
            assert record.epochs == record.evidence["step"] < 400
            assert record.seconds.total > 0
            assert STEP_SECONDS not in record.evidence, "the pack's, which is no trial's"
        else:
            assert (record.outcome, record.epochs) == (Outcome.SUCCEEDED, 400)


@pytest.mark.slow
def test_the_deadline_of_a_pack_is_that_of_all_its_trials(tmp_path: Path) -> None:
    """Eight that take a second each are not late after two; those that never end are."""
    file = write(tmp_path, epochs=10**6, deadline=1)
    records, _ = ran(file, tmp_path / "out", code=1)
    assert {record.outcome for record in records.values()} == {Outcome.TIMED_OUT}
    for record in records.values():
        assert 4 <= record.evidence["secondsUntilKilled"] < 60  # type: ignore[operator]
        assert "killed by its deadline" in record.error


@pytest.mark.slow
def test_when_a_pack_is_killed_each_of_its_trials_is_trained_by_itself(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    runner = start("run", write(tmp_path, epochs=2000), "--out", out)
    (pid,) = eventually(lambda: trial_processes(runner.pid), what="a pack runs")
    os.kill(pid, signal.SIGKILL)
    _, said = runner.communicate(timeout=600)
    assert runner.returncode == 0, said
    assert "a pack of 4 trials was killed by signal 9" in said
    records = read_ledger(out)
    assert [record.outcome for record in records] == [Outcome.SUCCEEDED] * 8
    assert {record.attempt for record in records} == {1}
    assert sorted(PACK in record.evidence for record in records) == [False] * 4 + [True] * 4
    alone = [record.id for record in records if PACK not in record.evidence]
    assert [(out / "trials" / each / "log-0.txt").stat().st_nlink for each in alone] == [1] * 4, "each has its own"


@pytest.mark.slow
def test_a_pack_that_does_not_let_go_is_killed_and_its_time_is_shared(tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start("run", write(tmp_path, epochs=10**6, rates=RATES[:2], deadline=1), "--jobs", "2", "--out", out)
    one, _ = eventually(lambda: len(found := trial_processes(runner.pid)) == 2 and found, what="two packs run")
    os.kill(one, signal.SIGSTOP)
    began = time.monotonic()
    _, said = runner.communicate(timeout=600)
    passed = time.monotonic() - began
    records = read_ledger(out)
    assert [record.outcome for record in records] == [Outcome.TIMED_OUT] * 4, said
    assert all(0 < record.seconds.total < passed / 2 + 5 for record in records)


@pytest.mark.slow
def test_a_trial_that_kills_its_pack_fails_by_itself_and_the_others_succeed(tmp_path: Path) -> None:
    """A file in the way of what one trial leaves ends the whole process."""
    out, file = tmp_path / "out", write(tmp_path)
    ids = [json.loads(line)["id"] for line in trainer("list", file, "--json").stdout.splitlines()]
    (out / "trials" / ids[2] / "metrics.json" / "in-the-way").mkdir(parents=True)
    (out / ".trialrun").touch()
    records, _ = ran(file, out, code=0)
    assert records[ids[2]].outcome is Outcome.CRASHED
    assert "IsADirectoryError" in records[ids[2]].error
    assert PACK not in records[ids[2]].evidence
    assert [record.outcome for record in records.values()].count(Outcome.SUCCEEDED) == 7


@pytest.mark.slow
def test_a_search_that_learns_trains_the_repeats_of_a_point_together(tmp_path: Path) -> None:
    file = write(tmp_path, epochs=2)
    text = file.read_text().replace("  parameters:\n", "  algorithm: TPE\n  trials: 4\n  repeats: 3\n  parameters:\n")
    text = text.replace(f"choices: {RATES}", "range: {min: 0.001, max: 0.1, scale: Log}")
    file.write_text(text)
    records, _ = ran(file, tmp_path / "out")
    assert len(records) == 12
    assert all(record.outcome is Outcome.SUCCEEDED for record in records.values())
    assert [record.evidence.get(PACKED_WITH) for record in records.values()] == [2] * 12
    assert len({record.evidence[PACK] for record in records.values()}) == 4, "a pack for each point"


@pytest.mark.torture
@pytest.mark.slow
def test_a_runner_killed_in_mid_pack_loses_nothing_and_does_nothing_twice(
    tmp_path: Path, sweep: Sweep, say: Callable[[str], None]
) -> None:
    expected, _ = ran(write(tmp_path, "None", epochs=200), tmp_path / "plain")
    killed = 0
    for seed in sweep.seeds(sample=2, full=50):
        folder = tmp_path / str(seed)
        file, out, chance = write(folder, epochs=200), folder / "out", random.Random(seed)
        runner = start("run", file, "--out", out, "--jobs", str(chance.choice([1, 2])))
        try:
            eventually(lambda runner=runner: trial_processes(runner.pid) or runner.poll() is not None)
            runner.wait(timeout=chance.uniform(0.0, 1.2))
        except subprocess.TimeoutExpired:
            family = descendants(runner.pid)
            kill(runner)
            killed += 1
            eventually(lambda family=family: not alive(family), what=f"seed {seed}: the runner's children are gone")
        else:
            runner.communicate()
        ledger = out / "results.jsonl"
        kept = ledger.read_bytes() if ledger.exists() else b""
        again, _ = ran(file, out)
        whole = kept[: kept.rfind(b"\n") + 1]
        assert ledger.read_bytes().startswith(whole), f"seed {seed}"
        assert ledger.read_bytes().count(b"\n") == len(expected), f"seed {seed}: each once"
        assert_same_results(again, expected)
    say(f"  {killed} runners killed with a pack at work, nothing lost, nothing twice")


@pytest.mark.slow
def test_packed_times_are_not_compared_with_others(tmp_path: Path, plain: tuple[dict[str, Record], Path]) -> None:
    ran(write(tmp_path), tmp_path / "out")
    told = trainer("compare", plain[1], tmp_path / "out", "--json")
    assert told.returncode == 0, told.stderr
    comparison: dict[str, Any] = json.loads(told.stdout)["comparison"]
    assert comparison["speedup"] is None
    assert any(each.startswith("packing: 8 of 8 trials trained together") for each in comparison["differences"])


@pytest.mark.slow
def test_trials_whose_data_is_not_there_fail_by_themselves(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("date,Close\n" + "".join(f"2024-01-{day:02},{day}\n" for day in range(1, 29)))
    file = write(tmp_path, epochs=1, rates=[0.01, 0.02])
    paths = f'["{tmp_path / "rows.csv"}", "{tmp_path / "missing.csv"}"]'
    text = file.read_text().replace(
        "{name: model.hiddenSize, choices: [8, 16]}", f"{{name: data.path, choices: {paths}}}"
    )
    file.write_text(
        text.replace(
            "source: synthetic, rows: 200, window: 5",
            f"source: csv, path: {tmp_path / 'rows.csv'}, window: 2, columns: [Close]",
        )
    )
    records, _ = ran(file, tmp_path / "out")
    ended = sorted((str(record.outcome), PACK in record.evidence) for record in records.values())
    assert ended == [("DataUnavailable", False)] * 2 + [("Succeeded", True)] * 2
