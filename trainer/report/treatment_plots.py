"""The charts of treatments on the page: box plots, and means with their intervals as error bars."""

from collections.abc import Sequence
from typing import Any

from trainer.benchmark import drawing
from trainer.benchmark.intervals import Estimate
from trainer.report.canvas import BEST, INK, LIGHT, SERIES, Chart, draw, figures_axis, legend
from trainer.report.treatments import Statistics, drawn

_PALETTE = drawing.Palette(ink=INK, series=SERIES, light=LIGHT, best=BEST)
_AROUND, _ROW, _LOW_ROW = 92, 38, 26  # what a chart takes beside its rows, and each of few or of many
_FEW = 8
_LETTER = 6.6  # how wide one is, about
_GAP = 14


def of_objective(statistics: Statistics) -> list[Chart]:
    """Box plots of the objective, and its means."""
    found = statistics.findings
    if not found.compared:
        return []
    means = [(treatment.name, treatment.mean) for treatment in found.compared if treatment.mean is not None]
    return [_boxes(statistics), _bars("treatment-means", found.quantity.name, found.quantity.titled, means)]


def of_loading(statistics: Statistics) -> list[Chart]:
    """Throughput and bytes on the wire, where they were measured."""
    return [
        _bars(f"treatment-{quantity.name}", quantity.name, quantity.unit, means)
        for quantity, means in drawn(statistics)
    ]


def _boxes(statistics: Statistics) -> Chart:
    found = statistics.findings
    compared = found.compared
    text = (
        "A box runs from the first to the third quartile, its thick line is the median. Whiskers reach to the last "
        "value within 1.5 interquartile ranges of the box; what lies beyond is an outlier."
    )

    def fill(axes: Any) -> None:
        drawing.boxes(axes, compared, _PALETTE)
        _finish(axes, found.quantity.titled, log=axes.get_xscale() == "log")

    names = [treatment.name for treatment in compared]
    return draw("treatment-boxes", f"{found.quantity.name} by treatment", text, fill, **_room(names))


def _bars(name: str, measured: str, axis: str, rows: Sequence[tuple[str, Estimate]]) -> Chart:
    text = (
        "A bar is the mean over the runs of a treatment; the line at its end is the mean's 95 % confidence interval."
    )

    def fill(axes: Any) -> None:
        drawing.bars(axes, rows, _PALETTE)
        _finish(axes, axis, log=False)

    return draw(name, f"{measured}, mean", text, fill, **_room([treatment for treatment, _ in rows]))


def _finish(axes: Any, title: str, *, log: bool) -> None:
    figures_axis(axes.xaxis, log=log)
    axes.set_xlabel(title)
    legend(axes)


def _room(names: Sequence[str]) -> dict[str, int]:
    """How large a chart with these rows is."""
    longest = max(len(drawing.shortened(name)) for name in names)
    row = _ROW if len(names) <= _FEW else _LOW_ROW
    return {"height": _AROUND + row * len(names), "left": round(_GAP + _LETTER * longest)}
