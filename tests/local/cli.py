"""Calls the command line as a user does, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from trainer.experiment.record import Record
from trainer.local.ledger import read_ledger

ROOT = Path(__file__).parents[2]
SEARCH = """
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {{name: small}}
spec:
  objective: {{metric: validMse}}
  parameters:
    - {{name: train.learningRate, choices: {rates}}}
  training:
    data: {{source: synthetic, rows: 200, window: 5, validFraction: 0.2}}
    model: {{hiddenSize: 8, layers: 1}}
    train: {{epochs: {epochs}, batchSize: 16}}
  deadlineSeconds: {deadline}
  maxFailedTrials: 100
"""


def write_search(
    folder: Path, *, rates: list[float] | None = None, epochs: int = 2, deadline: int = 60, more: str = ""
) -> Path:
    """A search over learning rates of a small network on made-up rows."""
    path = folder / "search.yaml"
    path.write_text(SEARCH.format(rates=rates or [0.1, 0.01, 0.001], epochs=epochs, deadline=deadline) + more)
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "trainer", *map(str, arguments)]


def environment(home: Path | None = None) -> dict[str, str]:
    chosen = os.environ | {"PYTHONPATH": str(ROOT)}
    return chosen | ({"HOME": str(home)} if home is not None else {})


def trainer(*arguments: str | Path, cwd: Path = ROOT, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        **options,
    )


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """A runner in the background, in a process group of its own as a shell would give it."""
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def kill(process: subprocess.Popen[str], with_signal: signal.Signals = signal.SIGKILL) -> tuple[str, str]:
    process.send_signal(with_signal)
    return process.communicate(timeout=300)


def descendants(pid: int) -> set[int]:
    """The processes that stem from `pid` and live."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found - {pid}


def trial_processes(pid: int) -> set[int]:
    """Those of the processes that stem from a runner which train: they write to a trial's log."""
    training = set()
    for child in descendants(pid):
        try:
            if Path(f"/proc/{child}/fd/1").readlink().name.startswith("log-"):
                training.add(child)
        except OSError:
            continue
    return training


def alive(pids: set[int]) -> set[int]:
    living = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                living.add(pid)
        except OSError:
            continue
    return living


def measured(folder: Path) -> list[dict[str, Any]]:
    """The ledger without what differs from run to run: times, memory and the machine."""
    return [without_times(record) for record in read_ledger(folder)]


def without_times(record: Record) -> dict[str, Any]:
    document = json.loads(record.model_dump_json(by_alias=True))
    for name in ("seconds", "memory", "acceptedAt", "startedAt", "finishedAt"):
        del document[name]
    return document
