"""The ledger of an experiment on this machine: files of JSON lines, each of which is there whole or not at all.

`results.jsonl` holds records; what a learning or stopping search has on top stands in files of its own.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from trainer.experiment import record as records
from trainer.experiment import rung, suggestion
from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.record import Record
from trainer.experiment.rung import RungEntry
from trainer.experiment.suggestion import Suggestion

NAME, SUGGESTIONS, RUNGS = "results.jsonl", "suggestions.jsonl", "rungs.jsonl"
WARM_START, REPLAY = "warmstart.jsonl", "replay.jsonl"  # what a run began with, and what it is the replay of

Entry = TypeVar("Entry")


def read_ledger(folder: Path) -> list[Record]:
    """All records in a folder's ledger, oldest first; none where there is no ledger.

    Raises:
        UserError: a line is no record.
    """
    return read_lines(folder / NAME, records.decode)


def read_suggestions(folder: Path) -> list[Suggestion]:
    """What has been suggested of a learning search, in the order of writing.

    Raises:
        UserError: a line is no suggestion.
    """
    return read_lines(folder / SUGGESTIONS, suggestion.decode)


def read_rungs(folder: Path) -> list[RungEntry]:
    """The rung entries of a search, in the order of their numbers.

    Raises:
        UserError: a line is no rung entry.
    """
    return read_lines(folder / RUNGS, rung.decode)


def read_entries(folder: Path) -> Entries:
    """All that a folder's ledger holds.

    Raises:
        UserError: a line can't be read.
    """
    only = read_lines(folder / REPLAY, lambda line: str(json.loads(line)["trial"]))
    return Entries(
        read_ledger(folder), read_suggestions(folder), read_rungs(folder), frozenset(only) if only else None
    )


def read_lines(path: Path, decode: Callable[[bytes], Entry]) -> list[Entry]:
    """What the lines of a file hold; nothing where there is none.

    A last line without its newline is what a process that died left of a write, and is passed over.

    Raises:
        UserError: a line can't be read.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            found.append(decode(line))
        except ValueError as error:
            raise UserError(f"{path}: line {number} is {error}; delete that line to go on without it") from error
    return found


@dataclass
class Lines(Generic[Entry]):
    """A file opened for appending lines. Each is on disk before `append` returns."""

    path: Path
    encode: Callable[[Entry], str]

    def __post_init__(self) -> None:
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._drop_torn_line()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error

    def append(self, entries: Sequence[Entry]) -> None:
        """Adds entries, all of them or, when the disk is full, none.

        Raises:
            UserError: they can't be written; the file is as it was.
        """
        lines = "".join(self.encode(entry) + "\n" for entry in entries).encode()
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, lines)
            if written < len(lines):
                raise OSError(0, f"only {written} of {len(lines)} bytes fit; is the disk full?")
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            raise UserError(
                f"{self.path}: cannot be written: {error.strerror}; "
                "what it held is kept, so make room and run the same command again"
            ) from error

    def close(self) -> None:
        """Lets go of the file."""
        os.close(self._file)

    def _drop_torn_line(self) -> None:
        content = self.path.read_bytes()
        os.ftruncate(self._file, content.rfind(b"\n") + 1)


class Ledger:
    """The ledger opened for appending."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records = Lines(folder / NAME, records.encode)

    def append(self, ended: Sequence[Record]) -> None:
        """Adds records, as `Lines.append`."""
        self._records.append(ended)

    def suggest(self, suggested: Suggestion) -> None:
        """Adds a suggestion, as `Lines.append`."""
        self._suggestions.append([suggested])

    def enter(self, entry: RungEntry) -> None:
        """Adds a rung entry, as `Lines.append`."""
        self._rungs.append([entry])

    @cached_property
    def _suggestions(self) -> Lines[Suggestion]:
        return Lines(self._folder / SUGGESTIONS, suggestion.encode)

    @cached_property
    def _rungs(self) -> Lines[RungEntry]:
        return Lines(self._folder / RUNGS, rung.encode)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._records.close()
        for name in ("_suggestions", "_rungs"):
            if (opened := self.__dict__.get(name)) is not None:
                opened.close()
