"""The local runner's loop over a launcher that ends trials as a test says: it ends, and each is recorded once."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import RankReport, Record
from trainer.local.launcher import Event, RankEnded
from trainer.local.ledger import Ledger
from trainer.local.run import run
from trainer.scheduling.history import History
from trainer.scheduling.workload import Workload, workload
from unit.builders import START, Silent, an_experiment


class Scripted:
    """A launcher without processes: one of the trials that run ends whenever it is asked what happened."""

    start_seconds = 0.0

    def __init__(self, ends_as: Callable[[Trial], Outcome], seed: int) -> None:
        self.most_at_once = 0
        self._ends_as = ends_as
        self._rng = random.Random(seed)
        self._running: list[Trial] = []

    def await_ready(self, waits: object) -> None: ...

    def start(self, trial: Trial, folder: Path, told: Sequence[int] = (), until: int | None = None) -> None:  # noqa: ARG002
        self._running.append(trial)
        self.most_at_once = max(self.most_at_once, len(self._running))

    def kill(self, trial: Trial) -> None:
        raise AssertionError(f"{trial.id} has not run for long")

    def events(self, timeout: float) -> Iterator[Event]:  # noqa: ARG002
        assert self._running, "nothing runs, so nothing will happen"
        trial = self._running.pop(self._rng.randrange(len(self._running)))
        outcome = self._ends_as(trial)
        metrics = {"validMse": 1.0} if outcome is Outcome.SUCCEEDED else {}
        code = 0 if outcome is Outcome.SUCCEEDED else 1
        for rank in range(trial.workers):
            yield RankEnded(trial.id, RankExit(rank, code, RankReport(rank=rank, outcome=outcome, metrics=metrics)))


def ran(work: Workload, launcher: Scripted, folder: Path, jobs: int) -> list[Record]:
    with Ledger(folder) as ledger:
        return run(
            work,
            History(work, {}, START),
            folder=folder,
            jobs=jobs,
            ledger=ledger,
            launcher=launcher,
            progress=Silent(),  # type: ignore[arg-type]
        )


def a_scale_test(multipliers: list[int], workers: list[int]) -> Workload:
    return workload(an_experiment(kind="ScaleTest", axes={"multipliers": multipliers, "workers": workers}))


def test_a_run_ends_when_the_last_cells_need_not_run(tmp_path: Path) -> None:
    work = a_scale_test([1, 10, 50, 100], [1])
    launcher = Scripted(lambda trial: Outcome.SUCCEEDED if trial.index < 1 else Outcome.HOST_OOM, seed=0)
    records = ran(work, launcher, tmp_path, 1)
    assert [record.outcome for record in records] == ["Succeeded", "HostOOM", "Skipped", "Skipped"]


@given(st.integers(0, 2**32), st.integers(1, 4), st.lists(st.integers(1, 9), min_size=1, max_size=5, unique=True))
def test_every_cell_is_recorded_once_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, seed: int, jobs: int, multipliers: list[int]
) -> None:
    rng = random.Random(seed)
    work = a_scale_test(multipliers, [1, 2])
    fates = {trial.id: rng.choice([Outcome.SUCCEEDED, Outcome.HOST_OOM, Outcome.CRASHED]) for trial in work.trials}
    launcher = Scripted(lambda trial: fates[trial.id], seed)
    records = ran(work, launcher, tmp_path_factory.mktemp("run"), jobs)
    assert sorted(record.id for record in records) == sorted(trial.id for trial in work.trials)
    assert launcher.most_at_once <= jobs
    for record in records:
        smaller = [
            other
            for other in records
            if other.workers == record.workers
            and other.outcome is Outcome.HOST_OOM
            and other.parameters["data.multiplier"] < record.parameters["data.multiplier"]
        ]
        if record.outcome is Outcome.SKIPPED:
            assert smaller, "nothing is skipped without a reason"
        elif jobs == 1:
            assert record.outcome is fates[record.id]
