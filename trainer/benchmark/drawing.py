"""Draws box plots, and means as bars, as PNG files: a treatment a row, the best on top."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainer.benchmark.findings import Findings, Quantity, Treatment
from trainer.benchmark.intervals import Estimate
from trainer.benchmark.text import figure
from trainer.experiment.errors import UserError
from trainer.packages import load

BOXES, MEANS = "box-plots.png", "means.png"
_WIDTH = 8.0  # inches, as are all sizes here
_ROW = 0.42
_AROUND = 1.5
_DOTS_PER_INCH = 160
_SETTINGS: dict[str, Any] = {
    "font.size": 11,
    "text.parse_math": False,  # a parameter's value may hold a dollar
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": "#c5cad1",
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "grid.color": "#dfe3e8",
    "ytick.major.size": 0,
    "xtick.color": "#c5cad1",
    "xtick.labelcolor": "#3d444d",
    "legend.frameon": False,
}
_MOST_WITH_DOTS = 8  # treatments; of more, only the outliers are drawn
_LOG_FROM = 20  # a span of more than this factor is drawn on a log axis
_MOST = 1e300  # of an axis: beyond, matplotlib has no room for margins and ticks
_HALF = 0.3  # of a box's or a bar's height, in rows


_INK, _SERIES, _LIGHT, _BEST = "#3d444d", "#2f66c8", "#9db8e8", "#c8500a"


def draw(findings: Findings, folder: str | os.PathLike[str]) -> list[Path]:
    """Box plots and the means of what was compared, into `folder`; nothing where nothing is `drawable`.

    Raises:
        UserError: the folder can't be written.
    """
    compared, folder = findings.compared, Path(folder)
    if not drawable(compared):
        return []
    title = findings.quantity.titled
    size = len(compared)
    means = [(treatment.name, treatment.mean) for treatment in compared if treatment.mean is not None]
    return [
        _save(folder / BOXES, title, size, lambda axes: _boxes(axes, compared)),
        draw_means(findings.quantity, means, folder / MEANS),
    ]


def drawable(treatments: Sequence[Treatment]) -> bool:
    """Whether there are treatments, all of whose figures fit on an axis."""
    figures = [abs(value) for treatment in treatments for value in treatment.sample.values]
    figures += [abs(end) for treatment in treatments if treatment.mean is not None for end in treatment.mean.ends]
    return 0 <= max(figures, default=-1.0) <= _MOST


def draw_means(quantity: Quantity, named: Sequence[tuple[str, Estimate]], path: str | os.PathLike[str]) -> Path:
    """The means of a quantity as bars.

    Raises:
        UserError: the file can't be written.
    """
    title = f"{quantity.titled}: mean, and its 95 % confidence interval"
    return _save(Path(path), title, len(named), lambda axes: _bars(axes, named))


def _save(path: Path, title: str, rows: int, paint: Callable[[Any], None]) -> Path:
    mpl = load("matplotlib", "drawing")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The user's own settings of matplotlib must not change the picture.
    with mpl.rc_context({**mpl.rcParamsDefault, **_SETTINGS}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks becomes a box
        canvas = Figure(figsize=(_WIDTH, _AROUND + _ROW * rows), layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.add_subplot()
        paint(axes)
        axes.set_title(title, pad=24)
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(labels), borderaxespad=0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            canvas.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Software": None})
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def _boxes(axes: Any, treatments: Sequence[Treatment]) -> None:
    """A box plot for each treatment that has a box; with few treatments also a dot for each run."""
    found = [(treatment, treatment.box) for treatment in treatments if treatment.box is not None]
    every = len(found) <= _MOST_WITH_DOTS
    if all(box.min > 0 for _, box in found) and max(b.max for _, b in found) > _LOG_FROM * min(
        b.min for _, b in found
    ):
        axes.set_xscale("log")
    stats = [
        {
            "q1": box.q1, "med": box.median, "q3": box.q3, "mean": box.mean,
            "whislo": box.low_whisker, "whishi": box.high_whisker, "fliers": box.outliers,
        }
        for _, box in found
    ]  # fmt: skip
    if every:
        for y, (treatment, _) in enumerate(found):
            places = [y + _scatter(i) for i in range(len(treatment.sample.values))]
            axes.plot(treatment.sample.values, places, ".", color=_LIGHT, markersize=5, label="_" if y else "run")
    drawn = axes.bxp(
        stats,
        positions=range(len(found)),
        widths=2 * _HALF,
        orientation="horizontal",
        showmeans=True,
        manage_ticks=False,
        boxprops={"linewidth": 1.5},
        medianprops={"linewidth": 3, "solid_capstyle": "butt"},
        whiskerprops={"linewidth": 1.5},
        capprops={"linewidth": 1.5},
        meanprops={"marker": "D", "markerfacecolor": _INK, "markeredgecolor": _INK, "markersize": 4},
        flierprops={"markerfacecolor": "none", "markeredgecolor": _INK, "markersize": 6},
    )
    for part, lines in drawn.items():
        for i, line in enumerate(lines):
            # Two whiskers and two caps to a box.
            place = i // 2 if part in ("whiskers", "caps") else i
            if part not in ("means", "fliers"):
                line.set_color(_BEST if place == 0 else _SERIES)
    drawn["means"][0].set_label("mean")
    outliers = [line for line, (_, box) in zip(drawn["fliers"], found, strict=True) if box.outliers]
    if outliers:
        outliers[0].set_label("outlier")
    axes.margins(x=0.04)
    _rows(axes, [treatment.name for treatment in treatments])


def _bars(axes: Any, named: Sequence[tuple[str, Estimate]]) -> None:
    """A bar from zero to each mean, its interval as an error bar, the figure beside it. The first is the best."""
    least = min(0.0, *(estimate.ends[0] for _, estimate in named))
    most = max(0.0, *(estimate.ends[1] for _, estimate in named))
    gap = 0.02 * (most - least)
    for y, (_, estimate) in enumerate(named):
        low, high = estimate.ends
        axes.barh(y, estimate.value, 2 * _HALF, color=_BEST if y == 0 else _LIGHT, linewidth=0)
        if estimate.interval is not None:
            axes.plot([low, high], [y, y], color=_INK, linewidth=1.5)
            for end in (low, high):
                axes.plot([end] * 2, [y - _HALF / 2, y + _HALF / 2], color=_INK, linewidth=1.5)
        axes.text(max(high, 0.0) + gap, y, figure(estimate.value), va="center", ha="left", color=_INK)
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


def _scatter(i: int) -> float:
    """Moves dots apart by the golden ratio, so that equal values don't hide each other."""
    return _HALF * (((i + 1) * 0.618034) % 1 - 0.5) * 1.6
