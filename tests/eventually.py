"""Waits for something to become true, with a deadline: the only way a test may wait."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

# Far more than anything takes, for what tests run beside each other shares the machine; only a failure waits so long.
PATIENCE_SECONDS = 600.0


def eventually(
    probe: Callable[[], Value | None],
    *,
    within_seconds: float = PATIENCE_SECONDS,
    every_seconds: float = 0.05,
    what: str = "",
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


def throughout(probe: Callable[[], bool], *, seconds: float, every_seconds: float = 0.25, what: str = "") -> None:
    """Holds `probe` to be true from now on for so long.

    For what must not happen, and only that: nothing tells of it, so a while has to pass.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert probe(), f"not throughout {seconds:g} s: {what or getattr(probe, '__name__', repr(probe))}"
        time.sleep(every_seconds)


def unchanged(read: Callable[[], Value], *, seconds: float) -> Callable[[], bool]:
    """A probe for `eventually`: whether what `read` gives has been the same for so long."""
    seen, since = read(), time.monotonic()

    def is_unchanged() -> bool:
        nonlocal seen, since
        if (now := read()) != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since >= seconds

    return is_unchanged
