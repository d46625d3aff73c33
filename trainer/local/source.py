"""Reads a run that a command names: the folder of one here, or an experiment on a cluster."""

from pathlib import Path

from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.spec import Experiment
from trainer.kubectl import read_experiment, reference
from trainer.local.folder import stored_experiment
from trainer.local.ledger import read_entries


def read_source(text: str, namespace: str | None = None) -> tuple[Experiment, Entries]:
    """The experiment and its ledger.

    Raises:
        UserError: there is none, or it can't be read.
    """
    wanted = reference(text, namespace)
    if wanted is not None:
        return read_experiment(wanted)
    folder = Path(text)
    if not folder.is_dir():
        raise UserError(
            f"{text}: must be a run's folder, such as runs/my-search, or hps/NAME or sct/NAME on a cluster"
        )
    return stored_experiment(folder), read_entries(folder)
