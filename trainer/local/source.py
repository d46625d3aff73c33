"""Reads a run that a command names: the folder of one here, or an experiment on a cluster."""

import re
from pathlib import Path

from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.section import NAME
from trainer.experiment.spec import Experiment
from trainer.kubectl import find, read_experiment, reference, with_ledger
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


def read_named(text: str, namespace: str | None) -> tuple[Experiment, Entries]:
    """What `read_source` reads, or of a bare name that is no folder's the experiment on the cluster.

    Raises:
        UserError: there is none, or it can't be read.
    """
    if Path(text).is_dir() or not re.fullmatch(NAME, text):
        return read_source(text, namespace)
    try:
        wanted, found = find(text, namespace)
    except UserError as error:
        raise UserError(f"{error}; and there is no folder {text} here") from error
    return with_ledger(wanted, found)


def folder_of(text: str) -> Path | None:
    """The folder here that `read_named` would read; None where it would ask a cluster."""
    folder = Path(text)
    return folder if reference(text, None) is None and folder.is_dir() else None
