"""Writes a report as one HTML file that needs no network: hostile text stays text, and only our own scripts run.

Charts and the table of trials are drawn by `page.js` with Plotly, whose script is in the file.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainer.columns import Table
from trainer.packages import missing
from trainer.report.view import (
    Beside,
    Chart,
    Charts,
    Column,
    Listing,
    Note,
    Page,
    Part,
    Points,
    Section,
    Terms,
    Tile,
    Tiles,
    TrialTable,
    single,
)

NAME = "report.html"
_EMPTY = frozenset({"meta", "br", "hr", "input"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def is_page(path: Path) -> bool:
    """Whether a file is a page of ours: all begin in the same way.

    Raises:
        OSError: it can't be read.
    """
    start = _START.encode()
    with path.open("rb") as file:
        return file.read(len(start)) == start


def render(page: Page) -> str:
    """The page's HTML.

    Raises:
        PackageMissing: plotly is not installed.
    """
    scripts = [_script(_plotly()), _script(_own("page.js"))]
    hashes = " ".join(f"'sha256-{digest}'" for _, digest in scripts)
    # Were escaping to let a script through, the browser would not run it; nothing may be loaded or sent. The lines
    # through parallel axes are drawn by WebGL programs that Plotly makes as it goes.
    policy = f"script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
    head = joined(
        (
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", page.title),
            element("style", Markup(_own("page.css"))),
        )
    )
    content = element("main", _header(page), *(_section(section) for section in page.sections))
    told = {
        "name": page.name,
        "charts": {
            chart.name: {**chart.figure, "height": chart.height}
            for part in _parts(page)
            if isinstance(part, Charts)
            for chart in part.charts
            if chart.figure is not None
        },
        "columns": [_column(column) for column in page.columns],
        "marked": sorted(page.marked),
        "order": next((part.order for part in _parts(page) if isinstance(part, TrialTable)), ()),
    }
    data = Markup(f'<script type="application/json" id="data">{_json(told)}</script>')
    body = element("body", content, data, *(script for script, _ in scripts))
    return Markup(f'{_START}{policy}">{head}</head>{body}</html>\n')


# How all pages of ours begin, those of version 0.1 too.
_START = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; "
)


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


def _header(page: Page) -> Markup:
    state = element("span", page.state, class_=f"state {page.state}") if page.state else None
    return element(
        "header",
        element("p", f"{page.kind} ", state, class_="kind"),
        element("h1", page.name),
        *map(_part, page.head),
    )


def _section(section: Section) -> Markup:
    return element("section", element("h2", section.heading), *map(_part, section.parts))


def _part(part: Part | Beside) -> Markup:
    match part:
        case Note():
            return element("p", part.text, **({"class_": part.tone} if part.tone else {}))
        case Points():
            return element("ul", *(element("li", sentence) for sentence in part.sentences))
        case Tiles():
            return element("dl", *map(_tile, part.figures), class_="figures")
        case Terms():
            each = (made for word, said in part.meanings for made in (element("dt", word), element("dd", said)))
            return element("dl", *each, class_="method")
        case Listing():
            return element("details", element("summary", part.title), element("pre", part.text))
        case Charts():
            return element("div", *map(_chart, part.charts), class_="charts")
        case Table():
            return _table(part)
        case TrialTable():
            return _trials(part)
        case Beside():
            columns = (element("div", *map(_part, column)) for column in part.columns)
            return element("div", *columns, class_="beside")


def _tile(tile: Tile) -> Markup:
    name = element("dt", tile.name, **({"title": tile.how} if tile.how else {}))
    return element("div", name, element("dd", tile.value, **({"class_": "absent"} if tile.absent else {})))


def _chart(chart: Chart) -> Markup:
    """A chart's place with its heading and its text; the text alone where there is no picture."""
    if chart.figure is None:
        return element("div", element("h3", chart.title), element("p", chart.text, class_="soft"), class_="no-chart")
    wide = {"class_": "wide"} if chart.wide else {}
    place = element("div", class_="plot", data_chart=chart.name, style=f"height:{chart.height}px")
    chosen = element("div", class_="choices") if "choices" in chart.figure else None
    return element("figure", element("h3", chart.title), chosen, place, element("figcaption", chart.text), **wide)


def _table(table: Table) -> Markup:
    """A table that scrolls sideways by itself where it is too wide."""

    def cell(tag: str, at: int, content: str, **more: str) -> Markup:
        kind = "long" if "\n" in content or len(content) > 60 else ""
        names = " ".join(name for name in ("" if at in table.left else "number", kind) if name)
        lines = content.split("\n")
        inner = [part for line in lines for part in (element("br"), line)][1:]
        return element(tag, *inner, **({"class_": names} if names else {}), **more)

    head = element("tr", *(cell("th", i, text, scope="col") for i, text in enumerate(table.heads)))
    body = (
        element(
            "tr",
            cell("th", 0, row[0], scope="row"),
            *(cell("td", i, content) for i, content in enumerate(row[1:], 1)),
            **({"class_": "marked"} if row[0] in table.marked else {}),
        )
        for row in table.rows
    )
    whole = element("table", element("caption", table.caption), element("thead", head), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=table.caption)


def _trials(table: TrialTable) -> Markup:
    """The place of the table of trials, which the page's script fills."""
    without = element("noscript", element("p", "The table and the charts need JavaScript; results.jsonl has it all."))
    shown = element("table", element("caption", table.caption), id="trials")
    tools = element("div", class_="tools", id="trial-tools")
    return element("div", tools, element("div", shown, class_="scroll", tabindex="0"), without)


def _parts(page: Page) -> Iterator[Part]:
    yield from single((*page.head, *(part for section in page.sections for part in section.parts)))


def _column(column: Column) -> Mapping[str, Any]:
    return {
        "name": column.name,
        "head": column.head,
        "unit": column.unit,
        "shown": column.shown,
        "values": [printable(value) if isinstance(value, str) else value for value in column.values],
    }


def printable(text: str) -> str:
    """Text without what is no letter: NUL and its like are errors in HTML even when escaped."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _json(value: Any) -> str:
    """JSON for a script element, which nothing in it ends. A figure that is not finite is none."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and value - value != 0 else value


def _script(text: str) -> tuple[Markup, str]:
    """A script element, and the hash by which the page's policy lets it run."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(f"<script>{text}</script>"), digest


@cache
def _plotly() -> str:
    """Plotly's script as its package brings it; the package itself takes long to import and is not needed."""
    found = find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        raise missing("plotly")
    script = Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return script.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _own(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _escaped(text: str) -> str:
    return html.escape(printable(text))
