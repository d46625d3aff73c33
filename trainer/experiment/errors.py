"""The errors a user can mend, each one or more sentences."""

from collections.abc import Sequence


class UserError(Exception):
    """Something the user gave cannot be used; the text says where, which rule, what was found, what to do."""


class InvalidExperiment(UserError):
    """An experiment breaks the rules of its file format.

    `mistakes` holds all of them, each as `<yaml path>: <rule>, got <value>`.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)
