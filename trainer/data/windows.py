"""Cuts rows into normalised windows with targets. Nothing of validation or test reaches what training sees.

A window of `data.window` rows predicts the period after its last row. Its rows and the row it predicts lie within one
part of one ticker; the scaler and the edges of classes are fitted on training rows alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from trainer.data.errors import DataUnavailable
from trainer.data.manifest import Scaler
from trainer.data.series import Series
from trainer.data.shards import Block, Samples
from trainer.data.split import PARTS, Split, split_all
from trainer.experiment.training import Data

_BLOCK_BYTES = 2 * 2**20


@dataclass(frozen=True)
class Windowed:
    """Samples of each part by name, and what was fitted on the training part to make them.

    `target_mean` is the mean of its y, None where it is still to be found.
    """

    parts: dict[str, Samples]
    tickers: tuple[str, ...]
    scalers: tuple[Scaler, ...]
    class_edges: tuple[float, ...]
    target_mean: float | None = None


def cut(series: Sequence[Series], data: Data) -> Windowed:
    """Windows of all tickers; a part is the tickers' parts one after another. DataUnavailable where none fits."""
    splits = split_all(series, data)
    returns = [next_returns(one, data) for one in series]
    edges = _class_edges(returns, splits, data)
    scalers: tuple[Scaler, ...] = ()
    if data.normalize == "ZScore":
        scalers = tuple(_fit(one, where.train) for one, where in zip(series, splits, strict=True))
    dtype = np.dtype(np.float32 if data.task == "Regression" else np.int64)

    def samples(part: str) -> Samples:
        def blocks() -> Iterator[Block]:
            for number, one in enumerate(series):
                rows = _normalised(one, scalers[number] if scalers else None)
                yield from _windows(rows, returns[number], edges, dtype, splits[number].bounds(part), data.window)

        count = sum(where.samples(part, data.window) for where in splits)
        return Samples(count, (data.window, len(data.columns)), dtype, blocks())

    return Windowed({part: samples(part) for part in PARTS}, tuple(one.ticker for one in series), scalers, edges)


def _windows(
    rows: NDArray[np.float32],
    returns: NDArray[np.float64],
    edges: tuple[float, ...],
    dtype: np.dtype[Any],
    bounds: tuple[int, int],
    window: int,
) -> Iterator[Block]:
    """The windows of one ticker within `bounds`, in blocks of a few MiB; returns[r] leads from row r to row r + 1."""
    first, end = bounds
    if end - first <= window:
        return
    # [starts, features, window]; a view, so only one block at a time takes memory.
    view = sliding_window_view(rows[first : end - 1], window, axis=0)
    step = max(1, _BLOCK_BYTES // (4 * window * rows.shape[1]))
    for start in range(0, len(view), step):
        x = np.ascontiguousarray(view[start : start + step].transpose(0, 2, 1))
        last = first + start + window - 1
        y = returns[last : last + len(x)]
        # side="left": a return equal to an edge belongs to the lower class, so class 1 of 2 means above 0.
        yield x, np.searchsorted(edges, y, side="left").astype(dtype) if edges else y.astype(dtype)


def next_returns(series: Series, data: Data) -> NDArray[np.float64]:
    """[rows - 1]: target[r + 1] / target[r] - 1."""
    zeros = np.flatnonzero(series.target[:-1] == 0)
    if len(zeros):
        raise DataUnavailable(
            f"data.target: the return of {data.target} needs values other than 0, but {series.ticker} has 0 on "
            f"{series.dates[zeros[0]]}; choose another target column or correct the row"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        result: NDArray[np.float64] = series.target[1:] / series.target[:-1] - 1
        _require_finite(result.astype(np.float32), series, "data.target", series.target)
    return result


def _class_edges(returns: Sequence[NDArray[np.float64]], splits: Sequence[Split], data: Data) -> tuple[float, ...]:
    """Two classes part at 0; more part at the quantiles of the training part's targets, all tickers together."""
    if data.task == "Regression":
        return ()
    if data.classes == 2:
        return (0.0,)
    # The targets of training windows are the returns into rows window … train - 1.
    targets = np.concatenate(
        [one[data.window - 1 : where.train - 1] for one, where in zip(returns, splits, strict=True)]
    )
    edges = np.quantile(targets, np.arange(1, data.classes) / data.classes)
    if (np.diff(edges) <= 0).any():
        raise DataUnavailable(
            f"data.classes: {data.classes} classes need as many distinct ranges of returns, but the "
            f"{len(targets)} training targets of {data.target} repeat too often; use fewer classes"
        )
    return tuple(edges.tolist())


def _fit(series: Series, train_rows: int) -> Scaler:
    rows = series.features[:train_rows]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    _require_finite(deviation, series, "data.columns", series.features)
    # A constant column says nothing; dividing by 1 leaves it at 0. Its computed deviation may be a rounding error.
    deviation = np.where(rows.max(axis=0) == rows.min(axis=0), 1.0, deviation)
    return Scaler(ticker=series.ticker, mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()))


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
