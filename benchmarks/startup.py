"""What passes before a trial's first step, beside importing PyTorch, which no trial can do without."""

import json
import tempfile
from pathlib import Path

from benchmarks.timing import in_turn, line, median, process, ratio

ROUNDS = 7


def main() -> None:
    """Prints seconds from a process's start: of one that trains one trial, as in a pod, and of a search's runner."""
    calls = {"import torch": _import, "one trial": _trial, "a search": _search}
    taken = in_turn(calls, ROUNDS)
    print("From the start of a process to the first step of training")
    for name, seconds in taken.items():
        line(f"seconds, {name}", f"{median(seconds):.2f}")
        if name != "import torch":
            bar = "at most 1.5x" if name == "one trial" else ""
            line("  times as long as importing PyTorch", f"{ratio(seconds, taken['import torch']):.2f}x", bar)


def _import() -> float:
    return process(["-c", "import os, torch; os._exit(0)"]).wall_seconds


def _trial() -> float:
    told = json.loads(process(["-m", "trainer", "train", "examples/search.yaml", "--json"]).output)
    return float(told["seconds"]["start"] + told["seconds"]["data"])


def _search() -> float:
    """Until the first trial of a search trains: its process's start and data come after the runner's own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "out"
        run = process(["-m", "trainer", "run", "examples/search.yaml", "--out", folder])
        records = [json.loads(each) for each in (folder / "results.jsonl").read_text().splitlines()]
        trained = (records[-1]["finishedAt"] - records[0]["startedAt"]) / 1000
        first = records[0]["seconds"]
        ended = float(run.output.rpartition("(")[2].partition(" s)")[0])  # the report's
        return run.wall_seconds - ended - trained + float(first["start"] + first["data"])


if __name__ == "__main__":
    main()
