"""Times alternatives in turn, so that a machine whose speed drifts is as fast for one as for the other."""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Run:
    """What a process took."""

    wall_seconds: float
    cpu_seconds: float
    output: str


def in_turn(alternatives: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """The results of `rounds` calls of each alternative: A B C A B C …, after a round that doesn't count."""
    results: dict[str, list[T]] = {name: [] for name in alternatives}
    for number in range(rounds + 1):
        which = f"round {number} of {rounds}" if number else "warming up"
        for name, call in alternatives.items():
            _show(f"{which}: {name}")
            result = call()
            if number:
                results[name].append(result)
    _show("")
    return results


def there_and_back(alternatives: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """The results of `rounds` calls of each alternative, each round in the other order: A B C, C B A, …"""
    results: dict[str, list[T]] = {name: [] for name in alternatives}
    for number in range(rounds):
        for name in list(alternatives)[:: -1 if number % 2 else 1]:
            _show(f"round {number + 1} of {rounds}: {name}")
            results[name].append(alternatives[name]())
    _show("")
    return results


def process(arguments: Sequence[str | Path]) -> Run:
    """Runs a Python program to its end; one thread in each of its libraries' pools.

    Raises:
        RuntimeError: it failed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, cpu, done.stdout + done.stderr)


def median(values: Sequence[float]) -> float:
    """The median; the figure to quote from a noisy machine."""
    return statistics.median(values)


def ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """The median of the ratios taken pair by pair."""
    return median([a / b for a, b in zip(of, to, strict=True)])


def _show(what: str) -> None:
    """Shows on a terminal what runs; empty, nothing."""
    if sys.stderr.isatty():
        print(f"\r\033[K  {what}" if what else "\r\033[K", end="", file=sys.stderr, flush=True)


def line(what: str, figure: str, bar: str = "") -> None:
    """One line of a bench's output; `bar` says what the figure should be."""
    print(f"  {what:<58} {figure:>12}   {bar}".rstrip(), flush=True)
