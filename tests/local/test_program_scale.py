"""Scale tests of programs: what they are told, memory measured from outside, limits; and GPUs shared out."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from local.cli import trainer
from local.test_programs import REPORT, a_search, one, sh
from trainer.cgroup import cgroup_factory
from trainer.experiment.load import load
from trainer.experiment.record import Record
from trainer.experiment.spec import ScaleTest
from trainer.local import programs
from trainer.local.ledger import Ledger, read_ledger
from trainer.local.program_files import ProgramFiles
from trainer.local.programs import Programs
from trainer.local.run import now, run
from trainer.scheduling.history import History
from trainer.scheduling.workload import workload
from unit.builders import Silent

pytestmark = pytest.mark.slow
MIB = 2**20
HOLDS = """
import time, trialrun
trial = trialrun.trial(multiplier=1)
held = b"x" * (trial.parameters["multiplier"] << 20)
trial.report(0, megabytes=len(held) >> 20)
time.sleep(0.5)
"""


def a_test(folder: Path, multipliers: list[int], **spec: Any) -> Path:
    (folder / "hold.py").write_text(HOLDS)
    document = {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "ScaleTest",
        "metadata": {"name": "holds"},
        "spec": {"axes": {"multipliers": multipliers}, "program": {"command": ["python", "hold.py"]}} | spec,
    }
    file = folder / "scaletest.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def test_cells_are_told_their_multiplier_and_the_one_over_the_limit_ends_as_such(tmp_path: Path) -> None:
    file = a_test(tmp_path, [1, 50, 400, 800], cell={"memoryLimit": "200Mi"})
    done = trainer("run", file, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    small, large, killed, skipped = read_ledger(tmp_path / "out")
    assert [each.outcome for each in (small, large, killed, skipped)] == [
        "Succeeded",
        "Succeeded",
        "HostOOM",
        "Skipped",
    ]
    assert (small.metrics, large.metrics) == ({"megabytes": 1}, {"megabytes": 50})
    grown = peak(large) - peak(small)
    assert 45 * MIB < grown < 60 * MIB
    check_killed(killed, kept_by="Cgroup" if cgroup_factory() else "Watchdog")
    assert "HostOOM" in done.stderr


def test_without_cgroups_a_watchdog_keeps_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "cgroup_factory", lambda: None)
    file = a_test(tmp_path, [1, 400], cell={"memoryLimit": "200Mi"})
    (tmp_path / "hold.py").write_text(HOLDS.replace("sleep(0.5)", "sleep(2)"))
    experiment = load(file.read_text())
    assert isinstance(experiment, ScaleTest)
    assert experiment.spec.program is not None
    work = workload(experiment)
    out = tmp_path / "out"
    out.mkdir()
    files = ProgramFiles(experiment.spec.program, file)
    with Programs(experiment, files, 1, out / "log") as launcher, Ledger(out) as ledger:
        launcher.await_ready(print)
        history = History(work, {}, now())
        small, killed = run(
            work, history, folder=out, jobs=1, ledger=ledger, launcher=launcher, progress=Silent()
        )  # fmt: skip
    assert small.outcome == "Succeeded"
    check_killed(killed, kept_by="Watchdog")
    assert int(killed.evidence["residentBytes"]) > 200 * MIB


def check_killed(record: Record, kept_by: str) -> None:
    (memory,) = record.memory
    assert memory is not None
    assert memory.limit is not None
    assert (memory.limit.bytes, memory.limit.kept_by) == (200 * MIB, kept_by)
    assert record.outcome == "HostOOM"
    assert record.error.startswith("killed by the ")
    assert record.error.endswith("; its limit is 200 MiB")
    assert (record.evidence["limitBytes"], record.evidence["signal"]) == (200 * MIB, 9)


def peak(record: Record) -> int:
    (memory,) = record.memory
    assert memory is not None
    return memory.peak_bytes


def test_the_multiplier_stands_in_the_command_too_and_workers_are_told(tmp_path: Path) -> None:
    tells = f'echo "$1 $RANK/$WORLD_SIZE"; [ "$RANK" = 1 ] || {{ {REPORT} }}'
    program = {"command": ["sh", "-c", tells, "sh", "${parameters.multiplier}"]}
    file = a_test(tmp_path, [3], axes={"multipliers": [3], "workers": [1, 2]}, program=program)
    assert trainer("run", file, "--out", tmp_path / "out").returncode == 0
    told = sorted(log.read_text() for log in (tmp_path / "out").rglob("log-*.txt"))
    assert told == ["3 /\n", "3 0/2\n", "3 1/2\n"]


def test_a_program_that_says_that_memory_is_used_up_is_believed(tmp_path: Path) -> None:
    record = one(tmp_path, "echo 'numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8.00 EiB'; exit 1")
    assert record.outcome == "HostOOM"
    record = one(tmp_path / "gpu", "echo 'torch.OutOfMemoryError: CUDA out of memory.'; exit 1")
    assert record.outcome == "DeviceOOM"


def test_trials_that_run_at_once_share_the_gpus_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,GPU-5,7,8")
    script = f'echo "$CUDA_VISIBLE_DEVICES"; sleep 1; {REPORT}'
    file = a_search(tmp_path, sh(script), parameters=[{"name": "x", "choices": [1, 2, 3, 4]}])
    assert trainer("run", file, "--out", tmp_path / "out", "--jobs", "2").returncode == 0
    records = sorted(read_ledger(tmp_path / "out"), key=lambda record: record.started_at)
    seen = [(tmp_path / "out/trials" / record.id / "log-0.txt").read_text().strip() for record in records]
    assert set(seen) == {"0,1", "GPU-5,7"}
    assert seen[0] != seen[1]
    given = {"program": {"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "8"}]}}
    assert trainer("run", a_search(tmp_path / "given", sh(script), **given), "--out", tmp_path / "b").returncode == 0
    assert {log.read_text() for log in (tmp_path / "b").rglob("log-0.txt")} == {"8\n"}


def test_a_floor_that_only_a_cluster_measures_is_refused_here(tmp_path: Path) -> None:
    file = a_test(tmp_path, [1, 2], cell={"memoryAboveFloor": "20Mi"})
    done = trainer("run", file, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "spec.cell.memoryAboveFloor: must be left out here with a program" in done.stderr
    assert "got 20Mi; give memoryLimit" in done.stderr
