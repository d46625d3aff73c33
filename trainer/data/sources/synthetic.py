"""synthetic: a seeded random walk of open, high, low, close and volume, the same bits on every machine.

Only the generator's raw 64-bit words are used, which numpy keeps stable, and of arithmetic only what IEEE 754 rounds
exactly: numpy's own normal distribution may change between versions, and `exp` differs between processors.
"""

from pathlib import Path

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray
from pydantic import JsonValue

from trainer.data.series import Series
from trainer.data.sources.table import check_columns, needed
from trainer.experiment.training import Data

TICKER = "SYNTHETIC"
COLUMNS = ("Open", "High", "Low", "Close", "Volume")
_RECIPE = 1  # raise it when the rows made from a seed change
_VOLATILITY = 0.01  # per day, about that of the S&P 500 index
_STEP = 65_536


def identity(data: Data, cache: Path) -> dict[str, JsonValue]:  # noqa: ARG001 - all sources are called alike
    """The rows follow from these fields and the recipe."""
    return {"rows": data.rows, "seed": data.seed, "recipe": _RECIPE}


def rows(data: Data, cache: Path) -> list[Series]:  # noqa: ARG001
    """`data.rows` weekdays from 2000-01-03 on."""
    wanted = needed(data)
    check_columns("source synthetic", COLUMNS, wanted)
    noise = _noise(data.rows, data.seed)
    # Half the variance as drift, so that the median price stays where it starts however many rows there are.
    close = 100 * np.cumprod(1 + _VOLATILITY * noise[0] + _VOLATILITY**2 / 2)
    opened = np.concatenate(([100.0], close[:-1])) * (1 + 0.3 * _VOLATILITY * noise[1])
    values = {
        "Open": opened,
        "High": np.maximum(opened, close) * (1 + 0.5 * _VOLATILITY * np.abs(noise[2])),
        "Low": np.minimum(opened, close) * (1 - 0.05 * _VOLATILITY * np.abs(noise[3])),
        "Close": close,
        "Volume": np.floor(3.5e9 * (1 + 0.1 * noise[4])),
    }
    days = np.arange(data.rows)
    dates = np.datetime64("2000-01-03", "s") + (days // 5 * 7 + days % 5).astype("timedelta64[D]")
    features = np.column_stack([values[name] for name in data.columns])
    return [Series(TICKER, dates, features, values[data.target])]


def _noise(count: int, seed: int) -> NDArray[np.float64]:
    """[5, count], approximately normal, within ±6: the sum of 12 uniform numbers has variance 1."""
    generator = Philox(key=seed)
    result = np.empty((5, count))
    for first in range(0, count, _STEP):
        step = min(_STEP, count - first)
        words = generator.random_raw(step * 5 * 3).reshape(step, 5, 3)
        # 12 pieces of 16 bits; their sum is a whole number, so its order does not matter.
        pieces = sum(((words >> np.uint64(shift)) & np.uint64(0xFFFF)).sum(axis=2) for shift in (0, 16, 32, 48))
        result[:, first : first + step] = (np.asarray(pieces).astype(np.float64) + 6).T / 65_536 - 6
    return result
