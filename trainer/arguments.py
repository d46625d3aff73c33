"""What the command line's commands and values are: each command says what it does, paths name something."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction["Parser"]


_PLUGIN = "kubectl-trialrun"  # by this name kubectl finds the program on the PATH


def program() -> str:
    """How the command line was called, as its own sentences say it."""
    if is_plugin():
        return "kubectl trialrun"
    return "trialrun" if Path(sys.argv[0]).stem == "trialrun" else "python -m trainer"


def is_plugin() -> bool:
    """Whether kubectl called it, or somebody by the name that kubectl looks for."""
    return Path(sys.argv[0]).stem == _PLUGIN


def call(options: argparse.Namespace, *words: str) -> str:
    """Another command about the same cluster and namespace, for a sentence to name."""
    flags = {"-n": options.namespace, "--context": options.context, "--kubeconfig": options.kubeconfig}
    given = [f"{flag} {value}" for flag, value in flags.items() if value is not None]
    return f"`{' '.join([program(), *words, *given])}`"


class Parser(argparse.ArgumentParser):
    """Takes values also where options stand between them: `logs NAME -n team TRIAL`."""

    _within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What argparse does, or what it does by another name with options between values."""
        has_commands = any(action.nargs == argparse.PARSER for action in self._get_positional_actions())
        if self._within or has_commands:
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False


def command(commands: "Subparsers", name: str, does: str) -> Parser:
    """Adds a command, of which both its own help and the list of all commands say what it does."""
    return commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")


def cluster(command: argparse.ArgumentParser, where: str, default: str = "kubectl's") -> None:
    """Adds which cluster and namespace a command asks; `where` says what is in that namespace."""
    command.add_argument("-n", "--namespace", type=name, help=f"where {where} (default: {default})")
    command.add_argument(
        "--context", type=name, metavar="NAME", help="the context of kubectl's configuration (default: kubectl's)"
    )
    command.add_argument(
        "--kubeconfig", type=path, metavar="FILE", help="kubectl's configuration (default: kubectl's, or KUBECONFIG)"
    )


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


def jobs(text: str) -> int | str:
    """A whole number above 0, or auto."""
    if text == "auto":
        return text
    try:
        return count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be a whole number > 0, or auto, got {text}") from None


def index(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number >= 0, got {text}")
    return int(text)


def port(text: str) -> int:
    """A TCP port; 0 for any that is free."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, got {text}")
    return int(text)


def name(text: str) -> str:
    """Text that isn't empty, such as a namespace."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must be a name, got nothing")
    return text
