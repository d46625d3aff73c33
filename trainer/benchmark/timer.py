"""Measures seconds by a clock that never goes back, as a whole and in laps."""

from time import perf_counter
from types import TracebackType
from typing import Self


class Timer:
    """Seconds of a `with` block; `lap(name)` books what passed since the lap before it, laps of one name together.

    It can be used again: each block begins at nothing.

        with Timer() as timer:
            messages = fetch()
            timer.lap("fetch")
            samples = decode(messages)
            timer.lap("decode")
        timer.seconds, timer.laps
    """

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._begun: float | None = None
        self._ended: float | None = None
        self._lapped = 0.0

    def __enter__(self) -> Self:
        self.laps = {}
        self._ended = None
        self._begun = self._lapped = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._ended = perf_counter()

    def lap(self, name: str) -> float:
        """The seconds since the last lap, or since the start; they are added to `laps[name]`.

        Raises:
            RuntimeError: the timer does not run.
        """
        if self._begun is None or self._ended is not None:
            raise RuntimeError(f"lap {name!r}: a timer counts only within its `with` block")
        now = perf_counter()
        passed, self._lapped = now - self._lapped, now
        self.laps[name] = self.laps.get(name, 0.0) + passed
        return passed

    @property
    def seconds(self) -> float:
        """Seconds of the block, while it runs those so far.

        Raises:
            RuntimeError: the timer never ran.
        """
        if self._begun is None:
            raise RuntimeError("seconds: the timer has not run; use it as `with Timer() as timer:`")
        return (perf_counter() if self._ended is None else self._ended) - self._begun
