"""The comparison of treatments as text, at the end of a run and of `report`."""

from trainer.benchmark import text
from trainer.report import treatment_words as words
from trainer.report.treatments import Statistics

_INDENT = "  "
_MOST_ROWS = 12


def compared(statistics: Statistics) -> str:
    """What came out, then ranking, pairs and loading, then what has to be known beside them."""
    found = statistics.findings
    parts = [[_INDENT + words.verdict(statistics)]]
    if found.compared:
        parts.append(list(text.lines(text.ranking(found, statistics.named_by), _MOST_ROWS)))
        parts.append(list(text.lines(text.spread(found, statistics.named_by), _MOST_ROWS)))
    if found.comparison.pairs:
        parts.append(list(text.lines(text.pairs(found), _MOST_ROWS)))
    if (loading := words.loading(statistics)) is not None:
        parts.append(list(text.lines(loading, _MOST_ROWS)))
    parts.append([f"{_INDENT}{sentence}" for sentence in statistics.remarks])
    return "\n\n".join("\n".join(part) for part in parts if part)
