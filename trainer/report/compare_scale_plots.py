"""The charts of two scale tests beside each other: time and memory against size, with what failed."""

from collections.abc import Callable
from typing import Any

from trainer.experiment.outcome import Outcome
from trainer.report.canvas import FAILED, SERIES, START, Chart, draw, figures_axis, legend
from trainer.report.compare_cells import CellFigures
from trainer.report.compare_facts import Pair
from trainer.report.wording import count

_COLOURS = {"A": START, "B": SERIES}
# By how many workers, in their order; more worker counts than these begin again.
_STROKES = (("-", "solid"), ("--", "dashed"), (":", "dotted"), ("-.", "dashed and dotted"))


def time_by_size(pair: Pair) -> Chart:
    """Seconds of each cell."""
    return _by_size(pair, "compare-cell-time", "Time by size", "seconds", lambda cell: cell.seconds)


def memory_by_size(pair: Pair) -> Chart:
    """Peak memory of each cell's largest rank."""

    def mebibytes(cell: CellFigures) -> float | None:
        return None if cell.peak_bytes is None else cell.peak_bytes / 2**20

    return _by_size(pair, "compare-cell-memory", "Peak memory by size", "MiB", mebibytes)


def _by_size(pair: Pair, name: str, title: str, unit: str, value: Callable[[CellFigures], float | None]) -> Chart:
    counts = sorted({cell.workers for cell in pair.facts.cells})
    lines = [
        (letter, workers, points)
        for letter in _COLOURS
        for workers in counts
        if (points := _points(pair, letter, workers, value))
    ]
    if not lines:
        return Chart(title, "No cell has measured it.")
    strokes = {workers: _STROKES[i % len(_STROKES)] for i, workers in enumerate(counts)}
    told = ", ".join(f"{words} {count(workers, 'worker')}" for workers, (_, words) in strokes.items())
    words = f"A line is a side with one worker count: {told}. Both axes are logarithmic."
    failed = [(x, y) for _, _, points in lines for x, y, succeeded in points if not succeeded]
    if failed:
        words += " A cross is a cell that did not succeed, where it ended."

    def paint(axes: Any) -> None:
        axes.set_xscale("log")
        axes.set_yscale("log")
        labelled = set[str]()
        for letter, workers, points in lines:
            axes.plot(
                [x for x, _, _ in points],
                [y for _, y, _ in points],
                strokes[workers][0],
                marker="o",
                markersize=4,
                linewidth=1.5,
                color=_COLOURS[letter],
                label=letter if letter not in labelled else "_",
            )
            labelled.add(letter)
        if failed:
            x, y = zip(*failed, strict=True)
            axes.plot(x, y, "x", color=FAILED, markersize=8, markeredgewidth=2, label="did not succeed")
        axes.margins(x=0.08, y=0.12)
        axes.autoscale_view()
        sizes = sorted({x for _, _, points in lines for x, _, _ in points})
        axes.set_xticks(sizes, [f"{size}x" for size in sizes])
        axes.minorticks_off()
        figures_axis(axes.yaxis, log=True)
        axes.set_xlabel("training set, as a multiple of the base set")
        axes.set_title(unit)
        legend(axes)

    return draw(name, title, words, paint)


def _points(
    pair: Pair, letter: str, workers: int, value: Callable[[CellFigures], float | None]
) -> list[tuple[int, float, bool]]:
    """Size, figure and whether it succeeded, of the cells of one line."""
    points = []
    for cell in pair.facts.cells:
        side = cell.a if letter == "A" else cell.b
        if cell.workers == workers and side is not None and (figure := value(side)):
            points.append((cell.multiplier, figure, side.outcome is Outcome.SUCCEEDED))
    return points
