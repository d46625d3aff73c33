"""What `--help` says: of every command what it does, of every value what it is, and nothing of how it is built."""

import argparse
import re
from collections.abc import Iterator

import pytest

from trainer.__main__ import parser


def commands(of: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of all its commands."""
    yield of
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands(each)


ALL = list(commands(parser()))


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.prog)
def test_a_command_says_what_it_does_and_what_each_of_its_values_is(command: argparse.ArgumentParser) -> None:
    assert re.fullmatch(r"[A-Z].*\.", command.description or ""), "a sentence"
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        assert action.help, action.dest
        if action.default not in (None, False, argparse.SUPPRESS):
            assert "default" in action.help, f"{action.dest}: what it is where it is left out"


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.prog)
def test_help_names_nothing_of_the_program_s_own(command: argparse.ArgumentParser) -> None:
    said = command.format_help().replace("python -m trainer", "")
    assert not re.search(r"trainer[./]\w|\w\(\)|__|<class|Error\b|\bself\b", said)


def test_commands_are_told_of_by_what_they_do_alone() -> None:
    said = parser().format_help()
    for name in ("run", "list", "report", "compare", "apply", "fetch", "init", "schema", "train", "predict", "data"):
        assert re.search(rf"^    {name} +[a-z]", said, re.MULTILINE), name
