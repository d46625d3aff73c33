"""Writes box plots and bars as PNG files, in colours of their own on white."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainer.benchmark import paint
from trainer.benchmark.findings import Findings
from trainer.benchmark.intervals import Estimate
from trainer.benchmark.sample import Quantity
from trainer.experiment.errors import UserError

BOXES, MEANS = "box-plots.png", "means.png"
_WIDTH = 8.0  # inches, as are all sizes here
_ROW = 0.42
_AROUND = 1.5
_DOTS_PER_INCH = 160
_LIGHT = paint.Palette(ink="#3d444d", series="#2f66c8", light="#9db8e8", best="#c8500a")
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


def draw(findings: Findings, folder: Path) -> list[Path]:
    """Box plots and the means of what was compared, into `folder`; nothing where there is nothing to draw.

    Raises:
        UserError: the folder can't be written.
    """
    compared = findings.compared
    if not compared:
        return []
    title = findings.quantity.titled
    size = len(compared)
    means = [(treatment.name, treatment.mean) for treatment in compared if treatment.mean is not None]
    return [
        _save(folder / BOXES, title, size, lambda axes: paint.boxes(axes, compared, _LIGHT)),
        draw_means(findings.quantity, means, folder / MEANS),
    ]


def draw_means(quantity: Quantity, named: Sequence[tuple[str, Estimate]], path: Path) -> Path:
    """The means of a quantity as bars.

    Raises:
        UserError: the file can't be written.
    """
    title = f"{quantity.titled}: mean, and its 95 % confidence interval"
    return _save(path, title, len(named), lambda axes: paint.bars(axes, named, _LIGHT))


def _save(path: Path, title: str, rows: int, paint: Callable[[Any], None]) -> Path:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The user's own settings of matplotlib must not change the picture.
    with mpl.rc_context({**mpl.rcParamsDefault, **_SETTINGS}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks becomes a box
        figure = Figure(figsize=(_WIDTH, _AROUND + _ROW * rows), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        paint(axes)
        axes.set_title(title, pad=24)
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(labels), borderaxespad=0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Software": None})
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    return path
