"""`fetch NAME`: a cluster experiment's ledger as a folder on this machine, with its summary and report."""

import argparse
import json
from pathlib import Path

from trainer.atomic import write_text
from trainer.commands.report import leave_report
from trainer.experiment import record, suggestion
from trainer.experiment.errors import UserError
from trainer.experiment.spec import Experiment
from trainer.kubectl import find, with_ledger
from trainer.local.folder import EXPERIMENT, occupied, stored_experiment
from trainer.local.ledger import NAME as LEDGER
from trainer.local.ledger import SUGGESTIONS, read_ledger
from trainer.volume.artefacts import fetch_artefacts


def main(options: argparse.Namespace) -> int:
    """Leaves what `run` would have left, artefacts where there is an output claim. Again, it brings what is new."""
    wanted, found = find(options.experiment, options.namespace)
    experiment, entries = with_ledger(wanted, found)
    # Not runs/NAME: there a local run of the same file leaves its results.
    folder: Path = options.folder or Path("runs") / f"{experiment.name}-cluster"
    with occupied(folder):
        _check(folder, experiment, wanted.text)
        write_text(folder / EXPERIMENT, json.dumps(experiment.document(sparse=True), indent=2) + "\n")
        write_text(folder / LEDGER, "".join(record.encode(each) + "\n" for each in entries.records))
        if entries.suggestions:
            lines = "".join(suggestion.encode(each) + "\n" for each in entries.suggestions)
            write_text(folder / SUGGESTIONS, lines)
        try:
            fetch_artefacts(experiment, entries.records, folder, options.image)
        finally:  # the records are worth a report also where the volume can't be read
            leave_report(folder, experiment, entries)
    return 0


def _check(folder: Path, experiment: Experiment, source: str) -> None:
    """Raises `UserError` where the folder holds other results, which fetching would replace."""
    if read_ledger(folder) and stored_experiment(folder).metadata.uid != experiment.metadata.uid:
        raise UserError(
            f"{folder}: holds results that are not those of {source}; name another folder, or delete this one"
        )
