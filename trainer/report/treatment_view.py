"""What is shown of a search's treatments: what came out, by how much, how sure, and what loading took."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer.atomic import write_text
from trainer.benchmark import drawing, text
from trainer.benchmark.findings import Treatment
from trainer.benchmark.intervals import Estimate
from trainer.benchmark.text import figure as written
from trainer.columns import Table
from trainer.packages import PackageMissing, have
from trainer.report.charts import BEST, LIGHT, SERIES, axis, figure, plain, spans, trace
from trainer.report.results import Results
from trainer.report.treatments import NAME, PICTURES, Statistics, drawn, statistics
from trainer.report.view import ABSENT, Chart, Charts, Note, Part, Points, Section, Terms
from trainer.report.wording import count, listed, memory

_INDENT = "  "
_MOST_ROWS = 12  # of a table in the terminal
_MOST_NAMED = 4
_AROUND, _ROW, _LOW_ROW, _FEW = 100, 38, 26, 8  # what a chart takes beside its rows, and each of few or of many
_METHOD = (
    ("Run", "One trial, one figure: the ranks of a run waited for each other and are never counted apart."),
    (
        "Interval",
        (
            "Holds the truth in 95 of 100 such experiments, each interval by itself. Of a mean by Student's t, of a "
            "difference of means by Welch's, of their ratio by Welch's on the logarithms of the means, of a ratio of "
            "medians by a percentile bootstrap with a fixed seed."
        ),
    ),
    (
        "p",
        (
            "How often chance alone would set the means of two equal treatments at least as far apart, by the same t "
            "as the interval. That of ranks is Mann and Whitney's, exact for few runs: it assumes no distribution, "
            "and runs far from the others weigh no more. Both are corrected by Holm's method for all pairs tested."
        ),
    ),
    (
        "Told apart",
        "The corrected p of the means is below 0.05. Where it is not, the two may be equal or the runs too few.",
    ),
    (
        "Cliff's delta",
        (
            "How much oftener a run of A exceeds one of B than falls short of it, from −1 to 1. Below 0.147 it is "
            "called negligible, below 0.33 small, below 0.474 medium."
        ),
    ),
    ("Hedges' g", "The difference of the means in standard deviations, corrected for few runs."),
    (
        "Quartiles",
        "Interpolated linearly between the sorted runs, as numpy does. Fences lie 1.5 interquartile ranges beyond.",
    ),
)

_COMPRESSION = (
    "Compression is the bytes of the messages as they were encoded, by the bytes that came over the wire. Without it "
    "that is a little below 1: the wire also carries keys, times and the protocol's own bytes."
)


def leave_statistics(folder: Path, results: Results) -> Statistics | None:
    """The statistics, once they are written and said on stderr; None where the libraries are not installed.

    They are left in the folder as JSON and, where matplotlib is installed, as pictures.

    Raises:
        UserError: the folder can't be written.
    """
    found = told_statistics(results)
    if found is None:
        return None
    write_text(folder / NAME, found.model_dump_json(by_alias=True, indent=2) + "\n")
    pictures = ""
    if have("matplotlib"):
        drawing.draw(found.findings, folder / PICTURES)
        for quantity, means in drawn(found):
            drawing.draw_means(quantity, means, folder / PICTURES / f"{quantity.name}.png")
        pictures = f", pictures in {folder / PICTURES}"
    print(f"statistics: {folder / NAME}{pictures}", file=sys.stderr)
    return found


def told_statistics(results: Results) -> Statistics | None:
    """The statistics, once they are said on stderr; None where the libraries are not installed, which is said too."""
    try:
        found = statistics(results)
    except PackageMissing as error:
        print(f"\n  {error}\n", file=sys.stderr)
        return None
    print(f"\n{compared(found)}\n", file=sys.stderr)
    return found


def compared(statistics: Statistics) -> str:
    """The comparison as text: what came out, ranking, pairs and loading, then what has to be known beside them."""
    found = statistics.findings
    parts = [[_INDENT + verdict(statistics)]]
    if found.compared:
        parts.append(list(text.lines(text.ranking(found, statistics.named_by), _MOST_ROWS)))
        parts.append(list(text.lines(text.spread(found, statistics.named_by), _MOST_ROWS)))
    if found.comparison.pairs:
        parts.append(list(text.lines(text.pairs(found), _MOST_ROWS)))
    if (grid := loading(statistics)) is not None:
        parts.append(list(text.lines(grid, _MOST_ROWS)))
    parts.append([f"{_INDENT}{sentence}" for sentence in statistics.remarks])
    return "\n\n".join("\n".join(part) for part in parts if part)


def sections(statistics: Statistics) -> Iterator[Section]:
    """The comparison by the objective, and what loading took where that was measured; both with their charts."""
    found = statistics.findings
    parts: list[Part] = [Note(verdict(statistics))]
    if statistics.remarks:
        parts.append(Points(statistics.remarks))
    if found.compared:
        means = [(treatment.name, treatment.mean) for treatment in found.compared if treatment.mean is not None]
        drawn_means = _bars("treatment-means", found.quantity.name, found.quantity.titled, means)
        parts += [text.ranking(found, statistics.named_by), Charts((_boxes(statistics), drawn_means))]
    if found.comparison.pairs:
        parts += [text.pairs(found), text.more_of_pairs(found)]
    if found.compared:
        parts.append(text.spread(found, statistics.named_by))
    yield Section("Treatments compared", (*parts, Terms(_METHOD)))
    grid = loading(statistics)
    if grid is not None:
        said = (Note(_COMPRESSION, "soft"),) if statistics.compression else ()
        means_of = (
            _bars(f"treatment-{quantity.name}", quantity.name, quantity.unit, means)
            for quantity, means in drawn(statistics)
        )
        yield Section("Loading", (*said, grid, Charts(tuple(means_of))))


def _boxes(statistics: Statistics) -> Chart:
    """A box plot of each treatment by the quartiles that the tables have, and each run as a dot."""
    found = statistics.findings
    said = (
        "A box runs from the first to the third quartile, its thick line is the median. Whiskers reach to the last "
        "value within 1.5 interquartile ranges of the box; what lies beyond is an outlier. A dot is a run."
    )
    traces: list[dict[str, Any]] = []
    for place, treatment in enumerate(found.compared):
        box, name = treatment.box, _row(treatment.name)
        assert box is not None, "what is compared has a box"  # noqa: S101
        of = {"q1": box.q1, "median": box.median, "q3": box.q3, "lowerfence": box.low_whisker}
        of |= {"upperfence": box.high_whisker, "mean": box.mean}
        drawn_box = {
            "type": "box",
            "orientation": "h",
            "y": [name],
            "showlegend": False,
            "fillcolor": "rgba(0,0,0,0)",
        }
        colour = {"line": {"color": BEST if place == 0 else SERIES, "width": 2}, "boxmean": True, "hoverinfo": "x"}
        traces.append(drawn_box | colour | {key: [value] for key, value in of.items()})
        runs: dict[str, Any] = {"marker": {"size": 5, "opacity": 0.8}, "hovertemplate": "%{x:.5g}<extra></extra>"}
        traces.append(trace("markers", treatment.sample.values, [name] * len(treatment.sample.values), LIGHT, **runs))
    values = [value for treatment in found.compared for value in treatment.sample.values]
    return _rows(
        "treatment-boxes", f"{found.quantity.name} by treatment", said, traces, found.quantity.titled, spans(values)
    )


def _bars(name: str, measured: str, title: str, rows: Sequence[tuple[str, Estimate]]) -> Chart:
    said = (
        "A bar is the mean over the runs of a treatment; the line at its end is the mean's 95 % confidence interval."
    )
    error = {"type": "data", "symmetric": False, "color": "var(--ink)", "thickness": 1.5}
    error |= {
        "array": [of.ends[1] - of.value for _, of in rows],
        "arrayminus": [of.value - of.ends[0] for _, of in rows],
    }
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [of.value for _, of in rows],
        "y": [_row(treatment) for treatment, _ in rows],
        "error_x": error,
        "marker": {"color": [BEST if i == 0 else LIGHT for i in range(len(rows))]},
        "text": [written(of.value) for _, of in rows],
        "textposition": "none",
        "hovertemplate": "%{y}: %{text}<extra></extra>",
        "showlegend": False,
    }
    return _rows(name, f"{measured}, mean", said, [bars], title, log=False)


def _rows(name: str, title: str, said: str, traces: Sequence[dict[str, Any]], unit: str, log: bool) -> Chart:
    """A chart with a row for each treatment, the best on top."""
    names = dict.fromkeys(row for each in traces for row in each["y"])
    order = {"type": "category", "autorange": "reversed", "showgrid": False}
    found = figure(traces, xaxis=axis(unit, log=log, showgrid=True), yaxis=order)
    row = _ROW if len(names) <= _FEW else _LOW_ROW
    return Chart(name, title, said, found, _AROUND + row * len(names))


def _row(treatment: str) -> str:
    return plain(drawing.shortened(treatment))


def verdict(statistics: Statistics) -> str:
    """Which treatment is best, and from how many others it was told apart."""
    found = statistics.findings
    if not found.compared:
        return f"No run measured {found.quantity.name}."
    best = found.compared[0]
    least = "least" if found.quantity.better == "Minimize" else "greatest"
    # Whoever misses runs comes after all who miss none, however good its others are.
    ahead = any(_ahead(found.quantity.better, treatment, best) for treatment in found.compared[1:])
    whole = " of the treatments that miss no run" if ahead else ""
    said = f"{best.name} has the {least} mean of {found.quantity.name}{whole}{_apart(found.compared[1:])}."
    once = [treatment.name for treatment in found.compared if len(treatment.sample.values) == 1]
    return f"{said} With one run there is nothing to compare {_some(once)} by." if once else said


def _ahead(better: str, one: Treatment, other: Treatment) -> bool:
    """Whether one's mean is better than the other's."""
    if one.mean is None or other.mean is None:
        return False
    return one.mean.value < other.mean.value if better == "Minimize" else one.mean.value > other.mean.value


def _apart(others: Sequence[Treatment]) -> str:
    """From how many of those it was compared with the best was told apart."""
    compared = [treatment for treatment in others if treatment.differs is not None]
    near = [treatment.name for treatment in compared if not treatment.differs]
    if not compared:
        return "; there is no other to compare it with"
    if not near:
        return f" and was told apart from {_some([treatment.name for treatment in compared])}"
    if len(near) == len(compared):
        return f", but could not be told apart from {_some(near)}"
    return f" and was told apart from {len(compared) - len(near)} of {len(compared)} others, not from {_some(near)}"


def _some(names: Sequence[str]) -> str:
    """The names, or how many they are."""
    return listed(names) if len(names) <= _MOST_NAMED else count(len(names), "treatment")


def loading(statistics: Statistics) -> Table | None:
    """What loading took, means over runs; None where nothing of it was measured."""
    if not statistics.loading:
        return None
    columns: list[tuple[str, dict[str, str]]] = []
    for each in statistics.loading:
        write: Callable[[float], str] = memory if each.quantity.unit == "bytes" else written
        cells = {measured.treatment: write(measured.mean.value) for measured in each.treatments}
        columns.append((_head(each.quantity.name), cells))
    if statistics.compression:
        ratios = {found.treatment: written(found.ratio) for found in statistics.compression}
        columns.append(("compression", ratios))
    rows = [
        (treatment.name, *(cells.get(treatment.name, ABSENT) for _, cells in columns))
        for treatment in statistics.findings.compared
    ]
    return Table(
        "What a run read and how fast: means over runs, seconds those of the slowest rank",
        (statistics.named_by, *(head for head, _ in columns)),
        tuple(rows),
    )


def _head(metric: str) -> str:
    return {
        "messagesPerSecond": "messages/s",
        "megabytesPerSecond": "MB/s",
        "setupSeconds": "set-up s",
        "fetchSeconds": "fetch s",
        "decodeSeconds": "decode s",
        "dealSeconds": "deal s",
        "payloadBytes": "encoded",
        "wireBytes": "on the wire",
    }.get(metric, metric)
