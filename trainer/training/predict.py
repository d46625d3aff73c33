"""Predicts with what a run left in its folder: its configuration, its normalisation and its best weights."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainer.data.build import prepare, rows_of
from trainer.data.dataset import open_dataset
from trainer.data.manifest import Manifest, Scaler
from trainer.data.series import Series, date_text
from trainer.data.sources import csv_file
from trainer.data.split import split_all
from trainer.data.windows import next_targets, with_features
from trainer.experiment.errors import UserError
from trainer.experiment.training import Data, Training
from trainer.training.distributed import Ranks, device
from trainer.training.evaluate import Figures, evaluate, outputs, predicted_class
from trainer.training.models import build, dtype_of, outputs_for
from trainer.training.samples import Source
from trainer.training.trial import CONFIG, NORMALIZATION, WEIGHTS

Place = dict[str, str | int]


@dataclass(frozen=True)
class Run:
    """A trained model and what its inputs must look like."""

    training: Training
    manifest: Manifest
    model: nn.Module
    like: Tensor


@dataclass(frozen=True)
class Prediction:
    """What the model says of one window: a return, or a class with its probability.

    `place` says which window: ticker and date of its last row, or the number of the sample. `target` is what the
    period after it brought, None where that is not known yet.
    """

    place: Place
    value: float | int
    probability: float | None
    target: float | int | None

    def row(self) -> dict[str, str | float | int | None]:
        """Its columns by name."""
        likely = {} if self.probability is None else {"probability": self.probability}
        return {**self.place, "prediction": self.value, **likely, "target": self.target}


def load(folder: Path) -> Run:
    """The run in `folder`. UserError where there is none, or it is damaged."""
    for name in (CONFIG, NORMALIZATION, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder}: a finished run leaves {CONFIG}, {NORMALIZATION} and {WEIGHTS}, {name} is missing; give a "
                "trial's folder, such as runs/NAME/trials/ID"
            )
    try:
        training = Training.model_validate_json((folder / CONFIG).read_bytes())
        about = json.loads((folder / NORMALIZATION).read_bytes())
        manifest = Manifest.model_validate_json(json.dumps({**about, "shards": []}))
        torch.set_num_threads(training.train.threads)
        torch.set_default_dtype(dtype_of(training.train))
        features = len(manifest.columns)
        model = build(
            training.model,
            window=manifest.window,
            features=features,
            outputs=outputs_for(training.data),
            targets=(0.0, 1.0) if training.train.target_scaling == "ZScore" else None,  # the weights bring them
        )
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (ValidationError, ValueError, TypeError, RuntimeError, SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder}: the run is damaged ({reason}); train it again") from error
    # What was trained on a GPU predicts without one, too.
    chosen = device("CPU" if training.train.device == "CPU" else "Auto")
    return Run(training, manifest, model.to(chosen), torch.empty(0, dtype=dtype_of(training.train), device=chosen))


def of_test_set(run: Run, cache: Path) -> tuple[list[Prediction], Figures | None]:
    """Predictions on the run's test set, and the metrics that the run reported.

    UserError where the data cannot be had any more, or is not what the run was trained on.
    """
    data = run.training.data
    dataset = open_dataset(prepare(data, cache))
    if dataset.manifest.hash != run.manifest.hash:
        raise UserError(
            f"data.source {data.source}: the run was trained on set {run.manifest.hash[:16]}, but the source now "
            f"makes {dataset.manifest.hash[:16]}; restore the source, or predict with --rows"
        )
    predictions = _predict(run, dataset.test, _test_places(data, cache, len(dataset.test)), _targets(dataset.test))
    figures = evaluate(
        run.model,
        dataset.test,
        task=data.task,
        classes=outputs_for(data),
        threshold=run.training.evaluate.threshold,
        target_mean=run.manifest.target_mean,
        ranks=Ranks(),
        like=run.like,
    )
    return predictions, figures


def of_rows(run: Run, path: Path) -> list[Prediction]:
    """A prediction for every window of rows of a CSV, the one that ends with a ticker's last row included.

    Columns are Date, those the run was trained on and its target, and Ticker where there are several. DataUnavailable
    names what is wrong with the file.
    """
    wanted = run.training.data
    every_ticker = Data.model_fields["tickers"].default
    target = run.manifest.target or wanted.columns[0]
    series = csv_file.read(path, wanted.model_copy(update={"tickers": every_ticker, "target": target}))
    return [prediction for one in series for prediction in _of_series(run, one, path)]


def _of_series(run: Run, series: Series, path: Path) -> list[Prediction]:
    window = run.manifest.window
    first = 1 if run.training.data.features == "Changes" else 0
    if len(series) < first + window:
        raise UserError(
            f"{path}: {first + window} rows of each ticker make a window, {series.ticker} has {len(series)}; add "
            "earlier rows"
        )
    scaler = _scaler(run, series.ticker, path)
    rows = with_features(series, run.training.data)
    windows = _Windows(sliding_window_view(rows.features[first:], window, axis=0), scaler, path)
    places: list[Place] = [
        {"ticker": series.ticker, "date": date_text(day)} for day in series.dates[first + window - 1 :]
    ]
    targets: list[float | int | None] = [None] * len(places)
    if run.manifest.target is not None:
        data = run.training.data
        following = next_targets(series, data)[first + window - 1 :]
        edges = run.manifest.class_edges
        known = np.searchsorted(edges, following, side="left") if edges else following.astype(np.float32)
        targets[:-1] = _plain(known)
    return _predict(run, windows, places, targets)


class _Windows:
    """All windows of one ticker's rows, normalised as the training set was; targets are left at 0."""

    def __init__(self, rows: NDArray[np.float64], scaler: Scaler | None, path: Path) -> None:
        self._rows, self._path = rows, path
        features = rows.shape[1]
        # [1, features], or [window, features] of an npz that came normalised place by place.
        self._mean = np.array(scaler.mean if scaler is not None else [0.0] * features).reshape(-1, features)
        self._deviation = np.array(scaler.deviation if scaler is not None else [1.0] * features).reshape(-1, features)

    def __len__(self) -> int:
        return len(self._rows)

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
        with np.errstate(over="ignore", invalid="ignore"):
            x = (self._rows[indices].transpose(0, 2, 1) - self._mean) / self._deviation
            result = np.ascontiguousarray(x, np.float32)
        if not np.isfinite(result).all():
            raise UserError(
                f"{self._path}: normalised values must fit 32-bit numbers, some are too large; correct them"
            )
        return result, np.zeros(len(indices), np.int64)


def _scaler(run: Run, ticker: str, path: Path) -> Scaler | None:
    scalers = run.manifest.scalers
    for one in scalers:
        if one.ticker == ticker:
            return one
    # A file without a Ticker column, whose series then has the file's name, can only mean the one there is.
    if not scalers or (len(scalers) == 1 and (ticker == path.stem or not scalers[0].ticker)):
        return scalers[0] if scalers else None
    known = ", ".join(one.ticker for one in scalers)
    raise UserError(
        f"{path}: each ticker needs the statistics that its training rows were normalised with; the run has those of "
        f"{known}, got {ticker}; name one of them in the column Ticker"
    )


def _test_places(data: Data, cache: Path, count: int) -> list[Place]:
    if data.source in ("npz", "kafka"):
        return [{"sample": number} for number in range(count)]
    series = rows_of(data, cache)
    places: list[Place] = []
    for one, cut in zip(series, split_all(series, data), strict=True):
        first, end = cut.reach("test", data)
        places += [
            {"ticker": one.ticker, "date": date_text(day)} for day in one.dates[first + data.window - 1 : end - 1]
        ]
    return places


def _targets(part: Source) -> list[float | int]:
    _, y = part.gather(np.arange(len(part), dtype=np.int64))
    return _plain(y)


def _predict(
    run: Run, source: Source, places: Iterable[Place], targets: Sequence[float | int | None]
) -> list[Prediction]:
    values = _values(run, source)
    return [Prediction(place, *value, target) for place, value, target in zip(places, values, targets, strict=True)]


def _values(run: Run, source: Source) -> Iterator[tuple[float | int, float | None]]:
    for out, _ in outputs(run.model, source, Ranks(), run.like):
        if run.training.data.task == "Regression":
            for value in _plain(out.cpu().numpy()):
                yield value, None
        else:
            chosen = predicted_class(out, run.training.evaluate.threshold)
            likely = torch.softmax(out, dim=1).gather(1, chosen.unsqueeze(1)).squeeze(1)
            yield from zip(chosen.tolist(), _plain(likely.cpu().numpy()), strict=True)


def _plain(numbers: NDArray[Any]) -> list[float | int]:
    """Python's numbers; those of 32 bits by the shortest text that gives them back."""
    if numbers.dtype == np.float32:
        return [float(str(number)) for number in numbers]
    plain: list[float | int] = numbers.tolist()
    return plain
