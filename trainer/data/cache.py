"""Where data sets are kept unless the command line says otherwise."""

from pathlib import Path


def default_cache() -> Path:
    """The folder, which need not exist yet."""
    return Path.home() / ".cache" / "trialrun" / "data"
