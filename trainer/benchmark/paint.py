"""Paints box plots, and means as bars, on matplotlib's axes: a treatment a row, the best on top."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.benchmark.findings import Treatment
from trainer.benchmark.intervals import Estimate

_MOST_WITH_DOTS = 8  # treatments; of more, only the outliers are drawn
_LOG_FROM = 20  # a span of more than this factor is drawn on a log axis
_HALF = 0.3  # of a box's or a bar's height, in rows


@dataclass(frozen=True)
class Palette:
    """Colours as matplotlib takes them."""

    ink: str
    series: str
    light: str
    best: str


def boxes(axes: Any, treatments: Sequence[Treatment], palette: Palette) -> None:
    """A box plot for each treatment that has a box; with few treatments also a dot for each run."""
    rows = [(y, treatment, treatment.box) for y, treatment in enumerate(treatments) if treatment.box is not None]
    every = len(rows) <= _MOST_WITH_DOTS
    outlier = {"markerfacecolor": "none", "markeredgecolor": palette.ink, "markersize": 6}
    if all(box.min > 0 for _, _, box in rows) and max(b.max for _, _, b in rows) > _LOG_FROM * min(
        b.min for _, _, b in rows
    ):
        axes.set_xscale("log")
    for y, treatment, box in rows:
        colour = palette.best if y == 0 else palette.series
        places = [(value, y + _scatter(i) if every else y) for i, value in enumerate(treatment.sample.values)]
        if every:
            axes.plot(*zip(*places, strict=True), ".", color=palette.light, markersize=5)
        edges = [box.q1, box.q3, box.q3, box.q1, box.q1]
        axes.plot(edges, [y - _HALF, y - _HALF, y + _HALF, y + _HALF, y - _HALF], color=colour, linewidth=1.5)
        axes.plot([box.median] * 2, [y - _HALF, y + _HALF], color=colour, linewidth=3, solid_capstyle="butt")
        for inner, outer in ((box.q1, box.low_whisker), (box.q3, box.high_whisker)):
            axes.plot([inner, outer], [y, y], color=colour, linewidth=1.5)
            axes.plot([outer] * 2, [y - _HALF / 2, y + _HALF / 2], color=colour, linewidth=1.5)
        for value, at in places:
            if not box.low_whisker <= value <= box.high_whisker:
                axes.plot([value], [at], "o", **outlier)
        axes.plot([box.mean], [y], "D", color=palette.ink, markersize=4)
    axes.plot([], [], "D", color=palette.ink, markersize=4, label="mean")
    if any(box.outliers for _, _, box in rows):
        axes.plot([], [], "o", label="outlier", **outlier)
    if every:
        axes.plot([], [], ".", color=palette.light, markersize=8, label="run")
    axes.margins(x=0.04)
    _rows(axes, [treatment.name for treatment in treatments])


def bars(axes: Any, named: Sequence[tuple[str, Estimate]], palette: Palette) -> None:
    """A bar from zero to each mean, its interval as an error bar, the figure beside it. The first is the best."""
    least = min(0.0, *(estimate.ends[0] for _, estimate in named))
    most = max(0.0, *(estimate.ends[1] for _, estimate in named))
    gap = 0.02 * (most - least)
    for y, (_, estimate) in enumerate(named):
        low, high = estimate.ends
        axes.barh(y, estimate.value, 2 * _HALF, color=palette.best if y == 0 else palette.light, linewidth=0)
        if estimate.interval is not None:
            axes.plot([low, high], [y, y], color=palette.ink, linewidth=1.5)
            for end in (low, high):
                axes.plot([end] * 2, [y - _HALF / 2, y + _HALF / 2], color=palette.ink, linewidth=1.5)
        axes.text(max(high, 0.0) + gap, y, _figure(estimate.value), va="center", ha="left", color=palette.ink)
    axes.set_xlim(least - (gap if least < 0 else 0), most + 0.16 * (most - least) or 1.0)
    _rows(axes, [name for name, _ in named])


def shortened(name: str, most: int = 30) -> str:
    """A treatment's name as it fits beside a row."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [shortened(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def _scatter(i: int) -> float:
    """Moves dots apart by the golden ratio, so that equal values don't hide each other."""
    return _HALF * (((i + 1) * 0.618034) % 1 - 0.5) * 1.6
