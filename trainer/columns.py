"""Aligns rows of text in columns."""

from collections.abc import Sequence

GAP = "  "


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """A line per row: columns as wide as their widest cell, to the right but for those numbered in `left`."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    template = GAP.join(f"{{:{'<' if i in left else '>'}{width}}}" for i, width in enumerate(widths))
    return [template.format(*row).rstrip() for row in rows]
