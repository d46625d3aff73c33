"""Memory that is really used up, in processes that may have only so much of it, and the outcome of each failure."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainer.experiment.judge import judge
from trainer.experiment.outcome import Outcome
from trainer.local.processes import LOG, rank_exit

# Address space beyond what the process has once everything is loaded.
BOUNDED = """
import mmap, os, resource
import numpy as np
import torch
from trainer.training.trial import outcome_of, sentence

torch.set_num_threads(1)
torch.ones(8).sum()
here = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (here + 64 * 2**20,) * 2)

def torch_takes_it():
    torch.empty(2**28)

def torch_copies():
    torch.zeros(1).expand(2**28).contiguous()

def numpy_takes_it():
    np.empty(2**28)

def python_takes_it():
    bytearray(2**28)

def mmap_takes_it():
    mmap.mmap(-1, 2**28)

def torch_maps_a_file():
    torch.from_file(FILE, shared=True, size=2**26)

def torch_shares_it():
    torch.empty(1).expand(2**26).contiguous().share_memory_()

def a_cause_takes_it():
    try:
        numpy_takes_it()
    except MemoryError as error:
        raise RuntimeError("the batch could not be made") from error

def a_context_takes_it():
    try:
        numpy_takes_it()
    except MemoryError:
        raise KeyError("batch")

def a_group_takes_it():
    try:
        numpy_takes_it()
    except MemoryError as error:
        raise ExceptionGroup("workers", [KeyError("x"), ExceptionGroup("more", [error])])

def a_context_that_is_denied():
    try:
        numpy_takes_it()
    except MemoryError:
        raise KeyError("batch") from None

def a_value_that_says_so():
    raise ValueError("out of memory: std::bad_alloc, CUDA out of memory, Cannot allocate memory")
"""
ASK = """
try:
    {name}()
except BaseException as error:
    print(outcome_of(error), sentence(error))
else:
    print("nothing happened")
"""
KINDS = {
    "torch_takes_it": Outcome.HOST_OOM,
    "torch_copies": Outcome.HOST_OOM,
    "numpy_takes_it": Outcome.HOST_OOM,
    "python_takes_it": Outcome.HOST_OOM,
    "mmap_takes_it": Outcome.HOST_OOM,
    "torch_maps_a_file": Outcome.HOST_OOM,
    "torch_shares_it": Outcome.HOST_OOM,
    "a_cause_takes_it": Outcome.HOST_OOM,
    "a_context_takes_it": Outcome.HOST_OOM,
    "a_group_takes_it": Outcome.HOST_OOM,
    "a_context_that_is_denied": Outcome.CRASHED,
    "a_value_that_says_so": Outcome.INVALID_CONFIG,
}


def python(program: str, log: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own; with `log`, what it says goes there, as a rank's does."""
    if log is None:
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    with log.open("w") as file:
        return subprocess.run([sys.executable, "-c", program], stdout=file, stderr=file, text=True, check=False)


def test_memory_that_is_used_up_is_told_however_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as made:
        made.truncate(2**28)
    asked = "".join(f"print('{name}', end=' ')\n{ASK.format(name=name)}" for name in KINDS)
    done = python(f"FILE = {str(file)!r}\n{BOUNDED}\n{asked}")
    assert done.returncode == 0, done.stderr
    told = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}
    assert told == {name: str(outcome) for name, outcome in KINDS.items()}, done.stdout


# Asks operator new for more than there can be; no C++ around it catches what that throws.
ABORT = "import ctypes; ctypes.CDLL('libstdc++.so.6')._Znwm(ctypes.c_size_t(2**62))"
# What a rank's process does in its last moment, beside code that was never seen to fail.
DEATHS = {
    "C++ finds no memory and nothing catches that": (
        ABORT,
        -6,
        Outcome.HOST_OOM,
        "std::bad_alloc",
    ),
    "the same under faulthandler, which writes more after it": (
        f"import faulthandler; faulthandler.enable(); {ABORT}",
        -6,
        Outcome.HOST_OOM,
        "std::bad_alloc",
    ),
    "Python finds no memory and nothing catches that": (
        "bytearray(2**62)",
        1,
        Outcome.HOST_OOM,
        "MemoryError",
    ),
    "NumPy finds no memory and nothing catches that": (
        "import numpy; numpy.empty(10**15)",
        1,
        Outcome.HOST_OOM,
        "Unable to allocate",
    ),
    "no memory was survived, and something else was not": (
        "import sys\ntry: bytearray(2**62)\nexcept MemoryError: print('MemoryError', file=sys.stderr)\n[][0]",
        1,
        Outcome.CRASHED,
        "IndexError: list index out of range",
    ),
    "it aborts for another reason": (
        "import os, sys; print('MemoryError: no\\n\\nassertion failed', file=sys.stderr, flush=True); os.abort()",
        -6,
        Outcome.CRASHED,
        "was killed by signal 6 without a report; its log ends: assertion failed",
    ),
    "it ends without a word": ("import os; os._exit(255)", 255, Outcome.CRASHED, "ended with exit code 255 without"),
    "it ends with a code above any signal's": ("import os; os._exit(200)", 200, Outcome.CRASHED, "exit code 200"),
}


@pytest.mark.parametrize(("program", "code", "outcome", "words"), DEATHS.values(), ids=DEATHS)
def test_a_rank_that_dies_without_a_report_is_judged_by_the_end_of_its_log(
    program: str, code: int, outcome: Outcome, words: str, tmp_path: Path
) -> None:
    done = python(program, tmp_path / LOG.format(rank=0))
    assert done.returncode == code
    verdict = judge([rank_exit(tmp_path, 0, done.returncode)], "validMse")
    assert verdict.outcome is outcome
    assert words in verdict.error
