"""A report's page as text for a terminal: its sentences and tables. Charts and the meaning of words it leaves out."""

from textwrap import wrap

from trainer.columns import Table, aligned
from trainer.report.view import Beside, Note, Page, Part, Points, Tiles, single

_INDENT = "  "
_WIDTH = 100


def text(page: Page) -> str:
    """Its head, then each section that has words, with its heading."""
    blocks = [f"{page.kind}: {page.name}", *_blocks(page.head, "")]
    for section in page.sections:
        said = _blocks(section.parts, _INDENT)
        if said:
            blocks += [f"{section.heading}\n{said[0]}", *said[1:]]
    return "\n\n".join(blocks)


def _blocks(parts: tuple[Part | Beside, ...], indent: str) -> list[str]:
    """The parts that have words; sentences that follow each other are one block, a table is one by itself."""
    found: list[str] = []
    joins = False
    for part in single(parts):
        lines = [indent + line for line in _lines(part)]
        if not lines:
            continue
        block, alone = "\n".join(lines), isinstance(part, Table) or (isinstance(part, Note) and part.tone == "lead")
        if joins and not alone:
            found[-1] += f"\n{block}"
        else:
            found.append(block)
        joins = not alone
    return found


def _lines(part: Part) -> list[str]:
    match part:
        case Note():
            return _wrapped(part.text, "- " if part.tone == "caveat" else "")
        case Points():
            return [line for sentence in part.sentences for line in _wrapped(sentence, "- ")]
        case Tiles():
            return aligned([(tile.name, tile.value, tile.how) for tile in part.figures], left=range(3))
        case Table():
            grid = aligned([part.heads, *part.rows], left=part.left)
            return [*_wrapped(part.caption), *(_INDENT + line for line in grid)]
        case _:
            return []


def _wrapped(said: str, mark: str = "") -> list[str]:
    return wrap(
        said,
        _WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )
