"""Standard output and error, whose reader may go away: neither work nor exit code depend on that."""

import io
import os
import sys
from typing import Any

from trainer.experiment.errors import UserError


class _Output(io.FileIO):
    """A descriptor that leads nowhere once it can't be written, which `lost` then explains."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes, or drops what nobody can read any more."""
        try:
            return super().write(data) or 0
        except OSError as error:
            self.lost = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        return len(data)


def open_all() -> _Output:
    """Makes sure that there is a standard output and error, and that no write to them fails; returns the former.

    One that was closed would otherwise have its number given to the next file that is opened, a ledger perhaps.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    output = _Output(1, "w", closefd=False)
    sys.stdout = _text(output, sys.stdout)
    sys.stderr = _text(_Output(2, "w", closefd=False), sys.stderr)
    return output


def close_all(output: _Output) -> None:
    """Writes what is left.

    Raises:
        UserError: standard output could not take all, for another reason than that its reader had enough.
    """
    sys.stdout.flush()
    if output.lost is not None and not isinstance(output.lost, BrokenPipeError):
        raise UserError(f"standard output: cannot be written: {output.lost.strerror}")


def _text(output: _Output, stream: Any) -> io.TextIOWrapper:
    number = output.fileno()
    # A letter that the encoding lacks is escaped: a sentence with that is better than none.
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        getattr(stream, "encoding", None) or "utf-8",
        "backslashreplace",
        line_buffering=number == 2 or os.isatty(number),
        write_through=number == 2,
    )
