"""Standard output and error, whose reader may go away: neither work nor exit code depend on that."""

import io
import os
import sys
from typing import Any

from trainer.experiment.errors import UserError


def open_all() -> None:
    """Makes sure that there is a standard output and error, and that writing to a reader that has gone does nothing.

    One that was closed would otherwise have its number given to the next file that is opened, a ledger perhaps.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    sys.stdout = _text(sys.stdout, 1)
    sys.stderr = _text(sys.stderr, 2)


def close_all() -> None:
    """Writes what is left.

    Raises:
        UserError: standard output can't take it.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        raise UserError(f"standard output: cannot be written: {error.strerror}") from error


class _Pipe(io.FileIO):
    """A descriptor that leads nowhere once nobody reads at its other end; errors of standard error have no reader."""

    def write(self, data: Any) -> int:
        """Writes, or drops what nobody can read."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            pass
        except OSError:
            if self.fileno() != 2:
                raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        return len(data)


def _text(stream: Any, number: int) -> io.TextIOWrapper:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    binary = io.BufferedWriter(_Pipe(number, "w", closefd=False))
    # A name that the encoding lacks is escaped: a sentence with one is better than none.
    return io.TextIOWrapper(
        binary,
        encoding,
        "backslashreplace",
        line_buffering=number == 2 or os.isatty(number),
        write_through=number == 2,
    )
