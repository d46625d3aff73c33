"""Events and orders between the runner and its processes: a JSON object a line. Imports nothing that takes time."""

import contextlib
import json
import os
from dataclasses import dataclass
from typing import Any


def tell(events: int, **event: Any) -> None:
    """Writes an event to the runner's pipe, or to its end of a connection."""
    # One write of less than PIPE_BUF bytes: lines of several children don't mix.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        os.write(events, json.dumps(event).encode() + b"\n")


@dataclass
class Lines:
    """What was received so far, and which objects that makes."""

    pending: bytes = b""

    def take(self, received: bytes) -> list[dict[str, Any]]:
        """The objects whose lines `received` completes.

        Raises:
            ValueError: a line is no JSON.
        """
        *lines, self.pending = (self.pending + received).split(b"\n")
        return [json.loads(line) for line in lines]
