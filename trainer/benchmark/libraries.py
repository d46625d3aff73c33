"""What comparing treatments needs beside Python: imported when something is compared, and not before."""

from functools import cache
from typing import Any

from trainer.experiment.errors import UserError


class StatisticsUnavailable(UserError):
    """The libraries that compute statistics are not installed; the text says how to install them."""


@cache
def scipy_stats() -> Any:
    """The module scipy.stats.

    Raises:
        StatisticsUnavailable: scipy is not installed.
    """
    try:
        import scipy.stats
    except ImportError as error:
        raise _unavailable("scipy") from error
    return scipy.stats


@cache
def multitest() -> Any:
    """The module statsmodels.stats.multitest.

    Raises:
        StatisticsUnavailable: statsmodels is not installed.
    """
    try:
        import statsmodels.stats.multitest
    except ImportError as error:
        raise _unavailable("statsmodels") from error
    return statsmodels.stats.multitest


def _unavailable(package: str) -> StatisticsUnavailable:
    return StatisticsUnavailable(
        f"comparing treatments: the package {package} is required, found none; install it with "
        "`pip install 'trialrun[statistics]'`"
    )
