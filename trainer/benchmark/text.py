"""Treatments as tables of text: their ranking, their box plots, and each pair."""

from collections.abc import Iterator, Sequence

from trainer.benchmark.findings import Findings, Treatment
from trainer.benchmark.intervals import Estimate
from trainer.columns import Table, aligned

ABSENT = "–"
_INDENT = "  "
_LEAST_P = 0.0001
_WHOLE = (1e3, 1e15)  # from and below which figures are written without decimals
_MOST_NAMED = 12  # runs without a result


def written(findings: Findings) -> str:
    """All tables one below the other, and the runs that left no result."""
    parts = []
    if findings.compared:
        parts += [lines(ranking(findings, "treatment")), lines(spread(findings, "treatment"))]
    else:
        parts.append(iter([f"{_INDENT}No run measured {findings.quantity.name}."]))
    if findings.comparison.pairs:
        parts.append(lines(pairs(findings)))
    if missing := list(_left_out(findings.treatments)):
        parts.append(iter(missing))
    return "\n\n".join("\n".join(part) for part in parts)


def lines(grid: Table, most: int | None = None) -> Iterator[str]:
    """A table's caption, heads and rows, or the first `most` of these, aligned."""
    yield _INDENT + grid.caption
    yield from (_INDENT * 2 + line for line in aligned([grid.heads, *grid.rows[:most]], left=grid.left))
    if most is not None and len(grid.rows) > most:
        yield f"{_INDENT * 2}and {len(grid.rows) - most} more, in statistics.json"


def ranking(findings: Findings, named_by: str) -> Table:
    """Means with their intervals, and how they stand to the best."""
    rows = [
        (
            ABSENT if treatment.rank is None else str(treatment.rank),
            treatment.name,
            _runs(treatment),
            *_both(treatment.mean),
            *_both(treatment.ratio),
            {True: "yes", False: "no", None: ABSENT}[treatment.differs],
        )
        for treatment in findings.compared
    ]
    heads = (
        "rank",
        named_by,
        "runs",
        "mean",
        "95 % interval",
        "times the best",
        "95 % interval",
        "told apart",
    )
    return Table(f"{findings.quantity.titled}, ranked by the mean", heads, tuple(rows), (1,))


def spread(findings: Findings, named_by: str) -> Table:
    """What the box plots show."""
    rows = []
    for treatment in findings.compared:
        box = treatment.box
        assert box is not None, "what is compared has a box"  # noqa: S101
        figures = (box.min, box.q1, box.median, box.q3, box.max, box.iqr, box.low_fence, box.high_fence)
        outliers = f"{len(box.outliers)}"
        rows.append((treatment.name, *map(_cell, figures), outliers, _cell(box.deviation), _cell(box.variance)))
    heads = (named_by, "min", "Q1", "median", "Q3", "max", "IQR", "low fence", "high fence", "outliers")
    caption = f"Spread of {findings.quantity.titled}"
    return Table(caption, (*heads, "deviation", "variance"), tuple(rows))


def pairs(findings: Findings) -> Table:
    """Every pair that is listed: by how much, and how sure. Differences stand in for ratios where there are none."""
    found = findings.comparison.pairs
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
    caption = f"Pairs: the mean {findings.quantity.titled} of A against that of B"
    return Table(caption, (*heads, "told apart"), rows, (0, 1))


def more_of_pairs(findings: Findings) -> Table:
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
        for pair in findings.comparison.pairs
    )
    return Table(
        "The same pairs: differences of means, ratios of medians, and what their ranks say", heads, rows, (0, 1)
    )


def figure(value: float) -> str:
    """A figure of a comparison: as many digits as its interval can bear."""
    return f"{value:,.0f}" if _WHOLE[0] <= abs(value) < _WHOLE[1] else f"{value:#.4g}"


def _cell(value: float | None) -> str:
    return ABSENT if value is None else figure(value)


def _both(estimate: Estimate | None) -> tuple[str, str]:
    """An estimate's value, and both ends of its interval."""
    if estimate is None or estimate.interval is None:
        return (ABSENT if estimate is None else figure(estimate.value)), ABSENT
    return figure(estimate.value), f"{figure(estimate.interval.low)} to {figure(estimate.interval.high)}"


def _left_out(treatments: Sequence[Treatment]) -> Iterator[str]:
    missing = [(treatment.name, run) for treatment in treatments for run in treatment.sample.left_out]
    if missing:
        yield f"{_INDENT}Runs without a result"
        yield from (f"{_INDENT * 2}{run.run} of {name}: {run.reason}" for name, run in missing[:_MOST_NAMED])
    if len(missing) > _MOST_NAMED:
        yield f"{_INDENT * 2}and {len(missing) - _MOST_NAMED} more"


def _runs(treatment: Treatment) -> str:
    values, missing = len(treatment.sample.values), len(treatment.sample.left_out)
    return f"{values} of {values + missing}" if missing else str(values)


def _p(value: float) -> str:
    return f"< {_LEAST_P}" if value < _LEAST_P else f"{value:.2g}"
