"""Draws with matplotlib and hands out small inline SVG that takes its colours and fonts from the page.

Colours are drawn as stand-ins and then replaced by the page's custom properties, so a chart follows light and dark.
The same figures give the same bytes.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from trainer.report.markup import Markup, element

WIDTH, HEIGHT = 480, 300

INK, GRID = "#010101", "#010102"
SERIES, LIGHT, BEST, FAILED = "#010103", "#010104", "#010105", "#010106"
START, DATA, TRAIN, REST = "#010107", "#010108", SERIES, "#010109"
_PROPERTIES = {
    INK: "--soft",
    GRID: "--line",
    SERIES: "--series",
    LIGHT: "--series-light",
    BEST: "--best",
    FAILED: "--failed",
    START: "--start",
    DATA: "--data",
    REST: "--rest",
}
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trialrun",
    "text.parse_math": False,  # a parameter's value may hold a dollar
    "font.size": 12,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelpad": 6,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 1,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "legend.labelcolor": INK,
    "legend.borderpad": 0,
    "legend.handlelength": 1.2,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0,
}
_MOST = 1e300  # of an axis: beyond, matplotlib has no room for margins and ticks
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")


@dataclass(frozen=True)
class Chart:
    """A picture with its heading and what it shows in words; without `svg`, `text` says why there is none."""

    title: str
    text: str
    svg: Markup | None = None


def draw(
    name: str, title: str, text: str, paint: Callable[[Any], None], *, height: int = HEIGHT, left: int = 68
) -> Chart:
    """The chart that `paint` makes on matplotlib's axes. `name` keeps its SVG ids apart from other charts'.

    `height` is the whole picture's, `left` is kept free beside the axes for the labels of their ticks.
    """
    # The user's own settings of matplotlib must not change the page.
    with mpl.rc_context({**mpl.rcParamsDefault, **_SETTINGS}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that no font has is drawn by the browser
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((left / WIDTH, 50 / height, (WIDTH - left - 12) / WIDTH, (height - 88) / height))
        file = io.StringIO()
        try:
            paint(axes)
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        except ValueError:
            if all(-_MOST <= end <= _MOST for end in axes.dataLim.extents):
                raise
            return Chart(title, "Its figures are too large for an axis.")
    return Chart(title, text, _inline(name, title, text, file.getvalue(), height))


def figures_axis(axis: Any, *, log: bool) -> None:
    """Ticks of an axis that shows measured figures, written as everywhere on the page."""
    low, high = sorted(axis.get_view_interval())
    axis.set_minor_locator(NullLocator())
    if log and high / low > 6:  # within less, hardly a 1, 2 or 5 of a decade is to be seen
        axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 200 else (1.0, 2.0, 5.0), numticks=9))
    else:
        axis.set_major_locator(MaxNLocator(nbins=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _tick(value: float) -> str:
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"


def whole_axis(axis: Any) -> None:
    """Ticks of an axis that counts."""
    axis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))


def dots(axes: Any, points: Iterable[tuple[float, float]], colour: str, *, size: float = 5, label: str = "") -> None:
    """Points as one path of round strokes without length: a tenth of the bytes of markers."""
    points = list(points)
    if not points:
        return
    shape = Path([point for point in points for _ in range(2)], [Path.MOVETO, Path.LINETO] * len(points))
    shape.should_simplify = False  # it would drop strokes without length
    stroke = {"facecolor": "none", "edgecolor": colour, "linewidth": size, "capstyle": "round"}
    axes.add_patch(PathPatch(shape, **stroke))
    axes.update_datalim(points)
    if label:
        axes.plot([], [], "o", color=colour, markersize=size, markeredgewidth=0, label=label)


def boxes(axes: Any, rectangles: Sequence[tuple[float, float, float, float]], colour: str, label: str) -> None:
    """Rectangles (left, bottom, right, top) as one path."""
    if not rectangles:
        return
    corners = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for x0, y0, x1, y1 in rectangles]
    vertices = [point for box in corners for point in (*box, box[0])]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(corners)
    axes.add_patch(PathPatch(Path(vertices, codes), facecolor=colour, edgecolor="none", label=label))
    axes.update_datalim(vertices)


def legend(axes: Any) -> None:
    """A legend above the axes, to the right."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, loc="lower right", bbox_to_anchor=(1, 1.03), ncols=len(labels))


def _inline(name: str, title: str, text: str, svg: str, height: int) -> Markup:
    """The drawing alone: no XML head, no metadata, no unused ids, two decimals, the page's colours and fonts."""
    inner = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", inner, flags=re.DOTALL)
    inner = re.sub(r'(<g) id="[^"]*"', r"\1", inner)
    inner = re.sub(r'(<style type="text/css">.*?</style>)', "", inner, flags=re.DOTALL)
    inner = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", inner.replace("xlink:href", "href"))
    inner = re.sub(r"<[^>]*>", lambda tag: _DECIMALS.sub(_rounded, tag[0]), inner)  # tags alone, not the text
    inner = re.sub(r"font: [^;\"]*?(\d+)px [^;\"]*", r"font-size: \1px", inner)
    for stand_in, custom in _PROPERTIES.items():
        inner = inner.replace(stand_in, f"var({custom})")
    inner = re.sub(r"\s*\n\s*", "\n", inner)
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", text, id=f"{name}-text"),
        Markup(inner),
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_labelledby=f"{name}-title {name}-text",
    )


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
