"""Medians over seeds with their intervals, and tables of them as plain text."""

import math
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TypeVar

from benchmarks.timing import median

T = TypeVar("T")
_TAIL = 0.05  # on either side of an interval of 90 %
_SHOWN_EVERY = 2.0


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the median lies with 90 % confidence, whatever the distribution."""
    ordered, many = sorted(values), len(values)
    below, outside = 0, 0.0
    while below < many // 2 and (outside := outside + math.comb(many, below) / 2**many) <= _TAIL:
        below += 1
    left_out = max(0, below - 1)
    return ordered[left_out], ordered[many - 1 - left_out]


def spread(values: Sequence[float]) -> str:
    """The median of some values, and its interval."""
    low, high = interval(values)
    return f"{median(values):.3g} ({low:.3g} to {high:.3g})"


def table(title: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Prints rows under their columns, each with its name in front."""
    lines = [("", list(columns)), *((name, list(cells)) for name, cells in rows)]
    names = max(len(name) for name, _ in lines)
    widths = [max(len(cells[place]) for _, cells in lines) for place in range(len(columns))]
    print(f"\n{title}")
    for name, cells in lines:
        aligned = "   ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        print(f"  {name:<{names}}   {aligned}", flush=True)


def shown(what: str, each: Sequence[T]) -> Iterable[T]:
    """The same one by one; every two seconds a line on stderr says how far they are."""
    last = time.monotonic()
    for number, one in enumerate(each):
        if time.monotonic() - last > _SHOWN_EVERY:
            print(f"  … {what}: {number} of {len(each)}", file=sys.stderr, flush=True)
            last = time.monotonic()
        yield one
