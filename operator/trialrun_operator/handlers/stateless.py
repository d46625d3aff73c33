"""Tells kopf that nothing is to be kept in objects: it would copy and compare each of them at every event.

Three quarters of the operator's CPU time went into that, for handlers of changes, of which there are none here.
"""

from typing import Any

import kopf


class NoDiffBase(kopf.DiffBaseStorage):  # type: ignore[misc]  # kopf is not seen by mypy
    """Finds nothing to compare."""

    def build(self, **_: Any) -> Any:
        """No field is of interest."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """Nothing was kept."""
        return None

    def store(self, **_: Any) -> None:
        """Keeps nothing."""


class NoProgress(kopf.ProgressStorage):  # type: ignore[misc]  # kopf is not seen by mypy
    """Handlers of events are not repeated, so there is no progress to keep."""

    def fetch(self, **_: Any) -> Any:
        """Nothing was kept."""
        return None

    def store(self, **_: Any) -> None:
        """Keeps nothing."""

    def purge(self, **_: Any) -> None:
        """There is nothing to remove."""

    def touch(self, **_: Any) -> None:
        """There is nothing to touch."""

    def clear(self, *, essence: Any) -> Any:
        """There is nothing to leave out."""
        return essence
