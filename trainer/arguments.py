"""What the command line's values may be: paths that name something, and counts. For argparse's `type`."""

import argparse
from pathlib import Path


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
