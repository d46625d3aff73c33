"""Packages that a plain install leaves out: which extra brings each, and the sentence where one is missing."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from trainer.experiment.errors import UserError

# By the name under which it is imported. What is not here has a sentence of its own where it is needed.
_EXTRAS = {
    **dict.fromkeys(("torch", "numpy", "safetensors"), "trainer"),
    **dict.fromkeys(("rich", "plotly"), "report"),
    **dict.fromkeys(("scipy", "statsmodels", "matplotlib"), "statistics"),
    "optuna": "search",
    "optuna_dashboard": "dashboard",
    "tensorboard": "tensorboard",
    "pyarrow": "data",
    "pyspark": "spark",
}


class PackageMissing(UserError):
    """A package is needed that is not installed; the text says how to install it."""


def require(package: str) -> None:
    """Raises PackageMissing where `package`, which a command needs, is not installed. Imports nothing."""
    if not have(package):
        raise missing(package)


def have(package: str) -> bool:
    """Whether a package is installed. Imports nothing."""
    return find_spec(package) is not None


def load(module: str, what: str) -> ModuleType:
    """A module of an extra's package, imported; `what` needs it.

    Raises:
        PackageMissing: its package is not installed.
    """
    package = module.partition(".")[0]
    if not have(package):
        raise PackageMissing(f"{what}: the package {package} is required, found none; {advice(package)}")
    return import_module(module)


def missing(package: str) -> PackageMissing:
    """The error that a command lacks `package`, one of an extra."""
    return PackageMissing(f"this command needs the package {package}, found none; {advice(package)}")


def missing_for(error: ModuleNotFoundError) -> PackageMissing | None:
    """What to tell the user about an import that failed; None where no extra brings the module."""
    package = (error.name or "").partition(".")[0]
    return missing(package) if package in _EXTRAS else None


def advice(package: str) -> str:
    """How to install a package that is missing."""
    return f"install it with `pip install 'trialrun[{_EXTRAS[package]}]'`"
