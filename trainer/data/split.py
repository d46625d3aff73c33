"""Which rows of each ticker are for training, validation and test, and how many windows fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data.errors import DataUnavailable
from trainer.data.series import Series
from trainer.experiment.training import Data

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Split:
    """The rows of one ticker, cut in order of time: train [0, train), valid [train, valid), test [valid, rows)."""

    train: int
    valid: int
    rows: int

    def bounds(self, part: str) -> tuple[int, int]:
        """The first row of a part and the row after its last."""
        return {"train": (0, self.train), "valid": (self.train, self.valid), "test": (self.valid, self.rows)}[part]

    def samples(self, part: str, data: Data) -> int:
        """How many windows a part has."""
        first, end = self.reach(part, data)
        return max(0, end - first - data.window)

    def reach(self, part: str, data: Data) -> tuple[int, int]:
        """The first row of a part's windows and the row after the last that they predict.

        With `lookback: Past` windows of validation and test begin early enough to predict the part's first row. The
        first row of all has no change from the one before.
        """
        first, end = self.bounds(part)
        if data.lookback == "Past" and part != "train" and end > first:
            first -= data.window
        return max(first, 1 if data.features == "Changes" else 0), end


def split(rows: int, data: Data) -> Split:
    """Split `rows` by the fractions, each rounded to the nearest row (a half goes to the later part)."""
    test = math.floor(rows * data.test_fraction + 0.5)
    valid = math.floor((rows - test) * data.valid_fraction + 0.5)
    return Split(rows - test - valid, rows - test, rows)


def split_all(series: Sequence[Series], data: Data) -> list[Split]:
    """Split every ticker.

    A part with a fraction above 0 gets at least one window of every ticker; anything else is DataUnavailable, with
    the rows there are and the largest window that would fit.
    """
    splits = [split(len(one), data) for one in series]
    wanted = [
        part
        for part, fraction in zip(PARTS, (1.0, data.valid_fraction, data.test_fraction), strict=True)
        if fraction > 0
    ]
    shortest = [min(end - first for first, end in (cut.reach(part, data) for part in wanted)) for cut in splits]
    too_short = [
        f"{one.ticker} has " + ", ".join(f"{_rows(cut, part)} {part}" for part in PARTS)
        for one, cut, rows in zip(series, splits, shortest, strict=True)
        if rows <= data.window
    ]
    if too_short:
        largest = min(shortest) - 1
        if data.lookback == "Past":  # windows of the other parts grow with the window
            largest = min(cut.reach("train", data)[1] - cut.reach("train", data)[0] for cut in splits) - 1
        mend = f"the largest window possible is {largest}" if largest > 0 else "no window fits"
        raise DataUnavailable(
            f"data.window: {data.window} rows and the row they predict must fit each part of each ticker, but "
            f"{'; '.join(too_short[:10])} rows; {mend}; use a smaller window, more rows or other fractions"
        )
    return splits


def _rows(cut: Split, part: str) -> int:
    first, end = cut.bounds(part)
    return end - first
