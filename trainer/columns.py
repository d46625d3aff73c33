"""Tables of text, and their rows aligned in columns."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from unicodedata import combining, east_asian_width

GAP = "  "


@dataclass(frozen=True)
class Table:
    """A table's caption, heads and rows; the first cell of a row is its head. `left` columns are text.

    A row whose first cell is in `marked` stands out.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...] = (0,)
    marked: Collection[str] = ()


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """A line per row: columns as wide as their widest cell, to the right but for those numbered in `left`."""
    if not rows:
        return []
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            _padded(text, width, left=i in left) for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(GAP.join(cells).rstrip())
    return lines


def _padded(text: str, width: int, *, left: bool) -> str:
    room = " " * (width - _width(text))
    return text + room if left else room + text


def _width(text: str) -> int:
    """Of how many letters a terminal makes room: two for one of East Asia, none for what is set onto another."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(letter) else 1 + (east_asian_width(letter) in "WF") for letter in text)
