"""Files that are there whole or not at all, in folders that can be written."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def require_writable(folder: Path) -> None:
    """Makes a folder and tries it out: before the work, not after hours of it.

    Raises:
        OSError: it can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def replace(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`; what was written there takes `path`'s place when the context ends well.

    `durable` waits until it is on disk, so that the machine's death leaves either the old or the new one too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replaces the file by one with this text."""
    with replace(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
