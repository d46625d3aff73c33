"""A scale test's tables and charts: every cell, what failed and why, the frontier, the scaling."""

import json
from pathlib import Path

from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Charged, Memory, MemoryLimit, Record, Seconds
from trainer.experiment.summary import summarize
from trainer.report.page import render
from trainer.report.results import Results
from trainer.report.sections import experiment_page
from trainer.report.text import closing
from unit.builders import a_record, an_experiment
from unit.test_report_page import Page

MIB = 2**20
EXPERIMENT = an_experiment(kind="ScaleTest", name="scale", axes={"multipliers": [1, 10, 50], "workers": [1, 2]})
TRIALS = expand(EXPERIMENT)


def ledger() -> list[Record]:
    """1x and 10x pass; 50x with one worker is killed, with two it passes oversubscribed."""
    records = []
    for trial in TRIALS:
        size = trial.training.data.multiplier
        peak = Charged(floor_bytes=300 * MIB, peak_bytes=(300 + 2 * size // trial.workers) * MIB, mean_bytes=1)
        limit = MemoryLimit(bytes=364 * MIB, kept_by="Cgroup")
        memory = Memory(peak_bytes=1, mean_bytes=1, floor_bytes=1, cgroup=peak, limit=limit)
        record = a_record(trial, memory=(memory,) * trial.workers, samples=100 * size, epochs=1)
        spent = {"seconds": Seconds(start=1.0, train=0.5 * size / trial.workers, total=2.0 + size)}
        records.append(record.model_copy(update=spent | {"oversubscribed": size == 50}))
    killed = {"outcome": Outcome.HOST_OOM, "error": "killed by the kernel for want of memory"}
    records[2] = records[2].model_copy(update=killed)
    return records


def results() -> Results:
    return Results(EXPERIMENT, TRIALS, ledger(), summarize(EXPERIMENT, TRIALS, ledger()))


def test_the_terminal_shows_each_cell_the_frontier_and_the_scaling() -> None:
    said = closing(results(), Path("runs/scale"))
    rows = [" ".join(line.split()) for line in said.splitlines()]
    assert "size workers outcome time samples/s peak per rank floor limit" in rows
    assert "10x 1 Succeeded 11.0 s 200 320 MiB 300 MiB 364 MiB" in rows
    assert "50x 1 HostOOM 51.0 s – 400 MiB 300 MiB 364 MiB" in rows
    assert "The largest training set that succeeded: 10x with 1 worker and 50x with 2 workers." in rows
    assert "10x 2 2500 µs 1.00× 2.00× 100%" in rows
    assert "No speedup of 50x with 2 workers: oversubscribed: there were more threads than cores." in rows
    assert "cell 2 killed by the kernel for want of memory" in rows


def test_the_page_draws_time_and_memory_against_size_and_says_what_failed_where(tmp_path: Path) -> None:
    page = Page(render(experiment_page(results(), tmp_path)))
    assert list(page.charts) == ["scale-time", "scale-memory", "timeline", "time"]
    for name in ("scale-time", "scale-memory"):
        drawn = json.dumps(page.charts[name])
        for label in ("1 worker", "2 workers", "failed", "HostOOM", "50x"):
            assert label in drawn
    one = page.charts["scale-time"]["data"][0]
    assert (one["x"], one["y"]) == ([1, 10, 50], [2.0, 11.0, 51.0])
    (limit,) = page.charts["scale-memory"]["layout"]["shapes"]
    assert (limit["y0"], limit["y1"]) == (64, 64)
    assert "A cross is a cell that failed, where it ended: 50x with 1 worker (HostOOM)." in page.words
    assert "The limit is 64 MiB above the floor." in page.words
    assert "size workers time per sample growth speedup efficiency" in page.words


def test_a_scale_test_that_has_not_run_has_a_page_without_charts(tmp_path: Path) -> None:
    nothing = Results(EXPERIMENT, TRIALS, [], summarize(EXPERIMENT, TRIALS, []))
    page = Page(render(experiment_page(nothing, tmp_path)))
    assert not page.charts
    assert "No cell has succeeded." in page.words
    assert "No cell has measured it." in page.words
