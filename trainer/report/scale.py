"""What is shown of a scale test's cells: what each took, how far each worker count came, and how time scales."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.columns import Table
from trainer.experiment.outcome import Outcome
from trainer.experiment.scaling import CellFigures, ScaleFigures, Scaling
from trainer.report.charts import BEST, DATA, FAILED, SERIES, START, axis, figure, trace
from trainer.report.view import ABSENT, Chart, Charts, Note, Section
from trainer.report.wording import count, duration, listed, memory, number

# More worker counts than these begin again.
_COLOURS = (SERIES, BEST, START, DATA)
CROSS = {"symbol": "x-thin-open", "size": 13, "line": {"width": 3, "color": FAILED}}  # a cell that failed
_STROKES = ("solid", "dash", "dot", "dashdot")
_CELLS = ("size", "workers", "outcome", "time", "samples/s", "peak per rank", "floor", "limit")
_SCALING = ("size", "workers", "time per sample", "growth", "speedup", "efficiency")


def size_axis(sizes: Sequence[int]) -> dict[str, Any]:
    """An axis of training sets with a tick for each size."""
    ticks = {"tickvals": sizes, "ticktext": [f"{size}x" for size in sizes]}
    return axis("training set, as a multiple of the base set", log=True, **ticks)


def cell_rows(scale: ScaleFigures) -> list[tuple[str, ...]]:
    """The cells, heads first."""
    return [_CELLS, *map(_cell, scale.cells)]


def scaling_rows(scale: ScaleFigures) -> list[tuple[str, ...]]:
    """How the time of those that passed compares, heads first; nothing where none passed."""
    return [_SCALING, *map(_scaling, scale.scaling)] if scale.scaling else []


def reached(scale: ScaleFigures) -> str:
    """The largest size that passed with each worker count, in a sentence."""
    sizes = [
        f"{reach.multiplier}x with {count(reach.workers, 'worker')}"
        for reach in scale.frontier
        if reach.multiplier is not None
    ]
    if not sizes:
        return "No cell has succeeded."
    return f"The largest training set that succeeded: {listed(sizes)}."


def withheld(scale: ScaleFigures) -> list[str]:
    """Why some cells have no speedup, a sentence for each reason."""
    places: dict[str, list[str]] = {}
    for one in scale.scaling:
        if one.withheld:
            places.setdefault(one.withheld, []).append(f"{one.multiplier}x with {count(one.workers, 'worker')}")
    return [f"No speedup of {listed(where)}: {why}." for why, where in places.items()]


def sections(scale: ScaleFigures) -> Iterator[Section]:
    """The charts and tables of the page."""
    yield Section("Time and memory against size", (Charts((time_by_size(scale), memory_by_size(scale))),))
    heads, *rows = cell_rows(scale)
    caption = f"Cells. Peak, floor and limit are memory as a limit counts it; {ABSENT}: not measured."
    yield Section("Cells", (Table(caption, heads, tuple(rows), left=(2,)),))
    if scale.scaling:
        heads, *rows = scaling_rows(scale)
        caption = "Growth: against the next smaller size. Speedup: against one worker at the same size."
        reasons = (Note(reason, "soft") for reason in withheld(scale))
        yield Section("Scaling", (Table(caption, heads, tuple(rows), left=()), *reasons))


def _cell(cell: CellFigures) -> tuple[str, ...]:
    ran = cell.outcome != Outcome.SKIPPED and cell.seconds is not None
    return (
        f"{cell.multiplier}x",
        str(cell.workers),
        cell.outcome,
        duration(cell.seconds) if ran and cell.seconds is not None else ABSENT,
        ABSENT if cell.samples_per_second is None else f"{cell.samples_per_second:,.0f}",
        _peaks(cell.peak_bytes),
        ABSENT if cell.floor_bytes is None else memory(cell.floor_bytes),
        ABSENT if cell.limit_bytes is None else memory(cell.limit_bytes),
    )


def _peaks(peaks: tuple[int, ...]) -> str:
    """All of a few ranks, the range of many."""
    texts = [memory(peak) for peak in (peaks if len(peaks) <= 2 else (min(peaks), max(peaks)))]
    return (", " if len(peaks) <= 2 else " to ").join(dict.fromkeys(texts)) or ABSENT


def _scaling(one: Scaling) -> tuple[str, ...]:
    return (
        f"{one.multiplier}x",
        str(one.workers),
        f"{number(1e6 * one.seconds_per_sample)} µs",
        ABSENT if one.growth is None else f"{one.growth:.2f}×",
        ABSENT if one.speedup is None else f"{one.speedup:.2f}×",
        ABSENT if one.efficiency is None else f"{one.efficiency:.0%}",
    )


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
        return Chart(name, title, "No cell has measured it.")
    failed = [(cell, figure) for line in lines for cell, figure in line.cells if cell.outcome != Outcome.SUCCEEDED]
    sizes = sorted({cell.multiplier for cell in scale.cells})
    traces = [
        trace(
            "lines+markers",
            [cell.multiplier for cell, _ in line.cells],
            [taken for _, taken in line.cells],
            _COLOURS[i % len(_COLOURS)],
            count(line.workers, "worker"),
            line={"dash": _STROKES[i % len(_STROKES)]},
            text=[
                f"{cell.multiplier}x with {count(cell.workers, 'worker')}: {cell.outcome}" for cell, _ in line.cells
            ],
            hovertemplate=f"%{{text}}<br>%{{y:.5g}} {unit}<extra></extra>",
        )
        for i, line in enumerate(lines)
    ]
    if failed:
        x, y = zip(*((cell.multiplier, taken) for cell, taken in failed), strict=True)
        words = {
            "text": [str(cell.outcome) for cell, _ in failed],
            "textposition": "top left",
            "textfont": {"color": FAILED},
        }
        traces.append(
            trace("markers+text", x, y, FAILED, "failed", marker=CROSS, hoverinfo="skip", cliponaxis=False, **words)
        )
    shapes = []
    if len(limits) == 1:
        dashed = {"color": "var(--soft)", "width": 1, "dash": "dash"}
        said = {"text": "limit", "textposition": "start", "font": {"color": "var(--soft)"}}
        across = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": limits[0], "y1": limits[0]}
        shapes.append(across | {"line": dashed, "label": said})
    found = figure(traces, xaxis=size_axis(sizes), yaxis=axis(unit, log=True), shapes=shapes)
    return Chart(name, title, _words(failed, limits), found)


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
