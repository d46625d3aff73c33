"""The folder of a run: whose it is, that one runner has it at a time, and which experiment it holds."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.atomic import write_text
from trainer.experiment.best import direction
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.load import load
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.local.ledger import NAME as LEDGER
from trainer.local.ledger import read_ledger

EXPERIMENT = "experiment.json"
SUMMARY = "summary.json"
TRIALS = "trials"
_LOCK = ".lock"


def trial_folder(folder: Path, trial: Trial) -> Path:
    """Where a trial leaves its artefacts. Named by id alone: an index moves when choices are added."""
    return folder / TRIALS / trial.id


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Keeps every other runner out of `folder`, which is made if need be.

    Raises:
        UserError: it can't be written to, or another runner has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}; name another folder with --out") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: another run is using it; wait for it to end, or name another folder with --out"
            ) from error
        yield
    finally:
        os.close(lock)


def settle(folder: Path, experiment: Experiment, *, fresh: bool) -> None:
    """Makes `folder` hold this experiment. Results of the same one stay; `fresh` throws them away.

    Raises:
        UserError: the folder holds results of an experiment with another objective or training.
    """
    stored = folder / EXPERIMENT
    if fresh:
        for name in (LEDGER, SUMMARY, EXPERIMENT, "report.html", "statistics.json"):
            (folder / name).unlink(missing_ok=True)
        for name in (TRIALS, "statistics"):
            shutil.rmtree(folder / name, ignore_errors=True)
    elif stored.exists() and read_ledger(folder):
        _same(folder, load(json.loads(stored.read_text(encoding="utf-8"))), experiment)
    write_text(stored, json.dumps(experiment.document(sparse=True), indent=2) + "\n")


def stored_experiment(folder: Path) -> Experiment:
    """The experiment that a folder holds.

    Raises:
        UserError: it holds none.
    """
    path = folder / EXPERIMENT
    try:
        return load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder}: holds no run: {path.name} cannot be read: {error.strerror}") from error


def _same(folder: Path, before: Experiment, after: Experiment) -> None:
    differences = [
        f"  {path}: was {json.dumps(old)}, is {json.dumps(new)}"
        for path, old, new in _differences(_fixed(before), _fixed(after))
    ]
    if differences:
        raise UserError(
            "\n".join(
                [
                    f"{folder}: holds results of another experiment, which cannot be mixed with these:",
                    *differences,
                    "Give the new one a folder of its own with --out, or start over with --fresh.",
                ]
            )
        )


def _fixed(experiment: Experiment) -> dict[str, Any]:
    """What must not change between runs of one folder; further choices, repeats and budgets may."""
    spec = experiment.spec.document()
    if isinstance(experiment, HyperparamSearch):  # leaving the direction out means the one that suits the metric
        spec["objective"]["direction"] = direction(experiment.spec.objective)
    return {
        "kind": experiment.kind,
        "metadata": {"name": experiment.name},
        "spec": {key: spec[key] for key in ("objective", "training", "workers") if key in spec},
    }


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif old != new:
        yield path, old, new
