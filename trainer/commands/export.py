"""`export SOURCE`: a run's trials as a table, as a study of Optuna's, as event files of TensorBoard's."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from trainer.atomic import require_replaceable
from trainer.experiment.errors import UserError
from trainer.export.run import Curves, Run
from trainer.export.table import columns, is_csv, is_parquet, write_csv, write_parquet
from trainer.local.source import folder_of, read_named
from trainer.packages import require


def main(options: argparse.Namespace) -> int:
    """Writes whatever was asked for; nothing unless all of it may be written."""
    wanted = [(name, path) for name in _WRITERS if (path := getattr(options, name)) is not None]
    if not wanted:
        raise UserError(
            "export: must be told what to write: --csv FILE, --parquet FILE, --optuna FILE, --tensorboard FOLDER, or "
            "several of them, got none"
        )
    paths = [path.resolve() for _, path in wanted]
    if len(set(paths)) < len(paths):
        raise UserError(f"export: each must have a place of its own, got {paths[0]} twice")
    writers = [(name, path, _WRITERS[name](path)) for name, path in wanted]
    experiment, entries = read_named(options.source, options.namespace)
    run = Run(experiment, entries, Curves(folder_of(options.source), ours=experiment.spec.program is None))
    for name, path, write in writers:
        write(run)
        print(f"{name}: {path}", file=sys.stderr)
    return 0


# What writes a run once it was found that it may: the package is there, and what stands there is ours.
_Writer = Callable[[Run], None]


def _csv(path: Path) -> _Writer:
    require_replaceable(path, is_csv)
    return lambda run: write_csv(path, columns(run))


def _parquet(path: Path) -> _Writer:
    require("pyarrow")
    require_replaceable(path, is_parquet)
    return lambda run: write_parquet(path, columns(run))


def _optuna(path: Path) -> _Writer:
    require("optuna")
    from trainer.export.study import is_study, studies, write_studies

    require_replaceable(path, is_study)
    return lambda run: write_studies(path, studies(run))


def _tensorboard(folder: Path) -> _Writer:
    require("tensorboard")
    from trainer.export.event_files import require_event_folder, write_event_files

    require_event_folder(folder)
    return lambda run: write_event_files(folder, run)


_WRITERS: dict[str, Callable[[Path], _Writer]] = {
    "csv": _csv,
    "parquet": _parquet,
    "optuna": _optuna,
    "tensorboard": _tensorboard,
}
