"""What to know of a data set though it can be trained on, in sentences: found when it is built, kept beside it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.series import Series, date_text
from trainer.data.split import PARTS, Split, split
from trainer.data.windows import next_targets, with_features
from trainer.experiment.training import Data

_NAME = "concerns.json"  # of no interest to version 0.1, which shares the folder
_FAR = 10.0  # how many times the width of the training range a value must lie outside of it
_LONG = 10.0  # how many times the usual step between rows a gap must be
_USUAL = 5  # steps that come near the fifth longest are usual: nights, weekends
_NEAR = 5.0  # how many times the fifth longest that is


def concerns(series: Sequence[Series], data: Data) -> Iterator[str]:
    """The sentences about rows that windows are cut from."""
    for one in series:
        where = split(len(one), data)
        yield from _gaps(one)
        yield from _leaving(with_features(one, data), where, data)
        if data.task == "Classification":
            yield from _single_class(one, where, data)


def keep(folder: Path, sentences: Iterable[str]) -> None:
    """Writes the sentences into a data set's folder; nothing where there are none."""
    if told := list(sentences):
        (folder / _NAME).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def kept(folder: Path) -> list[str]:
    """The sentences that are kept in a data set's folder."""
    try:
        told: list[str] = json.loads((folder / _NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return told


def _gaps(series: Series) -> Iterator[str]:
    """A gap that no other comes near: rows on both sides of it stand in one window as if they were neighbours."""
    steps = np.diff(series.dates).astype("timedelta64[s]").astype(np.int64)
    if len(steps) <= _USUAL:
        return
    usual = max(float(np.median(steps)), 1.0)
    longest = np.sort(steps)[-_USUAL - 1]
    for at in np.flatnonzero((steps > _LONG * usual) & (steps > _NEAR * longest)):
        rows = round(steps[at] / usual)
        yield (
            f"{series.ticker}: about {rows:,} rows are missing between {date_text(series.dates[at])} and "
            f"{date_text(series.dates[at + 1])}; windows take the rows on both sides for neighbours"
        )


def _leaving(series: Series, where: Split, data: Data) -> Iterator[str]:
    """Values of validation or test that lie outside of what training has seen by orders of magnitude."""
    targets = next_targets(series, data)
    for name, values in [*zip(data.columns, series.features.T, strict=True), (f"target {data.target}", targets)]:
        trained = values[: where.train]
        low, high = float(trained.min()), float(trained.max())
        width = max(high - low, np.finfo(np.float64).eps * max(abs(low), abs(high)))
        for part in PARTS[1:]:
            first, end = where.bounds(part)
            other = values[first:end]
            if len(other) and (other.max() - high > _FAR * width or low - other.min() > _FAR * width):
                yield (
                    f"{series.ticker}, {name}: {part} rows reach from {other.min():.4g} to {other.max():.4g}, far "
                    f"outside of what is trained on ({low:.4g} to {high:.4g})"
                )


def _single_class(series: Series, where: Split, data: Data) -> Iterator[str]:
    if data.classes != 2 or data.predict == "AbsoluteReturn":
        return
    up: NDArray[np.bool_] = next_targets(series, data) > 0
    for part in PARTS:
        first, end = where.bounds(part)
        there = up[max(0, first - 1) : end - 1]
        if len(there) and there.all() == there.any():
            yield f"{series.ticker}: all {len(there)} targets of the {part} part are of class {int(there[0])}"
