"""The comparison of treatments as text, at the end of a run and of `report`."""

from collections.abc import Iterator

from trainer.report import treatment_words as words
from trainer.report.columns import aligned
from trainer.report.treatment_words import Grid
from trainer.report.treatments import Statistics

_INDENT = "  "
_MOST_ROWS = 12


def compared(statistics: Statistics) -> str:
    """What came out, then ranking, pairs and loading, then what has to be known beside them."""
    parts = [[_INDENT + words.verdict(statistics)]]
    if statistics.findings.compared:
        parts.append(list(_table(words.ranking(statistics))))
        parts.append(list(_table(words.spread(statistics))))
    if statistics.findings.comparison.pairs:
        parts.append(list(_table(words.pairs(statistics))))
    if (loading := words.loading(statistics)) is not None:
        parts.append(list(_table(loading)))
    parts.append([f"{_INDENT}{sentence}" for sentence in statistics.remarks])
    return "\n\n".join("\n".join(part) for part in parts if part)


def _table(grid: Grid) -> Iterator[str]:
    yield _INDENT + grid.caption
    yield from (_INDENT * 2 + line for line in aligned([grid.heads, *grid.rows[:_MOST_ROWS]], left=grid.left))
    if len(grid.rows) > _MOST_ROWS:
        yield f"{_INDENT * 2}and {len(grid.rows) - _MOST_ROWS} more, in statistics.json"
