"""Fetches what a cluster's trials left on the output volume into a folder like a local run's."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from trainer.experiment.record import Record, latest
from trainer.experiment.spec import Experiment
from trainer.volume.copy import opened
from trainer.volume.pod import trainer_image

TRIALS = "trials"
_CONFIG = "config.json"  # a folder that has it holds the whole of one run


def fetch_artefacts(experiment: Experiment, records: Sequence[Record], folder: Path) -> int:
    """Brings what the attempts that count left to `folder`/trials/ID; returns how many trials that were.

    What is there already is not fetched again: an attempt that succeeded is a trial's last. Without an output claim
    there is nothing to bring.

    Raises:
        UserError: the volume can't be read; nothing that was there is lost.
    """
    pod = experiment.spec.pod
    if pod.output_claim is None or experiment.metadata.uid is None:
        return 0
    root = f"{experiment.name}-{experiment.metadata.uid[:8]}"
    wanted = {
        record.id: f"{root}/{record.id}/{record.attempt}"
        for record in latest(records).values()
        if not (folder / TRIALS / record.id / _CONFIG).exists()
    }
    if not wanted:
        return 0
    chosen = pod if pod.image is not None else pod.model_copy(update={"image": trainer_image()})
    (folder / TRIALS).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=folder) as arrived:
        with opened(pod.output_claim, experiment.metadata.namespace, chosen) as volume:
            volume.take(wanted, Path(arrived))
        brought = sorted(Path(arrived).iterdir())
        for each in brought:
            shutil.rmtree(folder / TRIALS / each.name, ignore_errors=True)
            each.rename(folder / TRIALS / each.name)
    return len(brought)
