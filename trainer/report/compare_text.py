"""The comparison of two ledgers as text for the terminal."""

from collections.abc import Iterator

from trainer.columns import aligned
from trainer.report import compare_words as words
from trainer.report.compare_facts import Pair
from trainer.report.wording import one_line

_INDENT = "  "


def compared(pair: Pair) -> str:
    """All that is said of the two, each part with its heading."""
    parts = [list(_heading(pair)), _columns([("", "A", "B"), *words.sides(pair)])]
    parts.append([words.verdict(pair), *_columns(words.gained(pair))])
    if found := words.differences(pair):
        parts.append(["What differs (here is B, there is A):", *_listed(found)])
    if (remark := words.remark(pair)) is not None:
        parts.append([remark])
    if pair.is_scale_test:
        parts += list(_scale(pair))
    parts.append(["Metrics:", *_listed(words.agreement(pair))])
    return "\n\n".join("\n".join(part) for part in parts if part)


def _heading(pair: Pair) -> Iterator[str]:
    rows = [("A", pair.a.source, "the baseline"), ("B", pair.b.source, "is compared with it")]
    return iter(aligned(rows, left=range(3)))


def _scale(pair: Pair) -> Iterator[list[str]]:
    cells = [words.cell_row(cell) for cell in pair.facts.cells]
    yield ["Cells:", *(_INDENT + line for line in aligned([words.CELL_HEADS, *cells], left=(2, 6)))]
    yield ["The largest size that each carried:", *_columns([("", "A", "B"), *words.sizes(pair)])]
    only = words.carried_by_one(pair)
    yield ["Carried by one alone:", *_listed(only)] if only else ["What one carries, the other carries too."]


def _columns(rows: list[tuple[str, str, str]]) -> list[str]:
    return [_INDENT + line for line in aligned(rows, left=range(3))]


def _listed(sentences: list[str]) -> list[str]:
    return [_INDENT + one_line(sentence) for sentence in sentences]
