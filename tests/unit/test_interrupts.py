"""An interruption reaches a process wherever it is."""

import subprocess
import sys

import pytest

PROCESS = """
import os, signal, time
from trainer.interrupts import interruptible

class Deleted:
    def __del__(self):
        {in_destructor}

interruptible()
try:
    one = Deleted()
    del one
    print("goes on", flush=True)
    {after}
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def said(in_destructor: str, after: str = "pass") -> tuple[str, str]:
    program = PROCESS.format(in_destructor=in_destructor, after=after)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_one_that_comes_while_something_is_deleted_is_not_lost(name: str) -> None:
    assert said(f"os.kill(os.getpid(), signal.{name})") == ("goes on\ninterrupted\n", "")


def test_what_else_goes_wrong_there_is_shown_as_ever() -> None:
    out, error = said("raise ValueError('in vain')", after="os.kill(os.getpid(), signal.SIGTERM)")
    assert out == "goes on\ninterrupted\n"
    assert "Exception ignored in" in error
    assert "ValueError: in vain" in error
