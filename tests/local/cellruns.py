"""Runs the cells of a scale test in this process, as `run` does, and gives their records."""

from pathlib import Path
from typing import Any

from trainer.data.build import prepare
from trainer.data.cache import default_cache
from trainer.experiment.record import Record
from trainer.experiment.spec import ScaleTest
from trainer.local.cells import Cells
from trainer.local.ledger import Ledger, read_ledger
from trainer.local.run import now, run
from trainer.scheduling.history import History
from trainer.scheduling.workload import workload
from unit.builders import Silent, an_experiment


def scale_test(multipliers: list[int], *, workers: tuple[int, ...] = (1,), **spec: Any) -> ScaleTest:
    """Cells that train an MLP on the default data for one epoch, in few steps."""
    training = {"data": {}, "train": {"epochs": 1, "batchSize": 512}}
    for section, fields in spec.pop("training", {}).items():
        training[section] = {**training.get(section, {}), **fields}
    axes = {"multipliers": multipliers, "workers": list(workers)}
    test = an_experiment(kind="ScaleTest", name="scale", axes=axes, training=training, **spec)
    assert isinstance(test, ScaleTest)
    return test


def records_of(test: ScaleTest, folder: Path) -> list[Record]:
    """The ledger of running it in `folder`."""
    folder.mkdir(exist_ok=True)
    work = workload(test)
    prepare(test.spec.training.data, default_cache())
    with (
        Ledger(folder) as ledger,
        Cells(test.spec.cell, work.trials, default_cache(), folder / "fork-server.log") as launcher,
    ):
        history = History(work, {}, now())
        launcher.await_ready(Silent().waits)
        run(
            work,
            history,
            folder=folder,
            jobs=1,
            ledger=ledger,
            launcher=launcher,
            progress=Silent(),
        )
    return read_ledger(folder)
