"""Becomes the program it is given, after asking the kernel to kill it when its parent ends, however that ends.

A script of its own: a preexec function of `subprocess` would run in a fork of a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(parent: int, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # It ended before the line above.
        sys.exit("the process that started this one has ended")
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
