"""What a report consists of, whoever shows it: sections of sentences, tables and charts. Pure."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.columns import Table

# What stands for a figure that was not measured.
ABSENT = "–"


@dataclass(frozen=True)
class Note:
    """A paragraph; `tone` is how it stands out: "lead", "caveat", "soft", or not at all."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Points:
    """Sentences, each by itself."""

    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Tile:
    """A figure with its name; `how` it comes about. `absent` is a word in a figure's place."""

    name: str
    value: str
    how: str = ""
    absent: bool = False


@dataclass(frozen=True)
class Tiles:
    """The most important figures, beside each other."""

    figures: tuple[Tile, ...]


@dataclass(frozen=True)
class Terms:
    """Words and what they mean."""

    meanings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Listing:
    """A text of several lines, such as a file, to be copied; `title` is shown first."""

    title: str
    text: str


@dataclass(frozen=True)
class Chart:
    """A picture with its heading and what it shows in words; without `figure`, `text` says why there is none.

    `figure` is Plotly's: `data` and `layout`. In place of a list of values stands `column(...)` where it is one of
    the trials' columns, and `var(--name)` for a colour of the page. `height` is in pixels; `wide` ones have a row to
    themselves.
    """

    name: str
    title: str
    text: str
    figure: Mapping[str, Any] | None = None
    height: int = 320
    wide: bool = False


@dataclass(frozen=True)
class Charts:
    """Charts beside each other."""

    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class TrialTable:
    """All trials, to be sorted, filtered and downloaded; `order` is that in which they stand at first."""

    caption: str
    order: tuple[int, ...]


Part = Note | Points | Tiles | Terms | Listing | Charts | Table | TrialTable


@dataclass(frozen=True)
class Beside:
    """Columns of parts, beside each other where there is room."""

    columns: tuple[tuple[Part, ...], ...]


@dataclass(frozen=True)
class Section:
    """Parts under a heading."""

    heading: str
    parts: tuple[Part | Beside, ...]


@dataclass(frozen=True)
class Column:
    """A figure or a word of each trial; None where a trial has none.

    `unit` says how it is written: "" as it is, "s" as a time, "bytes" as memory.
    """

    name: str
    head: str
    values: Sequence[Any]
    unit: str = ""
    shown: bool = True  # in the table; else in charts and downloads alone


@dataclass(frozen=True)
class Page:
    """A whole report. `kind`, `name` and `state` stand above all; `columns` are the trials'."""

    title: str
    kind: str
    name: str
    state: str
    head: tuple[Part, ...]
    sections: tuple[Section, ...]
    columns: tuple[Column, ...] = ()
    marked: frozenset[int] = frozenset()  # rows of the trials that stand out


def single(parts: Iterable[Part | Beside]) -> Iterator[Part]:
    """The parts one after another, those too that stand beside each other."""
    for part in parts:
        if isinstance(part, Beside):
            yield from itertools.chain.from_iterable(part.columns)
        else:
            yield part


def column(name: str, rows: Sequence[int] | None = None) -> dict[str, Any]:
    """A column of the trials in a figure, or of these rows of it."""
    return {"column": name} if rows is None else {"column": name, "rows": list(rows)}


def side_by_side(caption: str, heads: Sequence[str], columns: Sequence[Mapping[str, str]]) -> Table:
    """A table with a row for each name that one of the columns has; `heads` begin with that of the names."""
    names = dict.fromkeys(name for column in columns for name in column)
    rows = tuple((name, *(column.get(name, ABSENT) for column in columns)) for name in names)
    return Table(caption, tuple(heads), rows, left=tuple(range(len(heads))))
