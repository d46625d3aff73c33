"""Cells on this machine: limits that hold, memory measured where it is limited, outcomes told by evidence."""

import json
from pathlib import Path

import numpy as np
import pytest

from eventually import eventually
from local.cellruns import records_of, scale_test
from local.cli import alive, descendants, kill, start, trainer
from trainer.cgroup import cgroup_factory
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Memory, Record
from trainer.local import cells
from trainer.local.ledger import read_ledger

MIB = 2**20
SAMPLE_BYTES = 60 * 5 * 4 + 4


def only(record: Record) -> Memory:
    (memory,) = record.memory
    assert memory is not None
    return memory


def above_floor(record: Record) -> int:
    floor = only(record).counted_floor
    assert floor is not None
    return only(record).counted_peak - floor


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """1x, 100x, 200x and 300x of 1 MB in memory, 128 MiB above the floor; held to it by what this machine allows."""
    test = scale_test([1, 100, 200, 300], cell={"memoryAboveFloor": "128Mi", "deadlineSeconds": 120})
    return records_of(test, tmp_path_factory.mktemp("held"))


@pytest.mark.slow
def test_a_cell_that_fits_passes_the_next_runs_out_of_memory_and_larger_ones_are_skipped(held: list[Record]) -> None:
    assert [record.outcome for record in held] == ["Succeeded", "Succeeded", "HostOOM", "Skipped"]
    assert held[3].error == "200x with 1 worker ended as HostOOM"
    assert held[3].memory == ()


@pytest.mark.slow
def test_the_peak_above_the_floor_is_what_the_samples_take(held: list[Record]) -> None:
    assert held[1].dataset_bytes == held[1].samples * SAMPLE_BYTES == 845 * 100 * SAMPLE_BYTES
    assert 0.8 * held[1].dataset_bytes < above_floor(held[1]) < 1.2 * held[1].dataset_bytes
    # Resident memory counts libraries too, of which training touches more: the small cell takes as many.
    resident = only(held[1]).peak_bytes - only(held[0]).peak_bytes
    assert 0.8 * 99 / 100 * held[1].dataset_bytes < resident < 1.2 * 99 / 100 * held[1].dataset_bytes
    assert only(held[1]).mean_bytes < only(held[1]).peak_bytes


@pytest.mark.slow
def test_a_cell_that_was_killed_for_memory_leaves_its_last_figures_and_the_evidence(held: list[Record]) -> None:
    killed = held[2]
    limit = only(killed).limit
    assert limit is not None
    assert limit.kept_by == ("Cgroup" if cgroup_factory() else "Watchdog")
    assert killed.exit_code == -9
    assert killed.evidence["signal"] == 9
    assert killed.evidence["limitBytes"] == limit.bytes
    assert killed.evidence.get("oomKills", 0) or killed.evidence["residentBytes"]
    assert only(killed).counted_peak >= 0.9 * limit.bytes
    assert killed.dataset_bytes == 845 * 200 * SAMPLE_BYTES
    assert killed.error.startswith("killed by the ")
    assert killed.seconds.total > killed.seconds.start > 0
    assert killed.seconds.train > 0


@pytest.mark.slow
def test_all_cells_have_the_same_limit_so_much_above_the_measured_floor(held: list[Record]) -> None:
    limits = {limit.bytes for record in held[:3] if (limit := only(record).limit) is not None}
    assert len(limits) == 1
    for record in held[:3]:
        floor = only(record).counted_floor
        assert floor is not None
        assert abs(limits.copy().pop() - floor - 128 * MIB) < 4 * MIB


@pytest.mark.slow
def test_without_a_cgroup_a_watchdog_keeps_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "cgroup_factory", lambda: None)
    test = scale_test([1, 200], cell={"memoryAboveFloor": "64Mi", "deadlineSeconds": 120})
    small, killed = records_of(test, tmp_path)
    assert (small.outcome, killed.outcome) == (Outcome.SUCCEEDED, Outcome.HOST_OOM)
    memory = only(killed)
    assert memory.cgroup is None
    assert memory.limit is not None
    assert memory.limit.kept_by == "Watchdog"
    assert killed.error.startswith("killed by the watchdog: ")
    assert int(killed.evidence["residentBytes"]) > memory.limit.bytes
    assert memory.counted_peak >= 0.9 * memory.limit.bytes
    assert "oomKills" not in killed.evidence


@pytest.mark.slow
def test_streaming_takes_no_more_memory_at_1000x(tmp_path: Path) -> None:
    test = scale_test(
        [1, 1000],
        cell={"deadlineSeconds": 600},
        training={"data": {"residency": "Streaming"}, "model": {"layers": 1}},
    )
    small, large = records_of(test, tmp_path)
    assert (small.outcome, large.outcome) == (Outcome.SUCCEEDED, Outcome.SUCCEEDED)
    assert large.samples == 845_000
    assert above_floor(large) - above_floor(small) <= 16 * MIB


@pytest.mark.slow
def test_a_deadline_counts_from_when_all_is_loaded_and_what_was_measured_is_kept(tmp_path: Path) -> None:
    test = scale_test([1], cell={"deadlineSeconds": 1}, training={"train": {"epochs": 1_000_000}})
    (record,) = records_of(test, tmp_path)
    assert record.outcome is Outcome.TIMED_OUT
    assert record.error.startswith("killed by its deadline after 1.")
    assert record.evidence["signal"] == 9
    assert float(record.evidence["secondsUntilKilled"]) >= 1.0
    assert record.seconds.start > 0
    assert record.seconds.train > 0
    assert record.samples == 845
    assert only(record).peak_bytes > 0


@pytest.mark.slow
def test_a_rank_that_raises_crashes_with_its_exit_code_and_its_error(tmp_path: Path) -> None:
    test = scale_test([1])
    (trial,) = expand(test)
    (tmp_path / "trials" / trial.id / "metrics.json" / "in-the-way").mkdir(parents=True)
    (record,) = records_of(test, tmp_path)
    assert (record.outcome, record.exit_code) == (Outcome.CRASHED, 1)
    assert "IsADirectoryError" in record.error
    assert record.evidence["exitCode"] == 1
    assert record.evidence.get("oomKills", 0) == 0


@pytest.mark.slow
def test_a_loss_that_one_rank_alone_makes_infinite_ends_all_as_diverged(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((64, 4, 2)).astype(np.float32)
    y = x[:, -1, 0].copy()
    y[1] = 3e38  # sample 1 lies in a lane of rank 1
    np.savez(tmp_path / "one.npz", X_train=x, y_train=y, X_test=x[:8], y_test=y[8:16])
    data = {
        "source": "npz",
        "path": str(tmp_path / "one.npz"),
        "window": 4,
        "columns": ["a", "b"],
        "normalize": "None",
    }
    test = scale_test([1], workers=(2,), training={"data": data, "train": {"batchSize": 16}})
    (record,) = records_of(test, tmp_path / "out")
    assert (record.outcome, record.exit_code) == (Outcome.DIVERGED, 66)
    assert "the training loss became" in record.error
    assert record.evidence["exitCode"] == 66
    assert [memory is not None for memory in record.memory] == [True, True]


@pytest.mark.slow
def test_more_ranks_than_cores_run_and_are_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.local.run.cores", lambda: 1)
    (alone, shared) = records_of(scale_test([1], workers=(1, 2)), tmp_path)
    assert [alone.outcome, shared.outcome] == [Outcome.SUCCEEDED] * 2
    assert [alone.oversubscribed, shared.oversubscribed] == [False, True]


FILE = """
apiVersion: trialrun.dev/v1alpha1
kind: ScaleTest
metadata: {name: scale}
spec:
  axes: {multipliers: [1]}
  cell: {%s}
  training:
    train: {epochs: 1000000}
"""


def test_a_limit_below_what_torch_needs_is_told_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "scale.yaml"
    file.write_text(FILE % "memoryLimit: 50Mi")
    refused = trainer("run", file, "--out", tmp_path / "out")
    assert refused.returncode == 2
    assert "spec.cell.memoryLimit: must be more than the" in refused.stderr
    assert "got 50Mi" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert read_ledger(tmp_path / "out") == []


@pytest.mark.slow
def test_a_killed_runner_leaves_no_process_and_the_next_start_removes_its_cgroups(tmp_path: Path) -> None:
    file = tmp_path / "scale.yaml"
    file.write_text(FILE % "deadlineSeconds: 600")
    runner = start("run", file, "--out", tmp_path / "out")
    report = tmp_path / "out" / "trials"
    # A report is there, and empty, an instant before it is written.
    last = json.loads(eventually(lambda: "".join(each.read_text() for each in report.glob("*/report-0.json"))))
    assert last["provisional"] is True
    family = descendants(runner.pid)
    assert family
    kill(runner)
    eventually(lambda: not alive(family), what="its processes are gone")
    # The kernel lets go of a process's cgroup a moment after the process is gone.
    eventually(lambda: not _swept(f"trialrun-{runner.pid}-*"), what="its cgroups are gone")


def _swept(pattern: str) -> list[Path]:
    """The cgroups of that name which are left when a runner starts."""
    cgroup_factory()  # as a start does
    return list(Path("/sys/fs/cgroup").glob(f"**/{pattern}"))
