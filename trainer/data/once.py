"""Makes a folder that appears whole or not at all, and once, however many processes ask for it."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.data.errors import DataUnavailable


def once(folder: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write into an empty folder that then becomes `folder`; does nothing where `folder` exists.

    A process that is killed meanwhile leaves only a hidden folder, which nobody reads and the next builder deletes.
    A cache that cannot be written is fine as long as it holds the folder already. Raises DataUnavailable otherwise.
    """
    if folder.is_dir():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            if folder.is_dir():
                return
            # Nobody else builds this folder while the lock is held, so what lies there is a dead process's.
            for leftover in folder.parent.glob(f".{folder.name}.*.part"):
                shutil.rmtree(leftover)
            part = folder.parent / f".{folder.name}.{os.getpid()}.part"
            part.mkdir()
            try:
                fill(part)
                part.rename(folder)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
    except OSError as error:
        raise DataUnavailable(
            f"{folder.parent}: data sets are kept here, but it cannot be written ({error.strerror or error}); "
            f"make room or give access, or choose another cache folder"
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps everyone else who asks for the same out of building `folder`."""
    path = folder.with_name(f".{folder.name}.lock")
    # The file stays: removing it would let a third process lock a new file of the same name beside a waiting one.
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
