"""HTML in which text is escaped unless it was made here: a hostile name or error text stays text."""

import html
from collections.abc import Collection, Iterable, Sequence

_EMPTY = frozenset({"meta", "br", "hr"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *children: str | None, **attributes: str) -> Markup:
    """An element; `children` that are plain text are escaped, None is left out. `class_` spells class."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_escaped(value)}"' for name, value in attributes.items()
    )
    if tag in _EMPTY:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{joined(children)}</{tag}>")


def joined(children: Iterable[str | None]) -> Markup:
    """The children one after another, plain text escaped."""
    return Markup("".join(child if isinstance(child, Markup) else _escaped(child) for child in children if child))


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    marked: Collection[str] = (),
) -> Markup:
    """A table that scrolls sideways by itself where it is too wide; `numbers` are columns aligned to the right.

    A row whose first cell is in `marked` stands out. The first cell of each row is its head.
    """

    def cell(tag: str, column: int, content: str, **attributes: str) -> Markup:
        if column in numbers:
            attributes["class_"] = "number"
        return element(tag, content, **attributes)

    head = element("tr", *(cell("th", i, text, scope="col") for i, text in enumerate(heads)))
    body = (
        element(
            "tr",
            cell("th", 0, row[0], scope="row"),
            *(cell("td", i, content) for i, content in enumerate(row[1:], 1)),
            **({"class_": "marked"} if row[0] in marked else {}),
        )
        for row in rows
    )
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _escaped(text: str) -> str:
    # NUL and its like are errors in HTML even when escaped.
    return html.escape("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text))
