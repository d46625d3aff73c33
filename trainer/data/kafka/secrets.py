"""Secret settings of a client, from where the file says they are: a variable or a mounted file.

One of the few places that read the environment: what is read here goes to the client alone, and into no error.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from trainer.data.errors import DataUnavailable


def revealed(secrets: Mapping[str, str]) -> dict[str, str]:
    """The values of secret settings. DataUnavailable names the one that cannot be had."""
    return {name: _value(name, place) for name, place in secrets.items()}


def _value(name: str, place: str) -> str:
    kind, _, where = place.partition(":")
    if kind == "env":
        if (value := os.environ.get(where)) is None:
            raise DataUnavailable(
                f"data.clientSecrets: {name} is read from the environment variable {where}, which is not set; set it"
            )
        return value
    try:
        return Path(where).read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataUnavailable(
            f"data.clientSecrets: {name} is read from {where}, which cannot be read ({error}); mount the file"
        ) from error
