"""The same file under Spark gives the same ledger apart from times, however its trials end."""

import json
import os
import signal
import subprocess
from pathlib import Path

from eventually import eventually
from local.cli import trainer, trial_processes
from spark.runs import FOREVER, finish, run, start, without_times, write_search
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import STEP
from trainer.local.folder import MARK
from trainer.local.ledger import read_ledger, read_suggestions

LAUNCHERS = ("local", "spark")


def weights(out: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted((out / "trials").glob("*/weights.safetensors"))}


def test_one_rank_succeeds_crashes_and_is_out_of_time_as_under_the_local_launcher(tmp_path: Path) -> None:
    search = write_search(tmp_path, epochs=[2, 3, FOREVER], deadline=5)
    crashing = json.loads(trainer("list", search, "--json").stdout.splitlines()[1])["id"]
    users = tmp_path / "users"
    users.mkdir()
    for name in ("trainer.py", "torch.py", "numpy.py"):  # a user's modules are no business of ours
        (users / name).write_text("raise SystemExit('a module of the user was imported')\n")
    for launcher in LAUNCHERS:
        (tmp_path / launcher / "trials" / crashing / "metrics.json" / "in-the-way").mkdir(parents=True)
        (tmp_path / launcher / MARK).touch()
        run(search, tmp_path / launcher, launcher=launcher, cwd=users)
    local, spark = (without_times(tmp_path / launcher) for launcher in LAUNCHERS)
    assert [record["outcome"] for record in spark] == ["Succeeded", "Crashed", "TimedOut"]
    assert spark == local
    assert len(weights(tmp_path / "spark")) == 1
    assert weights(tmp_path / "spark") == weights(tmp_path / "local")
    assert 5.0 <= read_ledger(tmp_path / "spark")[2].evidence["secondsUntilKilled"] < 60.0


def kill_rank_1_of_the_second_trial(runner: subprocess.Popen[str], out: Path) -> None:
    def second_rank() -> int | None:
        for pid in trial_processes(runner.pid):
            log = Path(f"/proc/{pid}/fd/1").readlink()
            if log.name == "log-1.txt" and (log.parent / "log-0.txt").exists() and len(read_ledger(out)) == 1:
                return pid
        return None

    os.kill(
        eventually(second_rank, what="both ranks of the second trial run"),
        signal.SIGKILL,
    )


def test_two_ranks_train_to_the_same_bits_and_a_killed_one_is_told_of_as_under_the_local_launcher(
    tmp_path: Path,
) -> None:
    search = write_search(tmp_path, epochs=[2, FOREVER], workers=2)
    for launcher in LAUNCHERS:
        runner = start(search, tmp_path / launcher, launcher=launcher)
        kill_rank_1_of_the_second_trial(runner, tmp_path / launcher)
        finish(runner)
    local, spark = (without_times(tmp_path / launcher) for launcher in LAUNCHERS)
    for _, second in (local, spark):  # how far its ranks were when one was killed is not the launcher's doing
        del second["samples"], second["datasetBytes"], second["evidence"]
    assert [record["outcome"] for record in spark] == ["Succeeded", "Crashed"]
    assert spark == local
    assert weights(tmp_path / "spark") == weights(tmp_path / "local")
    killed = read_ledger(tmp_path / "spark")[1]
    assert (killed.outcome, killed.exit_code, killed.failed_rank) == (Outcome.CRASHED, -9, 1)


def test_a_search_learns_and_stops_trials_as_under_the_local_launcher(tmp_path: Path) -> None:
    search = tmp_path / "search.yaml"
    search.write_text("""
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {name: stopping}
spec:
  objective: {metric: validMse}
  algorithm: TPE
  trials: 3
  points: [{parameters: {train.learningRate: 0.01}}, {parameters: {train.learningRate: 1.0e-7}}]
  parameters: [{name: train.learningRate, range: {min: 1.0e-7, max: 0.01, scale: Log}}]
  earlyStopping: {rule: ASHA, minStep: 20, reduction: 2}
  training:
    data: {source: synthetic, rows: 400, window: 5, validFraction: 0.2}
    model: {hiddenSize: 16, layers: 1}
    train: {epochs: 400, batchSize: 16}
""")
    for launcher in LAUNCHERS:
        run(search, tmp_path / launcher, launcher=launcher)
    local, spark = (read_ledger(tmp_path / launcher) for launcher in LAUNCHERS)
    assert [record.outcome for record in local[:2]] == [Outcome.SUCCEEDED, Outcome.STOPPED]
    told = [[(each.id, each.outcome, each.evidence.get(STEP)) for each in ledger] for ledger in (local, spark)]
    assert told[0] == told[1]
    assert read_suggestions(tmp_path / "spark") == read_suggestions(tmp_path / "local")
