"""What the local runner adds to the training itself, and how well it fills two slots."""

import tempfile
from pathlib import Path

from benchmarks.timing import Run, in_turn, line, median, process, ratio
from trainer.experiment.record import Record
from trainer.local.ledger import read_ledger

ROUNDS = 5


def main() -> None:
    """Prints the overhead per trial of examples/search.yaml and the cost of running two trials at a time."""
    with tempfile.TemporaryDirectory() as scratch:
        search = Path(scratch) / "search.yaml"
        # Twice the trials: the last one, which nothing can run beside, weighs half.
        search.write_text(Path("examples/search.yaml").read_text().replace("repeats: 1", "repeats: 2"))
        measured = in_turn(
            {f"jobs {jobs}": lambda jobs=jobs: _search(search, jobs) for jobs in (1, 2)},  # type: ignore[misc]
            ROUNDS,
        )
    one, two = measured["jobs 1"], measured["jobs 2"]
    print("The runner: examples/search.yaml with 2 repeats, 36 trials")
    overhead = [(_span(records) - sum(r.seconds.train for r in records)) / len(records) for _, records in one]
    line("beyond training, per trial", f"{1000 * median(overhead):.0f} ms", "at most 50 ms")
    cpu = ratio([run.cpu_seconds for run, _ in two], [run.cpu_seconds for run, _ in one])
    line("CPU seconds, --jobs 2 / --jobs 1", f"{cpu:.2f}x", "at most 1.15x")
    busy = [sum(r.seconds.total for r in records) / (2 * _span(records)) for _, records in two]
    line("slots busy with --jobs 2", f"{median(busy):.1%}", "at least 95%")
    sooner = ratio([_span(records) for _, records in one], [_span(records) for _, records in two])
    line("trials end sooner with --jobs 2", f"{sooner:.2f}x")


def _search(search: Path, jobs: int) -> tuple[Run, list[Record]]:
    folder = search.parent / f"jobs-{jobs}"
    run = process(["-m", "trainer", "run", search, "--jobs", str(jobs), "--fresh", "--out", folder])
    return run, read_ledger(folder)


def _span(records: list[Record]) -> float:
    """Seconds from the first trial's start to the last one's end."""
    return (max(r.finished_at for r in records) - min(r.started_at for r in records)) / 1000
