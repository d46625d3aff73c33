"""Files that are there whole or not at all, whoever dies while they are written."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer.experiment.errors import UserError


def require_writable(folder: Path) -> None:
    """Makes a folder and tries it out: before the work, not after hours of it.

    Raises:
        OSError: it can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def require_replaceable(path: Path, ours: Callable[[Path], bool]) -> None:
    """Raises UserError where something stands at `path` that isn't `ours`: it stays as it is."""
    if (obstacle := _obstacle(path)) is not None:
        raise UserError(f"{path}: must be a file or new, and is {obstacle}; name a file")
    try:
        taken = path.is_file() and not ours(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; name another file") from error
    if taken:
        raise UserError(f"{path}: exists, was not made by this command, and stays; name another file, or delete it")


@contextmanager
def replace(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`; what was written there takes `path`'s place when the context ends well.

    A link stays, and the file that it leads to is replaced. `durable` waits until it is on disk, so that a machine's
    death leaves either the old or the new one too.

    Raises:
        OSError: it can't be written, or what stands there is no file, such as a folder; its `filename` is `path`.
    """
    target = path.resolve()
    if (obstacle := _obstacle(target)) is not None:
        code = errno.EISDIR if target.is_dir() else errno.EEXIST
        raise OSError(code, f"{obstacle} stands there", str(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(target)
        if durable:
            _sync(target.parent)
    except OSError as error:
        # A full disk names no file, and nobody knows the temporary one. An error without a number shows no file.
        if error.errno is not None and (
            error.filename is None or Path(error.filename) in (temporary, *target.parents)
        ):
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
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


def _obstacle(path: Path) -> str | None:
    """What stands at `path` that no file can replace."""
    if path.is_dir():
        return "a folder"
    return "a device or a pipe" if path.exists() and not path.is_file() else None


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
