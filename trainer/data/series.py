"""The rows of one ticker, as every source with rows hands them on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Series:
    """Rows in order of time, complete and finite.

    dates: datetime64[s] [rows], strictly rising. features: float64 [rows, columns], in the order of `data.columns`.
    target: float64 [rows], the column whose next return is predicted; it need not be a feature.
    """

    ticker: str
    dates: NDArray[np.datetime64]
    features: NDArray[np.float64]
    target: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.dates)
