"""The tables of docs/reference.md: a row for each field, between comments that name the table; and lists of names."""

import re
import textwrap
from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.placement import AsInAPod
from trainer.experiment.pod import Pod
from trainer.experiment.program import Program
from trainer.experiment.section import FIXED, GROWS, Section
from trainer.experiment.spec import Common, Prices, ScaleTestSpec, SearchSpec
from trainer.experiment.training import Training

PAGE = "docs/reference.md"
_BLOCK = re.compile(r"(?<=<!-- generated: )([a-zA-Z ]+)( -->\n).*?(?=\n<!-- end -->)", re.DOTALL)


def page(root: Path) -> str:
    """The page with its tables as the models have them; what stands around them stays."""
    written = {name: f"{match}" for name, match in _tables().items()}
    old = (root / PAGE).read_text(encoding="utf-8")
    if missing := written.keys() - {match[1] for match in _BLOCK.finditer(old)}:
        raise ValueError(f"{PAGE}: must have a line <!-- generated: {min(missing)} -->, and <!-- end --> after it")
    return _BLOCK.sub(lambda match: f"{match[1]}{match[2]}\n{written[match[1]]}\n", old)


def _tables() -> dict[str, str]:
    common = set(Common.model_fields)
    return {
        "both kinds": _table(_own(Common, "")),
        "HyperparamSearch": _table(_rows(SearchSpec, "", without=common)),
        "objectives": _objectives(),
        "ScaleTest": _table(_rows(ScaleTestSpec, "", without=common)),
        "training": _table(_below(Training, "")),
        "program": _table(_rows(Program, "program.")),
        "pod": _table(_rows(Pod, "pod.")),
        "prices": _table(_rows(Prices, "prices.")),
        "changes": _changes(),
    }


def _table(rows: Iterator[str]) -> str:
    return "\n".join(["| field | default | |", "|---|---|---|", *rows])


def _rows(section: type[Section], prefix: str, without: Collection[str] = ()) -> Iterator[str]:
    """A section's own fields, and then those of the sections in it."""
    yield from _own(section, prefix, without)
    yield from _below(section, prefix, without)


def _own(section: type[Section], prefix: str, without: Collection[str] = ()) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if name not in without or name in section.__annotations__:
            said = re.sub(r"[<|]", r"\\\g<0>", field.description or "") + _one_of(_values(field.annotation))
            yield f"| `{prefix}{field.alias}` | {_default(field)} | {said} |".replace("|  |", "| |")


def _below(section: type[Section], prefix: str, without: Collection[str] = ()) -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner, steps = _section_of(field.annotation)
        if name not in without and inner is not None and not issubclass(inner, AsInAPod):
            yield from _rows(inner, f"{prefix}{field.alias}{steps}.")


def _section_of(annotation: Any) -> tuple[type[Section] | None, str]:
    """The section that a field holds, and `[]` where it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, ""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        found = [_section_of(option) for option in get_args(annotation)]
        return next((each for each in found if each[0] is not None), (None, ""))
    if get_origin(annotation) is tuple:
        return _section_of(get_args(annotation)[0])[0], "[]"
    return None, ""


def _values(annotation: Any) -> tuple[Any, ...]:
    """All values that a field may have, or the entries of its list, where the model counts them; else none."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Annotated, Union, UnionType, tuple):
        return next(filter(None, map(_values, get_args(annotation))), ())
    return ()


def _one_of(values: tuple[Any, ...]) -> str:
    listed = ", ".join(f"`{value}`" for value in values)
    return f" {'One of' if len(values) > 1 else 'Only'} {listed}." if values else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple) and value:
        return f"`[{', '.join(map(str, value))}]`"
    return "" if value is None or value == "" or isinstance(value, dict | Section | tuple) else f"`{value}`"


def _changes() -> str:
    """What may change of an experiment that runs, and what may not."""

    lines = ["| | may change | only upwards | never |", "|---|---|---|---|"]
    for called, spec in (("both kinds", Common), ("HyperparamSearch", SearchSpec), ("ScaleTest", ScaleTestSpec)):
        fields = [
            (f"`{field.alias}`", field.json_schema_extra)
            for name, field in spec.model_fields.items()
            if spec is Common or name not in Common.model_fields
        ]
        cells = (", ".join(name for name, extra in fields if extra == change) for change in (None, GROWS, FIXED))
        lines.append(f"| {called} | {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines)


def _objectives() -> str:
    def condition(name: str) -> str:
        metric = OBJECTIVES[name]
        return metric.task or (f"source {metric.source}" if metric.source else "")

    groups = []
    for where, names in groupby(OBJECTIVES, condition):
        listed = " ".join(f"`{name}`" for name in names)
        groups.append(f"{listed} ({where})" if where else listed)
    return textwrap.fill(f"Objectives: {', '.join(groups)}.", 118, break_long_words=False)
