"""The pages for users leave nothing out: every outcome, every reason, every command."""

import argparse
import re
from pathlib import Path

from trainer.__main__ import commands
from trainer.data import commands as data
from trainer.experiment.outcome import Outcome
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


def test_the_reference_has_every_command() -> None:
    named = set(re.findall(r"python -m trainer (\w+)", page("reference.md")))
    assert named == commands()


def test_the_reference_has_every_command_about_data() -> None:
    top = argparse.ArgumentParser().add_subparsers()
    data.add(top)
    (below,) = (action for action in top.choices["data"]._actions if isinstance(action, argparse._SubParsersAction))
    rows = re.findall(r"^\| `python -m trainer data ([a-z-]+)", page("reference.md"), re.MULTILINE)
    assert sorted(rows) == sorted(below.choices)
