"""Cuts rows into normalised windows with targets. Nothing of validation or test reaches what training sees.

A window of `data.window` rows predicts the period after its last row. The row it predicts lies within its part, and
so do its rows unless `data.lookback` lets them reach back; the scaler and the edges of classes are fitted on training
rows alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from trainer.data.errors import DataUnavailable
from trainer.data.manifest import Scaler
from trainer.data.series import Series, date_text
from trainer.data.shards import Block, Samples
from trainer.data.split import PARTS, Split, split_all
from trainer.experiment.training import Data

_BLOCK_BYTES = 2 * 2**20
_ROUNDING = 8  # units in the last place that a column computed to be constant may vary by


@dataclass(frozen=True)
class Windowed:
    """Samples of each part by name, and what was fitted on the training part to make them.

    `target_mean` is the mean of its y, None where it is still to be found. `concerns` are sentences about what was
    read, for the user to know.
    """

    parts: dict[str, Samples]
    tickers: tuple[str, ...]
    scalers: tuple[Scaler, ...]
    class_edges: tuple[float, ...]
    target_mean: float | None = None
    concerns: tuple[str, ...] = ()


def cut(series: Sequence[Series], data: Data) -> Windowed:
    """Windows of all tickers; a part is the tickers' parts one after another. DataUnavailable where none fits."""
    splits = split_all(series, data)
    targets = [next_targets(one, data) for one in series]
    edges = _class_edges(targets, splits, data)
    features = [with_features(one, data) for one in series]
    scalers: tuple[Scaler, ...] = ()
    if data.normalize == "ZScore":
        scalers = tuple(_fit(one, where.reach("train", data)) for one, where in zip(features, splits, strict=True))
    dtype = np.dtype(np.float32 if data.task == "Regression" else np.int64)

    def samples(part: str) -> Samples:
        def blocks() -> Iterator[Block]:
            for number, one in enumerate(features):
                rows = _normalised(one, scalers[number] if scalers else None)
                yield from _windows(
                    rows, targets[number], edges, dtype, splits[number].reach(part, data), data.window
                )

        count = sum(where.samples(part, data) for where in splits)
        return Samples(count, (data.window, len(data.columns)), dtype, blocks())

    return Windowed({part: samples(part) for part in PARTS}, tuple(one.ticker for one in series), scalers, edges)


def _windows(
    rows: NDArray[np.float32],
    targets: NDArray[np.float64],
    edges: tuple[float, ...],
    dtype: np.dtype[Any],
    bounds: tuple[int, int],
    window: int,
) -> Iterator[Block]:
    """The windows of one ticker within `bounds`, in blocks of a few MiB; targets[r] leads from row r to row r + 1."""
    first, end = bounds
    if end - first <= window:
        return
    # [starts, features, window]; a view, so only one block at a time takes memory.
    view = sliding_window_view(rows[first : end - 1], window, axis=0)
    step = max(1, _BLOCK_BYTES // (4 * window * rows.shape[1]))
    for start in range(0, len(view), step):
        x = np.ascontiguousarray(view[start : start + step].transpose(0, 2, 1))
        last = first + start + window - 1
        y = targets[last : last + len(x)]
        # side="left": a target equal to an edge belongs to the lower class, so class 1 of 2 means above 0.
        yield x, np.searchsorted(edges, y, side="left").astype(dtype) if edges else y.astype(dtype)


def next_targets(series: Series, data: Data) -> NDArray[np.float64]:
    """[rows - 1]: what is predicted of row r + 1, by `data.predict`.

    A return is target[r + 1] / target[r] - 1, which needs positive values: from a negative one a rise would count as
    a fall.
    """
    earlier, later = series.target[:-1], series.target[1:]
    if data.predict == "Difference":
        result: NDArray[np.float64] = later - earlier
    else:
        _require_positive(series, data)
        with np.errstate(over="ignore", invalid="ignore"):
            result = later / earlier - 1
        if data.predict == "AbsoluteReturn":
            result = np.abs(result)
    with np.errstate(over="ignore", invalid="ignore"):
        _require_finite(result.astype(np.float32), series, "data.target", series.target)
    return result


def with_features(series: Series, data: Data) -> Series:
    """The series with the features that `data.features` asks for, as many rows as before.

    A change is the difference from the row before, divided by the larger of the two in size: between -2 and 2, of the
    difference's sign also for negative values, and 0 between two zeros. The first row's is 0 and in no window.
    """
    if data.features == "Values":
        return series
    earlier, later = series.features[:-1], series.features[1:]
    larger = np.maximum(np.abs(earlier), np.abs(later))
    changes = np.zeros_like(series.features)
    # Each divided by itself first, so that no difference overflows.
    np.divide(later, larger, out=changes[1:], where=larger > 0)
    changes[1:] -= np.divide(earlier, larger, out=np.zeros_like(earlier), where=larger > 0)
    return replace(series, features=changes)


def _require_positive(series: Series, data: Data) -> None:
    wrong = np.flatnonzero(series.target <= 0)
    if len(wrong):
        raise DataUnavailable(
            f"data.target: a return needs values above 0 throughout, but {data.target} of {series.ticker} is "
            f"{series.target[wrong[0]]:g} on {date_text(series.dates[wrong[0]])}; set data.predict: Difference, "
            "choose another target column or correct the row"
        )


def _class_edges(targets: Sequence[NDArray[np.float64]], splits: Sequence[Split], data: Data) -> tuple[float, ...]:
    """Two classes part at 0; more part at the quantiles of the training part's targets, all tickers together.

    Sizes have no sign, so two classes of them part at the median.
    """
    if data.task == "Regression":
        return ()
    if data.classes == 2 and data.predict != "AbsoluteReturn":
        return (0.0,)
    trained = np.concatenate(
        [
            one[where.reach("train", data)[0] + data.window - 1 : where.train - 1]
            for one, where in zip(targets, splits, strict=True)
        ]
    )
    edges = np.quantile(trained, np.arange(1, data.classes) / data.classes)
    if (np.diff(edges) <= 0).any():
        raise DataUnavailable(
            f"data.classes: {data.classes} classes need as many distinct ranges of targets, but the "
            f"{len(trained)} training targets of {data.target} repeat too often; use fewer classes"
        )
    return tuple(edges.tolist())


def _fit(series: Series, train: tuple[int, int]) -> Scaler:
    rows = series.features[slice(*train)]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    _require_finite(deviation, series, "data.columns", series.features)
    deviation = np.where(is_constant(rows.min(axis=0), rows.max(axis=0), np.float64), 1.0, deviation)
    return Scaler(ticker=series.ticker, mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()))


def is_constant(lowest: NDArray[Any], highest: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[np.bool_]:
    """Which columns are constant but for rounding, by their extremes: computed in `dtype`, or on the way to it.

    Such a column says nothing: it is divided by 1 in place of a deviation that is a rounding error.
    """
    size = np.maximum(np.abs(lowest), np.abs(highest))
    constant: NDArray[np.bool_] = highest - lowest <= _ROUNDING * np.finfo(dtype).eps * size
    return constant


def _normalised(series: Series, scaler: Scaler | None) -> NDArray[np.float32]:
    rows = series.features
    with np.errstate(over="ignore", invalid="ignore"):
        if scaler is not None:
            rows = (rows - np.array(scaler.mean)) / np.array(scaler.deviation)
        result = rows.astype(np.float32)
    _require_finite(result, series, "data.columns", series.features)
    return result


def _require_finite(
    result: NDArray[np.floating[Any]], series: Series, field: str, values: NDArray[np.float64]
) -> None:
    """Sources give finite numbers only; this catches those that are too large for what is computed of them."""
    if not np.isfinite(result).all():
        raise DataUnavailable(
            f"{field}: what is computed of {series.ticker} must fit 32-bit numbers, but its values reach from "
            f"{np.abs(values).min():g} to {np.abs(values).max():g} in size; correct them, scale the column in the "
            f"source, or use normalize: ZScore"
        )
