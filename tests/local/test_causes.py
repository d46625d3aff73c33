"""What a rank on this machine leaves behind, and the cause that its trial's record then has."""

import json
from pathlib import Path

import numpy as np
import pytest

from local.cli import trainer
from trainer.cgroup import machine_memory
from trainer.experiment.judge import judge
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Memory, MemoryLimit, RankReport, encode_report
from trainer.local import cells
from trainer.local.ledger import read_ledger
from trainer.local.processes import LOG, REPORT, rank_exit

FLAT = """
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {{name: flat}}
spec:
  objective: {{metric: {metric}}}
  parameters: [{{name: train.learningRate, choices: [0.001]}}]
  training:
    data: {{source: npz, path: flat.npz, window: 3, columns: [a, b], task: {task}}}
    model: {{hiddenSize: 4, layers: 1}}
    train: {{epochs: 1}}
"""
GOOD = encode_report(RankReport(metrics={"validMse": 0.5}))


def left(folder: Path, *, report: bytes | None = None, log: str | None = None) -> Path:
    if report is not None:
        (folder / REPORT.format(rank=0)).write_bytes(report)
    if log is not None:
        (folder / LOG.format(rank=0)).write_text(log)
    return folder


@pytest.mark.parametrize(
    ("report", "log", "code", "outcome", "error"),
    [
        (GOOD, "noise", 0, Outcome.SUCCEEDED, ""),
        (None, None, 0, Outcome.METRICS_MISSING, "rank 0 ended without a report"),
        (b'{"metrics":{"validMse":NaN}}', "noise", 0, Outcome.DIVERGED, "the objective validMse was reported as nan"),
        (b'{"metrics":{"validMse":1},"note":1}', "noise", 0, Outcome.METRICS_MISSING,
         "rank 0 left what is not a report: note: no such field, got 1"),
        (b'{"metrics":{"validMse":1}', "noise", 0, Outcome.METRICS_MISSING,
         "rank 0 left what is not a report: must be JSON"),
        (b"\xff\xfe", None, 0, Outcome.METRICS_MISSING, "rank 0 left what is not a report: must be JSON"),
        (b'{"outcome":"Diverged","error":"the loss became nan","note":1}', "noise", 66, Outcome.DIVERGED,
         "the loss became nan; it left what is not a report: note: no such field, got 1"),
        (None, None, 3, Outcome.CRASHED, "ended with exit code 3 without a report"),
        (None, "", 255, Outcome.CRASHED, "ended with exit code 255 without a report"),
        (None, "one\n\ntwo\n", 193, Outcome.CRASHED,
         "ended with exit code 193 without a report; its log ends: two"),
        (None, "one\n", -9, Outcome.CRASHED, "was killed by signal 9 without a report; its log ends: one"),
        (GOOD, "Segmentation fault\n", -11, Outcome.CRASHED,
         "reported success, then was killed by signal 11; its log ends: Segmentation fault"),
        (encode_report(RankReport(provisional=True)), "MemoryError\n", 1, Outcome.HOST_OOM,
         "ended with exit code 1 without a report; its log ends: MemoryError"),
        (b"{", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED\n", 1, Outcome.DEVICE_OOM,
         "its log ends: cuDNN error: CUDNN_STATUS_ALLOC_FAILED; it left what is not a report"),
    ],
)  # fmt: skip
def test_what_a_rank_leaves_becomes_the_cause(
    report: bytes | None, log: str | None, code: int, outcome: Outcome, error: str, tmp_path: Path
) -> None:
    verdict = judge([rank_exit(left(tmp_path, report=report, log=log), 0, code)], "validMse")
    assert verdict.outcome is outcome
    assert error in verdict.error


def test_a_report_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / REPORT.format(rank=0)).mkdir()
    assert "rank 0 left what is not readable: " in judge([rank_exit(tmp_path, 0, 0)], "validMse").error


def flat(folder: Path, metric: str, task: str = "Regression") -> Path:
    """A search on data whose targets vary only where they are trained on."""
    random = np.random.default_rng(0)
    kind = np.float32 if task == "Regression" else np.int64
    arrays = {}
    for part, count in (("train", 32), ("val", 8), ("test", 8)):
        arrays[f"X_{part}"] = random.normal(size=(count, 3, 2)).astype(np.float32)
        arrays[f"y_{part}"] = (np.arange(count) % 2 if part == "train" else np.zeros(count)).astype(kind)
    np.savez(folder / "flat.npz", **arrays)
    path = folder / "search.yaml"
    path.write_text(FLAT.format(metric=metric, task=task))
    return path


@pytest.mark.slow
def test_a_constant_validation_target_leaves_r2_out_with_its_reason_and_the_others_stand(tmp_path: Path) -> None:
    done = trainer("run", flat(tmp_path, "validMse"), "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (record,) = read_ledger(tmp_path / "out")
    assert record.metrics.keys() >= {"validMse", "validMae", "testMse", "testMae"}
    assert record.metrics.keys().isdisjoint({"validR2", "testR2"})
    for name, part in (("validR2", "validation"), ("testR2", "test")):
        assert str(record.evidence[name]).startswith(f"undefined: the {part} target is constant")
    (document,) = (json.loads(path.read_text()) for path in (tmp_path / "out").glob("trials/*/metrics.json"))
    assert document["undefined"].keys() == {"validR2", "testR2"}
    assert document["metrics"].keys() == record.metrics.keys()
    assert "undefined: the validation target is constant" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "task", "words", "others"),
    [
        ("validR2", "Regression", "the validation target is constant", "validMse, validMae"),
        ("validF1", "Classification", "class 1 does not occur among the validation samples",
         "validLogLoss, validAccuracy"),
    ],
)  # fmt: skip
def test_an_objective_without_a_value_says_why_and_what_has_one(
    objective: str, task: str, words: str, others: str, tmp_path: Path
) -> None:
    done = trainer("run", flat(tmp_path, objective, task), "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 1
    (record,) = read_ledger(tmp_path / "out")
    assert record.outcome is Outcome.METRICS_MISSING
    assert record.error.startswith(f"the objective {objective} has no value: {words}")
    assert record.error.endswith(f"of this data choose {others}")
    assert record.metrics.keys() >= set(others.split(", "))
    assert f"the objective {objective} has no value: {words}" in done.stderr


def rank_of(tmp_path: Path, limit: MemoryLimit | None) -> cells._Rank:
    return cells._Rank("trial", 0, tmp_path, None, -1, None, limit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limit", "around", "words", "evidence"),
    [
        (MemoryLimit(bytes=64 * 2**20, kept_by="Cgroup"), None, "its limit is 64 MiB", {}),
        (None, 512 * 2**20, "the file sets no limit, and the cgroup that this runner is in may use 512 MiB",
         {"boundBytes": 512 * 2**20, "boundBy": "Cgroup"}),
        (None, None, "the file sets no limit, and this machine has ",
         {"boundBytes": machine_memory(), "boundBy": "Machine"}),
    ],
)  # fmt: skip
def test_a_cell_that_ran_out_of_memory_says_what_bounds_it(
    limit: MemoryLimit | None,
    around: int | None,
    words: str,
    evidence: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cells, "memory_bound", lambda: around)
    report = RankReport(
        outcome=Outcome.HOST_OOM, error="MemoryError: no", memory=Memory(peak_bytes=7, mean_bytes=5, limit=limit)
    )
    left(tmp_path, report=encode_report(report))
    found = cells._exit(rank_of(tmp_path, limit), 68)
    verdict = judge([found], None)
    assert (verdict.outcome, verdict.evidence.items() >= evidence.items()) == (Outcome.HOST_OOM, True)
    assert verdict.error.startswith("MemoryError: no; " + words)
    assert "none" not in verdict.error
