"""The pages for users leave nothing out: every outcome, every reason, every field, every command."""

import re
from pathlib import Path
from typing import Any

from trainer.__main__ import commands
from trainer.experiment import kafka, pod, spec, training
from trainer.experiment.outcome import Outcome
from trainer.experiment.section import Section
from trialrun_operator import conditions

DOCS = Path(__file__).parents[2] / "docs"
TYPES = ("Accepted", "Progressing", "Finished", "Succeeded", "Comparable")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def reasons() -> set[str]:
    """Every reason of a condition: the constants of the module, without the conditions' own names."""
    constants = {value for name, value in vars(conditions).items() if name.isupper() and isinstance(value, str)}
    return {value for value in constants if re.fullmatch(r"[A-Z][A-Za-z]+", value)} - set(TYPES)


def entries(text: str) -> list[str]:
    return re.findall(r"^\*\*([A-Z][A-Za-z]+)\*\* · ", text, re.MULTILINE)


def test_troubleshooting_has_one_entry_for_each_outcome_and_each_reason() -> None:
    outcomes, _, rest = page("troubleshooting.md").partition("## Conditions")
    assert entries(outcomes) == [str(outcome) for outcome in Outcome]
    found = entries(rest)
    assert len(found) == len(set(found))
    assert set(found) == reasons()
    assert len(found) > 20


def test_troubleshooting_has_a_part_for_each_condition() -> None:
    heads = re.findall(r"^### (.+)$", page("troubleshooting.md"), re.MULTILINE)
    assert {word for head in heads for word in head.split(" and ")} == set(TYPES)


SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "": (spec.Common, spec.SearchSpec, spec.ScaleTestSpec),
    "objective.": (spec.Objective,),
    "parameters[].": (spec.Parameter,),
    "parameters[].range.": (spec.Range,),
    "axes.": (spec.Axes,),
    "cell.": (spec.Cell,),
    "prices.": (spec.Prices,),
    "data.": (training.Data,),
    "data.split[].": (kafka.Split,),
    "data.message.": (kafka.Message,),
    "data.export.": (kafka.Export,),
    "model.": (training.Model,),
    "train.": (training.Train,),
    "evaluate.": (training.Evaluate,),
    "pod.": (pod.Pod,),
    "pod.resources.": (pod.Resources,),
}


def said(field: Any) -> str:
    """A field's default as the reference writes it."""
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple) and value:
        return f"`[{', '.join(map(str, value))}]`"
    return "" if value is None or isinstance(value, dict | Section | tuple) else f"`{value}`"


def test_the_reference_has_every_field_with_its_default_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-zA-Z.\[\]]+)` \|(.*?)\|", page("reference.md"), re.MULTILINE)
    told = {(name, default.strip()) for name, default in rows}
    wanted = {
        (f"{prefix}{field.alias}", said(field))
        for prefix, sections in SECTIONS.items()
        for section in sections
        for field in section.model_fields.values()
    }
    assert told == wanted


def test_the_reference_has_every_command() -> None:
    named = set(re.findall(r"python -m trainer (\w+)", page("reference.md")))
    assert named == commands()
