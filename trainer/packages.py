"""Packages that a plain install leaves out: which extra brings each, and the sentence where one is missing."""

from importlib.util import find_spec

from trainer.experiment.errors import UserError

# By the name under which it is imported. What is not here has a sentence of its own where it is needed.
_EXTRAS = dict.fromkeys(("torch", "numpy", "safetensors", "rich", "matplotlib"), "trainer") | {"pyspark": "spark"}


class PackageMissing(UserError):
    """A command needs a package that is not installed; the text says how to install it."""


def require(package: str) -> None:
    """Raises PackageMissing where `package` is not installed. Imports nothing."""
    if find_spec(package) is None:
        raise missing(package)


def missing(package: str) -> PackageMissing:
    """The error that `package`, one of an extra, is not installed."""
    return PackageMissing(
        f"this command needs the package {package}, found none; install it with "
        f"`pip install 'trialrun[{_EXTRAS[package]}]'`"
    )


def missing_for(error: ModuleNotFoundError) -> PackageMissing | None:
    """What to tell the user about an import that failed; None where no extra brings the module."""
    package = (error.name or "").partition(".")[0]
    return missing(package) if package in _EXTRAS else None
