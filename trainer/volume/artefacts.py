"""Fetches what a cluster's trials left on the output volume into a folder like a local run's."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from trainer.experiment.errors import UserError
from trainer.experiment.pod import Pod
from trainer.experiment.record import Record, latest
from trainer.experiment.spec import Experiment
from trainer.volume.copy import opened
from trainer.volume.pod import trainer_image

TRIALS = "trials"
_PROGRAM_FILES = "files"  # of a trial's folder: what a program leaves there
_CONFIG = "config.json"  # a folder of our trainer that has it holds the whole of one run
_ATTEMPT = ".attempt"  # in a trial's folder: whose files were fetched


def fetch_artefacts(experiment: Experiment, records: Sequence[Record], folder: Path, image: str | None = None) -> int:
    """Brings what the attempts that count left to `folder`/trials/ID; returns how many trials that were.

    What is there already is not fetched again. Without an output claim there is nothing to bring. `image` is what the
    pod that copies runs; None finds one.

    Raises:
        UserError: the volume can't be read; nothing that was there is lost.
    """
    claim, uid = experiment.spec.pod.output_claim, experiment.metadata.uid
    if claim is None or uid is None:
        return 0
    trials = folder / TRIALS
    wanted = {each.id: each.attempt for each in latest(records).values() if not _is_here(trials / each.id, each)}
    if not wanted:
        return 0
    into = "" if experiment.spec.program is None else f"/{_PROGRAM_FILES}"
    root = f"{experiment.name}-{uid[:8]}"
    trials.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=folder) as arrived:
        with opened(claim, experiment.metadata.namespace, _copying(experiment, image)) as volume:
            folders = {f"{trial}{into}": f"{root}/{trial}/{attempt}" for trial, attempt in wanted.items()}
            volume.take(folders, Path(arrived))
        brought = len(list(Path(arrived).iterdir()))
        for trial, attempt in wanted.items():  # those that left nothing are not asked for again either
            there = Path(arrived) / trial
            there.mkdir(exist_ok=True)
            if not (there / _CONFIG).exists():
                (there / _ATTEMPT).write_text(f"{attempt}\n", encoding="utf-8")
            shutil.rmtree(trials / trial, ignore_errors=True)
            there.rename(trials / trial)
    return brought


def _is_here(folder: Path, record: Record) -> bool:
    if (folder / _CONFIG).exists():
        return True
    mark = folder / _ATTEMPT
    return mark.exists() and mark.read_text(encoding="utf-8") == f"{record.attempt}\n"


def _copying(experiment: Experiment, image: str | None) -> Pod:
    """How the pod that copies is made. It needs Python, which a program's own image may lack."""
    pod = experiment.spec.pod
    if image is not None:
        return pod.model_copy(update={"image": image})
    if pod.image is not None and experiment.spec.program is None:
        return pod
    try:
        return pod.model_copy(update={"image": trainer_image()})
    except UserError:
        if pod.image is None:
            raise
        return pod
