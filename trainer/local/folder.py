"""The folder of a run: whose it is, that one runner has it at a time, and which experiment it holds."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.atomic import write_text
from trainer.experiment.best import direction
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial, planned
from trainer.experiment.load import load
from trainer.experiment.spec import API_VERSION, Experiment, HyperparamSearch
from trainer.local.ledger import NAME as LEDGER
from trainer.local.ledger import REPLAY, RUNGS, SUGGESTIONS, WARM_START, read_ledger

EXPERIMENT = "experiment.json"
SUMMARY = "summary.json"
TRACKING = "tracking.json"  # what a tracker knows the run by
TRIALS = "trials"
MARK = ".trialrun"
LOCK = ".lock"


def trial_folder(folder: Path, trial: Trial) -> Path:
    """Where a trial leaves its artefacts. Named by id alone: an index moves when choices are added."""
    return folder / TRIALS / trial.id


def is_run(folder: Path) -> bool:
    """Whether a folder was marked for a run, or holds one of version 0.1, which left no mark."""
    return (folder / MARK).is_file() or (
        any((folder / name).is_file() for name in (LEDGER, LOCK)) and _names_our_api(folder / EXPERIMENT)
    )


def require_ours(folder: Path, ours: Callable[[Path], bool] = is_run) -> None:
    """Raises UserError where `folder` is something that results must not be written into or deleted from."""
    try:
        standing = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        if not standing.is_dir():
            raise UserError(f"{folder}: cannot be written: {standing} is no folder; name another folder")
        if standing != folder:
            return
        found = sorted(each.name for each in folder.iterdir() if each.name != LOCK)
    except OSError as error:
        raise _unwritable(folder, error) from error
    if found and not ours(folder):
        listed = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        raise UserError(
            f"{folder}: must be new, empty, or hold results of Trialrun, and holds {listed}, which stay as they are; "
            "name another folder"
        )


@contextmanager
def taken(folder: Path, ours: Callable[[Path], bool] = is_run) -> Iterator[None]:
    """Marks `folder` for the results that the context leaves there; where it leaves none, all is as it was before.

    The mark comes first: a process that is killed leaves a folder that the next one takes for ours.

    Raises:
        UserError: it holds something else, or can't be written to.
    """
    require_ours(folder, ours)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marked = _mark(folder / MARK)
    except OSError as error:
        _remove_empty(made)
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        if marked and {each.name for each in folder.iterdir()} <= {MARK, LOCK}:
            for name in (LOCK, MARK):
                (folder / name).unlink(missing_ok=True)
            _remove_empty(made)


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Takes `folder` for a run, and keeps every other runner out of it.

    Raises:
        UserError: it holds something else, can't be written to, or another runner has it.
    """
    with taken(folder):
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            if not _is_locked(lock, folder / LOCK):
                raise UserError(f"{folder}: another run is using it; wait for it to end, or name another folder")
            yield
        finally:
            os.close(lock)


def require_same(folder: Path, experiment: Experiment) -> None:
    """Raises UserError where the folder holds results of an experiment with another objective or training."""
    stored = folder / EXPERIMENT
    if stored.exists() and read_ledger(folder):
        _same(folder, load(json.loads(stored.read_text(encoding="utf-8"))), experiment)


def settle(folder: Path, experiment: Experiment, *, fresh: bool) -> None:
    """Makes `folder` hold this experiment. Results that it holds stay; `fresh` throws them away, the ledger first."""
    if fresh:
        kept = (LEDGER, SUGGESTIONS, RUNGS, WARM_START, REPLAY)
        for name in (*kept, SUMMARY, TRACKING, EXPERIMENT, "report.html", "statistics.json", TRIALS, "statistics"):
            _remove(folder / name)
        for page in folder.glob("report-by-*.html"):
            _remove(page)
    write_text(folder / EXPERIMENT, json.dumps(experiment.document(sparse=True), indent=2) + "\n")


def stored_experiment(folder: Path) -> Experiment:
    """The experiment that a folder holds.

    Raises:
        UserError: it holds none.
    """
    path = folder / EXPERIMENT
    if path.is_file() and not is_run(folder):
        raise UserError(f"{folder}: holds no run: {LEDGER} is missing beside {path.name}")
    try:
        return load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder}: holds no run: {path.name} cannot be read: {error.strerror}") from error


def require_alike(source: str, before: Experiment, after: Experiment) -> None:
    """Raises UserError where a replay of `source` would be another search's."""
    if differences := _differing(before, after):
        raise UserError(
            "\n".join([f"--replay: must name a run of this search, and {source} is of another:", *differences])
        )


def _differing(before: Experiment, after: Experiment) -> list[str]:
    """What differs of two experiments that must be the same, a line each."""
    found, wanted = _fixed(before), _fixed(after)
    for field in ("earlyStopping",):  # an older run may have had none
        if None in (found["spec"].get(field), wanted["spec"].get(field)):
            found["spec"].pop(field, None)
            wanted["spec"].pop(field, None)
    return [
        f"  {path}: was {json.dumps(old)}, is {json.dumps(new)}" for path, old, new in _differences(found, wanted)
    ]


def _same(folder: Path, before: Experiment, after: Experiment) -> None:
    if differences := _differing(before, after):
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
    if experiment.spec.program is not None:  # where its code lies: what it holds is judged by its hash
        del spec["program"]["code"]
    fields = ["objective", "training", "program", "workers", "earlyStopping"]
    if planned(experiment) is not None:  # what was suggested is of these parameters
        fields += ["algorithm", "parameters", "points", "warmStart"]
    return {
        "kind": experiment.kind,
        "metadata": {"name": experiment.name},
        "spec": {key: spec[key] for key in fields if key in spec},
    }


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif old != new:
        yield path, old, new


def _names_our_api(path: Path) -> bool:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("apiVersion") == API_VERSION


def _mark(path: Path) -> bool:
    """Makes the mark; whether there was none."""
    try:
        mark = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(mark, "w") as file:
        file.write("Trialrun keeps results in this folder, and may replace and delete them.\n")
    return True


def _is_locked(lock: int, path: Path) -> bool:
    """Whether the lock is ours now; not if whoever had it has taken the file away with its folder's mark."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), path.stat())
    except OSError:
        return False


def _remove(path: Path) -> None:
    """Deletes what a run has left at `path`; of a link the link alone."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{error.filename}: cannot be deleted: {error.strerror}; delete it, then try again"
        ) from error


def _remove_empty(made: Sequence[Path]) -> None:
    """Removes folders, the innermost first, up to one that holds something."""
    with contextlib.suppress(OSError):
        for each in made:
            each.rmdir()


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder}: cannot be written: {error.strerror}; name another folder")
