"""What to know of a data set though it can be trained on, in sentences: found when it is built, kept beside it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.atomic import write_text
from trainer.data.series import Series, date_text
from trainer.data.split import PARTS, Split, split
from trainer.data.windows import next_targets, with_features
from trainer.experiment.training import Data

_NAME = "concerns.json"  # of no interest to version 0.1, which shares the folder
_FAR = 10.0  # how many times the width of the training range a value must lie outside of it
_LONG = 10.0  # how many times the usual step between rows a gap must be
_NEAR = 5.0  # how many times the usual breaks, nights and weekends, it must be unless no market is closed for so long
_BREAKS = 5  # so many steps may be longer than the usual breaks
_CLOSED_DAYS = 10
_MOST_KEPT = 10
_MOST_CLASSES = 5


def concerns(series: Sequence[Series], data: Data) -> Iterator[str]:
    """The sentences about rows that windows are cut from."""
    yield from _unused(series, data)
    for one in series:
        yield from _gaps(one)
        yield from _leaving(with_features(one, data), split(len(one), data), data)


def classes_apart(parts: Mapping[str, Sequence[NDArray[np.int64]]]) -> Iterator[str]:
    """The sentences about classes that the parts, of which these are the targets, do not share."""
    counts = {part: _counts(targets) for part, targets in parts.items()}
    trained = counts["train"]
    for part, there in counts.items():
        if len(there) == 1:
            (label, count), *_ = there.items()
            yield f"all {count:,} {part} samples are of class {label}"
        if new := [label for label in there if label not in trained]:
            yield f"class {_list(new)} of the {part} samples is not among those to train on"
        if len(there) > 1 and (missing := [label for label in trained if label not in there]):
            yield f"class {_list(missing)} is not among the {part} samples"


def keep(folder: Path, sentences: Iterable[str]) -> None:
    """Writes the sentences into a data set's folder: the first ten, and how many more there are."""
    told = list(sentences)
    if len(told) > _MOST_KEPT:
        told[_MOST_KEPT:] = [f"and {len(told) - _MOST_KEPT:,} more like these"]
    write_text(folder / _NAME, json.dumps(told, indent=1) + "\n")


def kept(folder: Path) -> list[str]:
    """The sentences that are kept in a data set's folder."""
    try:
        told: list[str] = json.loads((folder / _NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return told


def examined(folder: Path) -> bool:
    """Whether sentences were looked for, also where there were none."""
    return (folder / _NAME).exists()


def _counts(targets: Sequence[NDArray[np.int64]]) -> dict[int, int]:
    """How many samples each class has."""
    labels, counts = np.unique(np.concatenate(targets) if targets else np.empty(0, np.int64), return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def _list(labels: Sequence[int]) -> str:
    more = f" and {len(labels) - _MOST_CLASSES} more" if len(labels) > _MOST_CLASSES else ""
    return ", ".join(map(str, labels[:_MOST_CLASSES])) + more


def _unused(series: Sequence[Series], data: Data) -> Iterator[str]:
    """What `data` asks for and rows do not give."""
    named = [one.ticker for one in series]
    if data.source in ("csv", "parquet") and data.tickers and named != list(data.tickers):
        yield (
            f"data.tickers asks for {', '.join(data.tickers)}, but {data.path} has no column Ticker; all of its rows "
            "are taken for one ticker's"
        )


def _gaps(series: Series) -> Iterator[str]:
    """The longest gap that is no usual break: rows on both sides of it stand in one window as neighbours do."""
    steps = np.diff(series.dates).astype("timedelta64[us]").astype(np.int64)
    if len(steps) <= _BREAKS:
        return
    usual = max(float(np.median(steps)), 1.0)
    breaks = np.sort(steps)[-_BREAKS - 1]
    closed = np.timedelta64(_CLOSED_DAYS, "D").astype("timedelta64[us]").astype(np.int64)
    gaps = np.flatnonzero((steps > _LONG * usual) & ((steps > _NEAR * breaks) | (steps > closed)))
    if not len(gaps):
        return
    at = gaps[np.argmax(steps[gaps])]
    others = f", the longest of {len(gaps):,} such gaps" if len(gaps) > 1 else ""
    yield (
        f"{series.ticker}: about {round(steps[at] / usual) - 1:,} rows are missing between "
        f"{date_text(series.dates[at])} and {date_text(series.dates[at + 1])}{others}; windows take the rows on both "
        "sides for neighbours"
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
