"""How far a long build has come, on standard error; a short one shows nothing."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_QUIET_SECONDS = 2.0
_LINE_SECONDS = 5.0


@contextmanager
def meter(title: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[int, int], None]]:
    """Gives the function to tell how much of how much is done.

    After two seconds a terminal gets a bar that vanishes in the end, anything else a line every five seconds.
    """
    shown = _Bar(title) if sys.stderr.isatty() else _Lines(title, clock)
    begun = clock()

    def report(done: int, total: int) -> None:
        if clock() - begun >= _QUIET_SECONDS:
            shown.update(done, total)

    try:
        yield report
    finally:
        shown.close()


class _Lines:
    def __init__(self, title: str, clock: Callable[[], float]) -> None:
        self._title, self._clock = title, clock
        self._next = 0.0

    def update(self, done: int, total: int) -> None:
        if self._clock() >= self._next:
            self._next = self._clock() + _LINE_SECONDS
            print(f"{self._title}: {done:,} of {total:,} ({done / total:.0%})", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Lines stay as they are."""


class _Bar:
    def __init__(self, title: str) -> None:
        self._title = title
        self._progress: Progress | None = None

    def update(self, done: int, total: int) -> None:
        if self._progress is None:
            self._progress = _started()
            self._task = self._progress.add_task(self._title)
        self._progress.update(self._task, completed=done, total=total)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _started() -> "Progress":
    # Imported here: a build that shows nothing should not wait for rich.
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(stderr=True), transient=True)
    progress.start()
    return progress
