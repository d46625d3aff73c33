"""A training set as a multiple of itself, made sample by sample as it is asked for: nothing is stored.

Sample i of an N-fold set is base sample i mod n. The first n are the base to the bit; the others carry noise on X,
and on y with regression. Sigmas and seed are those of the earlier systems' `create_large_dataset`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Part
from trainer.data.noise import picks, quantiles

X_SIGMA, Y_SIGMA, SEED = 0.02, 0.01, 42
# Noise is made for this many samples at a time, so that its intermediate arrays stay in a core's cache.
_STEP = 64


@dataclass(frozen=True)
class Multiplied:
    """`part` N times over, with the interface of Part."""

    part: Part
    multiplier: int

    def __len__(self) -> int:
        return len(self.part) * self.multiplier

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """As Part.gather. A sample is the same whatever else is gathered with it."""
        count = len(self.part)
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"samples 0 to {len(self) - 1} exist, got {indices.min()} to {indices.max()}")
        x, y = self.part.gather(indices % count)
        if self.multiplier > 1:
            copies = np.flatnonzero(indices >= count)
            for first in range(0, len(copies), _STEP):
                where = copies[first : first + _STEP]
                _disturb(x, y, where, indices[where])
        return x, y


def _disturb(x: NDArray[np.float32], y: NDArray[Any], where: NDArray[np.int64], samples: NDArray[np.int64]) -> None:
    """Add the noise of `samples` [m] to the rows `where` [m] of a batch."""
    values = x[0].size
    # One more than X has, for y; taken with classification too, so that X's noise is the same for both tasks.
    places = picks(SEED, samples, values + 1)
    # mode="clip" skips a copy that numpy makes to check bounds; 16 bits cannot leave the table.
    noise = quantiles(X_SIGMA).take(places[:, :values], mode="clip").reshape(-1, *x.shape[1:])
    if len(where) == len(x):
        x += noise
    else:
        x[where] += noise
    if y.dtype == np.float32:
        y[where] += quantiles(Y_SIGMA).take(places[:, values], mode="clip")
