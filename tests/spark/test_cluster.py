"""Trials on a cluster of Spark's: other processes, another folder, a master that hands out executors."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventually import eventually
from local.cli import ROOT
from spark.cluster import standalone
from spark.runs import FOREVER, finish, run, settings, start, without_times, write_search
from trainer.experiment.outcome import Outcome
from trainer.local.ledger import read_ledger
from trainer.report.progress import ending


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The settings of a user whose master is a cluster of two cores."""
    folder = tmp_path_factory.mktemp("cluster")
    with standalone(folder, cores=2) as master:
        yield settings(
            folder / "conf",
            master=master,
            driver_host="127.0.0.1",
            driver_bindAddress="127.0.0.1",
            executor_memory="512m",
        )


def test_a_cluster_gives_the_ledger_and_the_artefacts_of_the_local_launcher(conf: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("Date,Open,High,Low,Close,Volume\n" + "".join(row(day) for day in range(200)))
    search = write_search(tmp_path, epochs=[2], workers=2)
    search.write_text(search.read_text().replace("source: synthetic, rows: 200", "source: csv, path: rows.csv"))
    # `path` begins where the command runs: the executors run elsewhere.
    for launcher in ("local", "spark"):
        ended = run(search, tmp_path / launcher, launcher=launcher, settings=conf, cwd=tmp_path, PYTHONPATH=str(ROOT))
        assert ended.returncode == 0
    assert without_times(tmp_path / "spark") == without_times(tmp_path / "local")
    (weights,) = (tmp_path / "spark" / "trials").glob("*/weights.safetensors")
    assert weights.read_bytes() == (tmp_path / "local" / weights.relative_to(tmp_path / "spark")).read_bytes()


def test_slots_that_are_not_there_are_said_while_they_are_waited_for(conf: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start(write_search(tmp_path, epochs=[2], workers=3), out, settings=conf)
    assert runner.stderr is not None
    for line in runner.stderr:
        # The executors have to come first, and then have the two cores that the cluster has.
        if "together have 2" in line:
            break
    assert "waiting for trial 0: 3 free slots of Spark's at once, one for each rank" in line
    assert "give it more executors or cores" in line
    runner.send_signal(signal.SIGINT)
    said = finish(runner)
    assert runner.returncode == 130
    assert "0 of 1 trials are kept" in said


def row(day: int) -> str:
    price = 100 + (day * 7919 % 100) / 100
    return (
        f"2024-{day // 28 + 1:02d}-{day % 28 + 1:02d},{price},{price + 1},{price - 1},{price + 0.25},{1000 + day}\n"
    )


def test_a_lost_executor_is_a_lost_node(conf: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    runner = start(write_search(tmp_path, epochs=[FOREVER]), out, settings=conf)
    eventually(lambda: [*out.glob("trials/*/log-0.txt")], what="a trial runs")
    os.kill(eventually(executor, what="there is one executor"), signal.SIGKILL)
    finish(runner)
    (lost,) = read_ledger(out)
    assert lost.outcome is Outcome.NODE_LOST
    assert lost.error.startswith("Spark: ExecutorLostFailure (executor "), "what is said of every job is left out"
    assert "Reason: " in lost.error
    assert ending(lost, None).count(lost.error) == 1, "the reason is shown whole"
    assert "\tat " not in lost.error  # no stack of Java's


def executor() -> int | None:
    """The process of the cluster's executor, once that of the application before is gone."""
    found = [
        int(place.parent.name)
        for place in Path("/proc").glob("[0-9]*/cmdline")
        if b"CoarseGrainedExecutorBackend" in place.read_bytes()
    ]
    return found[0] if len(found) == 1 else None
