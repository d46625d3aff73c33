"""Treatments in words and cells, for the terminal and the page alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainer.benchmark.findings import Treatment
from trainer.benchmark.intervals import Estimate
from trainer.report.treatments import Statistics
from trainer.report.wording import count, listed, memory

ABSENT = "–"
_LEAST_P = 0.0001
_MOST_NAMED = 4


@dataclass(frozen=True)
class Grid:
    """A table's caption, heads and rows; the first cell of a row is its head. `left` columns are text."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...] = (0,)


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


def ranking(statistics: Statistics) -> Grid:
    """Means with their intervals, and how they stand to the best."""
    found = statistics.findings
    rows = [
        (
            ABSENT if treatment.rank is None else str(treatment.rank),
            treatment.name,
            _runs(treatment),
            ABSENT if treatment.mean is None else figure(treatment.mean.value),
            ABSENT if treatment.mean is None else interval(treatment.mean),
            ABSENT if treatment.ratio is None else figure(treatment.ratio.value),
            ABSENT if treatment.ratio is None else interval(treatment.ratio),
            {True: "yes", False: "no", None: ABSENT}[treatment.differs],
        )
        for treatment in found.compared
    ]
    heads = (
        "rank",
        statistics.named_by,
        "runs",
        "mean",
        "95 % interval",
        "times the best",
        "95 % interval",
        "told apart",
    )
    return Grid(f"{found.quantity.titled}, ranked by the mean", heads, tuple(rows), (1,))


def spread(statistics: Statistics) -> Grid:
    """What the box plots show."""
    rows = []
    for treatment in statistics.findings.compared:
        box = treatment.box
        assert box is not None, "what is compared has a box"  # noqa: S101
        five = (box.min, box.q1, box.median, box.q3, box.max, box.iqr, box.low_fence, box.high_fence)
        outliers = f"{len(box.outliers)}"
        deviation = ABSENT if box.deviation is None else figure(box.deviation)
        variance = ABSENT if box.variance is None else figure(box.variance)
        rows.append((treatment.name, *map(figure, five), outliers, deviation, variance))
    heads = (statistics.named_by, "min", "Q1", "median", "Q3", "max", "IQR", "low fence", "high fence", "outliers")
    caption = f"Spread of {statistics.findings.quantity.titled}"
    return Grid(caption, (*heads, "deviation", "variance"), tuple(rows))


def pairs(statistics: Statistics) -> Grid:
    """Every pair that is listed: by how much, and how sure. Differences stand in for ratios where there are none."""
    found = statistics.findings.comparison.pairs
    ratios = all(pair.ratio is not None for pair in found)
    heads = ("A", "B", "A / B" if ratios else "A − B", "95 % interval", "p corrected", "Cliff's delta", "Hedges' g")
    rows = tuple(
        (
            pair.a,
            pair.b,
            *_both(pair.ratio if ratios else pair.difference),
            _p(pair.means.corrected),
            f"{pair.cliffs_delta:.2f} ({pair.magnitude})",
            ABSENT if pair.hedges_g is None else f"{pair.hedges_g:.2f}",
            "yes" if pair.differs else "no",
        )
        for pair in found
    )
    caption = f"Pairs: the mean {statistics.findings.quantity.titled} of A against that of B"
    return Grid(caption, (*heads, "told apart"), rows, (0, 1))


def more_of_pairs(statistics: Statistics) -> Grid:
    """The same pairs by their differences, their medians and their ranks."""
    heads = ("A", "B", "A − B", "95 % interval", "median A / median B", "95 % interval", "U", "p of ranks corrected")
    rows = tuple(
        (
            pair.a,
            pair.b,
            *_both(pair.difference),
            *_both(pair.ratio_of_medians),
            f"{pair.u:g}",
            _p(pair.ranks.corrected),
        )
        for pair in statistics.findings.comparison.pairs
    )
    return Grid(
        "The same pairs: differences of means, ratios of medians, and what their ranks say", heads, rows, (0, 1)
    )


def loading(statistics: Statistics) -> Grid | None:
    """What loading took, means over runs; None where nothing of it was measured."""
    if not statistics.loading:
        return None
    columns: list[tuple[str, dict[str, str]]] = []
    for each in statistics.loading:
        write: Callable[[float], str] = memory if each.quantity.unit == "bytes" else figure
        cells = {measured.treatment: write(measured.mean.value) for measured in each.treatments}
        columns.append((_head(each.quantity.name), cells))
    if statistics.compression:
        ratios = {found.treatment: figure(found.ratio) for found in statistics.compression}
        columns.append(("compression", ratios))
    rows = [
        (treatment.name, *(cells.get(treatment.name, ABSENT) for _, cells in columns))
        for treatment in statistics.findings.compared
    ]
    return Grid(
        "What a run read and how fast: means over runs, seconds those of the slowest rank",
        (statistics.named_by, *(head for head, _ in columns)),
        tuple(rows),
    )


def figure(value: float) -> str:
    """A figure of a comparison: as many digits as its interval can bear."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def interval(estimate: Estimate) -> str:
    """Both ends of an interval."""
    return (
        ABSENT
        if estimate.interval is None
        else f"{figure(estimate.interval.low)} to {figure(estimate.interval.high)}"
    )


def _both(estimate: Estimate | None) -> tuple[str, str]:
    return (ABSENT, ABSENT) if estimate is None else (figure(estimate.value), interval(estimate))


def _runs(treatment: Treatment) -> str:
    values, missing = len(treatment.sample.values), len(treatment.sample.left_out)
    return f"{values} of {values + missing}" if missing else str(values)


def _p(value: float) -> str:
    return f"< {_LEAST_P}" if value < _LEAST_P else f"{value:.2g}"


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
