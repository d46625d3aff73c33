"""The charts of two searches beside each other: trial by trial, and what the slots did."""

import math
from collections.abc import Sequence
from typing import Any

from trainer.report.canvas import (
    DATA,
    GRID,
    REST,
    SERIES,
    START,
    TRAIN,
    Chart,
    boxes,
    dots,
    draw,
    figures_axis,
    legend,
)
from trainer.report.compare_facts import Pair
from trainer.report.plots import MOST_POINTS
from trainer.report.results import objective_text
from trainer.report.wording import count, duration

_LOG_FROM = 20  # a span of more than this factor is drawn on a log axis
_PARTS = (("waiting", REST), ("starting", START), ("data", DATA), ("training", TRAIN))


def time_by_trial(pair: Pair) -> Chart:
    """Each trial's seconds in A and in B."""
    title = "Time of each trial"
    points = [(a.seconds.total, b.seconds.total) for _, a, b in pair.ran]
    if not points:
        return Chart(title, "No trial ran in both.")
    faster = sum(b < a for a, b in points)
    words = f"Below it B was faster: {faster:,} of {count(len(points), 'trial')}."
    return _beside("compare-time", title, words, "seconds", points)


def objective_by_trial(pair: Pair) -> Chart:
    """Each trial's objective in A and in B."""
    results = pair.b.results
    metric = results.metric or ""
    title = f"{metric} of each trial"
    if pair.a.results.metric != metric:
        return Chart(title, f"A is a search by {pair.a.results.metric}, B by {metric}.")
    points = [
        (pair.a.results.values[a.id], results.values[b.id])
        for _, a, b in pair.ran
        if a.id in pair.a.results.values and b.id in results.values
    ]
    if not points:
        return Chart(title, f"No trial measured {metric} in both.")
    same = sum(a == b for a, b in points)
    words = f"{same:,} of {count(len(points), 'trial')} lie on the line to the bit."
    return _beside("compare-objective", title, words, objective_text(metric), points)


def slot_time(pair: Pair) -> Chart:
    """What the slots of each side spent their time on."""
    title = "What the slots did"
    bars = []
    for row, (letter, side) in enumerate(pair.sides):
        timing = side.results.summary.timing
        if timing is not None and timing.split is not None:
            split = timing.split
            bars.append((row, letter, timing, (split.queue, split.start, split.data, split.train)))
    if not bars:
        return Chart(title, "No trial has run.")
    told = [f"{letter}: {count(timing.slots, 'slot')} for {duration(timing.wall)}." for _, letter, timing, _ in bars]
    words = (
        "Shares of the time that each side's slots had, from the start to the last record. Waiting: no trial was in "
        f"the slot. Starting: until the training code ran. {' '.join(told)}"
    )

    def paint(axes: Any) -> None:
        for i, (name, colour) in enumerate(_PARTS):
            stacked = [
                (100 * math.fsum(split[:i]), row - 0.3, 100 * math.fsum(split[: i + 1]), row + 0.3)
                for row, _, _, split in bars
            ]
            boxes(axes, stacked, colour, name)
        axes.set_xlim(0, 100)
        axes.set_ylim(1.8, -0.8)
        axes.set_yticks([0, 1], ["A", "B"])
        axes.grid(visible=False)
        figures_axis(axes.xaxis, log=False)
        axes.set_xlabel("% of slots × wall time")
        legend(axes)

    return draw("compare-slots", title, words, paint)


def _beside(name: str, title: str, words: str, unit: str, points: Sequence[tuple[float, float]]) -> Chart:
    """Points with A across and B up, and the line on which both are equal."""
    step = math.ceil(len(points) / MOST_POINTS)
    shown = sorted(points)[::step]
    values = [value for point in shown for value in point]
    low, high = min(values), max(values)
    log = low > 0 and high / low > _LOG_FROM
    told = f"A dot is a trial, on the line it is the same in both. {words}"
    if log:
        told += " Both axes are logarithmic."
    if step > 1:
        told += f" Every {step}th trial is drawn."

    def paint(axes: Any) -> None:
        if log:
            axes.set_xscale("log")
            axes.set_yscale("log")
            ends = low / (high / low) ** 0.06, high * (high / low) ** 0.06
        else:
            margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
            ends = low - margin, high + margin
        axes.plot(ends, ends, color=GRID, linewidth=1.5, zorder=0.5)
        dots(axes, shown, SERIES, size=6)
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        figures_axis(axes.xaxis, log=log)
        figures_axis(axes.yaxis, log=log)
        axes.set_xlabel(f"A: {unit}")
        axes.set_title(f"B: {unit}")

    return draw(name, title, told, paint)
