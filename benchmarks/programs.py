"""One user's script under Trialrun, Optuna and Ray Tune, and what the runner adds to a program that does nothing."""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.same_script.points import rates, taken
from benchmarks.systems import report_seconds
from benchmarks.timing import ROOT, in_turn, line, median, process, ratio, there_and_back
from trainer.local.ledger import read_ledger

ROUNDS = 2
TRIALS = 50
_SCRIPTS = ROOT / "benchmarks" / "same_script"
_FORKED, _COLD = "trialrun, forked", "trialrun, cold"
_OTHERS = {"optuna": ("optuna",), "ray": ("ray",), "ray, actors reused": ("ray", "reuse")}
_IDLE_ROUNDS = 5
_IDLE = ["sh", "-c", """printf '{"metrics": {"loss": 1}}\\n' >> "$TRIALRUN_REPORTS\""""]


@dataclass(frozen=True)
class Search:
    """What a search took, start-up included, and the loss of each learning rate."""

    seconds: float
    losses: Mapping[float, float]


def main(trials: int = TRIALS) -> None:
    """Prints seconds per trial of each, one trial at a time, and whether all found the same."""
    with tempfile.TemporaryDirectory() as scratch:
        _side_by_side(Path(scratch), trials)
        _overhead(Path(scratch), trials)


def _side_by_side(scratch: Path, trials: int) -> None:
    # Only a command that says `python` is forked from a process that has loaded torch.
    calls: dict[str, Callable[[int], Search]] = {
        _FORKED: lambda count: _trialrun(scratch / "forked", "python", count),
        _COLD: lambda count: _trialrun(scratch / "cold", sys.executable, count),
    }
    missing = [name for name, (module, *_) in _OTHERS.items() if importlib.util.find_spec(module) is None]
    for name, words in _OTHERS.items():
        if name not in missing:
            calls[name] = lambda count, words=words: _other(scratch, words, count)  # type: ignore[misc]
    for call in calls.values():  # what is on disk is in memory then
        call(1)
    found = there_and_back({name: lambda call=call: call(trials) for name, call in calls.items()}, ROUNDS)  # type: ignore[misc]
    print(f"One script as a whole process: ten steps of Adam, {trials} trials, one at a time")
    seconds = {name: [each.seconds / trials for each in results] for name, results in found.items()}
    for name, values in seconds.items():
        line(f"seconds per trial, {name}", f"{median(values):.3f}", f"{ratio(values, seconds[_COLD]):.2f}x cold")
    for name in missing:
        line(f"seconds per trial, {name}", "not installed")
    faster = ratio(seconds[_FORKED], seconds[_COLD])
    line(f"{_FORKED} / {_COLD}", f"{faster:.2f}x", "bar 0.5, at most")
    _compare(found)


def _compare(found: Mapping[str, Sequence[Search]]) -> None:
    """Says whose losses are not those of the script started from nothing, to the bit."""
    right = found[_COLD][0].losses
    apart = []
    for name, results in found.items():
        for each in results:
            assert each.losses.keys() == right.keys(), f"{name} has not tried the same learning rates"
        furthest = max(abs(each.losses[rate] - loss) for each in results for rate, loss in right.items())
        if furthest:
            apart.append(f"{name} (by up to {furthest:.1g})")
    line("losses that are the same to the bit", "all" if not apart else f"but {', '.join(apart)}", "all")


def _trialrun(folder: Path, python: str, count: int) -> Search:
    run = process(["-m", "trainer", "run", _search(folder, [python, "adam.py"], count), *_options(folder)])
    losses = {float(record.parameters["lr"]): record.metrics["loss"] for record in read_ledger(folder)}
    return Search(run.wall_seconds - report_seconds(run), losses)


def _other(scratch: Path, words: Sequence[str], count: int) -> Search:
    name, *options = words
    file = scratch / "losses.json"
    run = process([_SCRIPTS / f"with_{name}.py", str(count), file, *options])
    return Search(run.wall_seconds, taken(file))


def _overhead(scratch: Path, trials: int) -> None:
    """Prints the time from one trial's end to the next one's, of a program that does nothing."""
    between = in_turn(
        {
            "trialrun": lambda: _ends_apart(scratch / "idle", trials),
            "plain": lambda: _plain(scratch / "reports.jsonl", trials),
        },
        _IDLE_ROUNDS,
    )
    print(f"The runner: a program that does nothing but report, {trials} trials, one at a time")
    line("per trial", f"{1000 * median(between['trialrun']):.1f} ms", "bar 50 ms, at most")
    line("per start of the same command in a plain loop", f"{1000 * median(between['plain']):.1f} ms")


def _ends_apart(folder: Path, count: int) -> float:
    """Seconds from a trial's end to the next one's, on average."""
    process(["-m", "trainer", "run", _search(folder, _IDLE, count), *_options(folder)])
    ends = [record.finished_at for record in read_ledger(folder)]
    return (max(ends) - min(ends)) / 1000 / (len(ends) - 1)


def _plain(reports: Path, count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        subprocess.run(_IDLE, env=os.environ | {"TRIALRUN_REPORTS": str(reports)}, check=True)
    return (time.perf_counter() - begun) / count


def _search(folder: Path, command: Sequence[str], count: int) -> Path:
    """A file for a search over learning rates; beside the run's folder, for that is made anew."""
    document = {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "HyperparamSearch",
        "metadata": {"name": folder.name},
        "spec": {
            "objective": {"metric": "loss", "direction": "Minimize"},
            "parameters": [{"name": "lr", "choices": rates(count)}],
            "program": {"command": list(command), "workingDirectory": str(_SCRIPTS)},
        },
    }
    file = folder.with_suffix(".yaml")
    file.write_text(json.dumps(document))
    return file


def _options(folder: Path) -> list[str | Path]:
    return ["--jobs", "1", "--fresh", "--out", folder]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=int, nargs="?", default=TRIALS)
    main(parser.parse_args().trials)
