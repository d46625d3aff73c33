"""A scale test's cells in tables: what each took, how far each worker count came, and how time scales."""

from collections.abc import Iterator

from trainer.experiment.outcome import Outcome
from trainer.experiment.scaling import CellFigures, ScaleFigures, Scaling
from trainer.report.markup import Markup, element, table
from trainer.report.wording import count, duration, listed, memory, number

ABSENT = "–"
_CELLS = ("size", "workers", "outcome", "time", "samples/s", "peak per rank", "floor", "limit")
_SCALING = ("size", "workers", "time per sample", "growth", "speedup", "efficiency")


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


def sections(scale: ScaleFigures) -> Iterator[Markup]:
    """The tables of the page."""
    heads, *rows = cell_rows(scale)
    caption = f"Cells. Peak, floor and limit are memory as a limit counts it; {ABSENT}: not measured."
    grid = table(caption, heads, rows, numbers=[0, 1, 3, 4, 5, 6, 7])
    yield element("section", element("h2", "Cells"), grid)
    if scale.scaling:
        heads, *rows = scaling_rows(scale)
        caption = "Growth: against the next smaller size. Speedup: against one worker at the same size."
        reasons = (element("p", reason) for reason in withheld(scale))
        yield element("section", element("h2", "Scaling"), table(caption, heads, rows, numbers=range(6)), *reasons)


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
