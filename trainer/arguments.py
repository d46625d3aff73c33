"""What the command line's commands and values are: each command says what it does, paths name something."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def command(commands: "Subparsers", name: str, does: str) -> argparse.ArgumentParser:
    """Adds a command, of which both its own help and the list of all commands say what it does."""
    return commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")


def path(text: str) -> Path:
    """A path; text that is empty would be the current folder, which nobody means by it."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must name a file or a folder, got nothing")
    return Path(text)


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number > 0, got {text}")
    return int(text)


def name(text: str) -> str:
    """Text that isn't empty, such as a namespace."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must be a name, got nothing")
    return text
