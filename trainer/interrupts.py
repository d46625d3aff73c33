"""Ctrl-C and a request to end are the same KeyboardInterrupt, and one that Python drops comes again."""

import signal
import sys
from types import FrameType

_AGAIN_SECONDS = 0.05


def interruptible() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt in the main thread.

    Where they come while something is deleted or a module is looked up, Python drops what is raised: then it is
    raised again a moment later.
    """
    # SIGINT by name, too: a shell's background jobs ignore it.
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(stop, _interrupt)
    sys.unraisablehook = _dropped


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _dropped(what: "sys.UnraisableHookArgs") -> None:
    if what.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)  # then comes SIGALRM
    else:
        sys.__unraisablehook__(what)
