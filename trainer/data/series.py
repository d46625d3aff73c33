"""The rows of one ticker, as every source with rows hands them on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Series:
    """Rows in order of time, complete and finite.

    dates: datetime64 [rows], strictly rising. features: float64 [rows, columns], in the order of `data.columns`.
    target: float64 [rows], the column whose next return is predicted; it need not be a feature.
    """

    ticker: str
    dates: NDArray[np.datetime64]
    features: NDArray[np.float64]
    target: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.dates)


def date_text(date: np.datetime64) -> str:
    """A date, with its time and its parts of a second where it has them."""
    for unit in ("D", "s"):
        if (rounded := date.astype(f"datetime64[{unit}]")) == date:
            return str(rounded)
    return str(date)
