"""results.jsonl: the ledger of an experiment on this machine. A line is there whole or not at all."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from trainer.experiment.errors import UserError
from trainer.experiment.record import Record, decode, encode

NAME = "results.jsonl"


def read_ledger(folder: Path) -> list[Record]:
    """All records in a folder's ledger, oldest first; none where there is no ledger.

    A last line without its newline is what a process that died left of a write, and is passed over.

    Raises:
        UserError: a line is no record.
    """
    path = folder / NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    records = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            records.append(decode(line))
        except ValueError as error:
            raise UserError(f"{path}: line {number} is {error}; delete that line to go on without it") from error
    return records


class Ledger:
    """The ledger opened for appending. Each record is on disk before `append` returns."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._drop_torn_line()
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error.strerror}") from error

    def append(self, records: Sequence[Record]) -> None:
        """Adds records, all of them or, when the disk is full, none.

        Raises:
            UserError: they can't be written; the ledger is as it was.
        """
        lines = "".join(encode(record) + "\n" for record in records).encode()
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, lines)
            if written < len(lines):
                raise OSError(0, f"only {written} of {len(lines)} bytes fit; is the disk full?")
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            raise UserError(
                f"{self._path}: cannot be written: {error.strerror}; "
                "what it held is kept, so make room and run the same command again"
            ) from error

    def _drop_torn_line(self) -> None:
        content = self._path.read_bytes()
        os.ftruncate(self._file, content.rfind(b"\n") + 1)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._file)
