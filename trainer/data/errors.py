"""The error of everything in this package: the data that was asked for cannot be had."""

from trainer.experiment.errors import UserError

_MOST_SHOWN = 10


class DataUnavailable(UserError):
    """Data is missing, unreadable, refused or does not fit; the text says where and why, and what to do."""


class Mistakes:
    """Collects what is wrong with one file, so that a user sees more than the first of it."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._count = 0

    def add(self, sentence: str) -> None:
        """Note one mistake; beyond the first ten only their number is kept."""
        self._count += 1
        if len(self._shown) < _MOST_SHOWN:
            self._shown.append(sentence)

    def settle(self) -> None:
        """Raise DataUnavailable with all that was noted, if anything was."""
        if self._count > len(self._shown):
            self._shown.append(f"and {self._count - len(self._shown)} more mistakes")
        if self._shown:
            raise DataUnavailable("\n".join(self._shown))
