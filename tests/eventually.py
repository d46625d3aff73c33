"""Waits for something to become true, with a deadline: the only way a test may wait."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def eventually(
    probe: Callable[[], Value | None], *, within_seconds: float = 60.0, every_seconds: float = 0.05, what: str = ""
) -> Value:
    """The first truthy value of `probe`, which may also say "not yet" by a failed assertion.

    Any other exception ends the wait at once: it is a mistake, not a delay.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            value = probe()
            if value:
                return value
            seen: object = value
        except AssertionError as not_yet:
            seen = str(not_yet) or repr(not_yet)
        if time.monotonic() >= deadline:
            name = what or getattr(probe, "__name__", repr(probe))
            raise AssertionError(f"not within {within_seconds:g} s: {name}; last seen: {seen}")
        time.sleep(every_seconds)
