"""The charts of a scale test: time and memory against size, a line for each worker count, with what failed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.experiment.outcome import Outcome
from trainer.experiment.scaling import CellFigures, ScaleFigures
from trainer.report.canvas import BEST, DATA, FAILED, INK, SERIES, START, Chart, draw, figures_axis, legend
from trainer.report.wording import count, listed, memory

# More worker counts than these begin again.
_COLOURS = (SERIES, BEST, START, DATA)
_STROKES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class _Line:
    """The cells of one worker count that have a figure, by size."""

    workers: int
    cells: tuple[tuple[CellFigures, float], ...]


def time_by_size(scale: ScaleFigures) -> Chart:
    """Seconds of each cell."""
    return _by_size(scale, "scale-time", "Time by size", "seconds", lambda cell: cell.seconds, ())


def memory_by_size(scale: ScaleFigures) -> Chart:
    """The peak of each cell's largest rank beyond its floor, and the limit where there is one."""

    def above(cell: CellFigures) -> float | None:
        if not cell.peak_bytes or cell.floor_bytes is None:
            return None
        return max(max(cell.peak_bytes) - cell.floor_bytes, 1) / 2**20

    limits = {
        round((cell.limit_bytes - cell.floor_bytes) / 2**20)
        for cell in scale.cells
        if cell.limit_bytes is not None and cell.floor_bytes is not None
    }
    title = "Peak memory above the floor by size"
    return _by_size(scale, "scale-memory", title, "MiB", above, sorted(limits))


def _by_size(
    scale: ScaleFigures,
    name: str,
    title: str,
    unit: str,
    value: Callable[[CellFigures], float | None],
    limits: Sequence[float],
) -> Chart:
    lines = [
        line for workers in sorted({cell.workers for cell in scale.cells}) if (line := _line(scale, workers, value))
    ]
    if not lines:
        return Chart(title, "No cell has measured it.")
    failed = [(cell, figure) for line in lines for cell, figure in line.cells if cell.outcome != Outcome.SUCCEEDED]
    sizes = sorted({cell.multiplier for cell in scale.cells})

    def paint(axes: Any) -> None:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for i, line in enumerate(lines):
            axes.plot(
                [cell.multiplier for cell, _ in line.cells],
                [figure for _, figure in line.cells],
                _STROKES[i % len(_STROKES)],
                marker="o",
                markersize=4,
                linewidth=1.8,
                color=_COLOURS[i % len(_COLOURS)],
                label=count(line.workers, "worker"),
            )
        if failed:
            x, y = zip(*((cell.multiplier, figure) for cell, figure in failed), strict=True)
            axes.plot(x, y, "x", color=FAILED, markersize=9, markeredgewidth=2.2, label="failed")
            for cell, figure in failed:
                # To the left, as the largest sizes fail, and on the side that the line doesn't come from.
                smaller = [other for one in lines for seen, other in one.cells if _precedes(seen, cell)]
                above = not smaller or smaller[-1] <= figure
                offset = {"xytext": (4, 9 if above else -18), "textcoords": "offset points", "ha": "right"}
                axes.annotate(cell.outcome, (cell.multiplier, figure), color=FAILED, fontsize=11, **offset)
        if len(limits) == 1:
            axes.axhline(limits[0], color=INK, linewidth=1, linestyle=(0, (4, 4)), label="limit")
        axes.margins(x=0.08, y=0.15)
        axes.autoscale_view()
        axes.set_xticks(sizes, [f"{size}x" for size in sizes])
        axes.minorticks_off()
        figures_axis(axes.yaxis, log=True)
        axes.set_xlabel("training set, as a multiple of the base set")
        axes.set_title(unit)
        legend(axes)

    return draw(name, title, _words(failed, limits), paint)


def _precedes(one: CellFigures, other: CellFigures) -> bool:
    return one.workers == other.workers and one.multiplier < other.multiplier


def _words(failed: Sequence[tuple[CellFigures, float]], limits: Sequence[float]) -> str:
    words = "A line is a worker count. Both axes are logarithmic."
    if failed:
        reasons = [f"{cell.multiplier}x with {count(cell.workers, 'worker')} ({cell.outcome})" for cell, _ in failed]
        words += f" A cross is a cell that failed, where it ended: {listed(reasons)}."
    if limits:
        words += f" The limit is {listed([memory(limit * 2**20) for limit in limits])} above the floor."
    return words


def _line(scale: ScaleFigures, workers: int, value: Callable[[CellFigures], float | None]) -> _Line | None:
    found = [(cell, figure) for cell in scale.cells if cell.workers == workers and (figure := value(cell))]
    return _Line(workers, tuple(sorted(found, key=lambda pair: pair[0].multiplier))) if found else None
