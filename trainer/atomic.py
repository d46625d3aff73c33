"""Files that are there whole or not at all, whoever dies while they are written."""

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


class InPlace:
    """A file that is written over and over, where nothing can take its place, and is whole after each write.

    For JSON, which may end in spaces: they cover what was longer.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._longest = 0

    def write(self, content: bytes) -> None:
        """Puts `content` there in one go."""
        self._longest = max(self._longest, len(content))
        os.pwrite(self._file, content.ljust(self._longest), 0)


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
