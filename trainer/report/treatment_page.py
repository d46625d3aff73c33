"""The page's sections on treatments: what came out, by how much, how sure, and how the figures come about."""

from collections.abc import Sequence

from trainer.benchmark import text
from trainer.benchmark.text import Grid
from trainer.report import treatment_words as words
from trainer.report.markup import Markup, element, table
from trainer.report.treatments import Statistics

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


def sections(statistics: Statistics, objective: Sequence[Markup], loading: Sequence[Markup]) -> list[Markup]:
    """The comparison by the objective, and what loading took where that was measured; both with their charts."""
    found = [_objective(statistics, objective)]
    grid = words.loading(statistics)
    if grid is not None:
        said = element("p", _COMPRESSION if statistics.compression else None, class_="absent")
        found.append(
            element("section", element("h2", "Loading"), said, _table(grid), _charts(loading), class_="treatments")
        )
    return found


def _objective(statistics: Statistics, charts: Sequence[Markup]) -> Markup:
    found = statistics.findings
    said = element("p", words.verdict(statistics))
    remarks = element("ul", *(element("li", sentence) for sentence in statistics.remarks))
    tables: list[Markup] = []
    if found.compared:
        tables += [_table(text.ranking(found, statistics.named_by)), _charts(charts)]
    if found.comparison.pairs:
        tables += [_table(text.pairs(found)), _table(text.more_of_pairs(found))]
    if found.compared:
        tables.append(_table(text.spread(found, statistics.named_by)))
    method = (part for name, meaning in _METHOD for part in (element("dt", name), element("dd", meaning)))
    return element(
        "section",
        element("h2", "Treatments compared"),
        said,
        remarks if statistics.remarks else None,
        *tables,
        element("dl", *method, class_="method"),
        class_="treatments",
    )


def _charts(charts: Sequence[Markup]) -> Markup:
    return element("div", *charts, class_="charts")


def _table(grid: Grid) -> Markup:
    return table(
        grid.caption, grid.heads, grid.rows, numbers=[i for i in range(len(grid.heads)) if i not in grid.left]
    )
