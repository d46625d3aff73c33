"""npz: samples in the earlier systems' format, which come as windows with their labels.

Keys X_train y_train X_test y_test, optional X_val y_val, mu sd and tickers; no other may look like samples. X is
[n, window, features] or flat [n, window * features]; y is [n] or [n, 1]. `mu` and `sd` say that X is normalised
already and how: X is then taken as it is. Without them `normalize: ZScore` fits each feature on the training samples.
"""

import re
import zipfile
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from trainer.data.errors import DataUnavailable
from trainer.data.manifest import Scaler
from trainer.data.shards import Block, Samples
from trainer.data.sources.table import file_hash
from trainer.data.windows import Windowed, is_constant
from trainer.experiment.training import Data

_STEP = 4096
_KEYS = ("X_train", "y_train", "X_val", "y_val", "X_test", "y_test", "mu", "sd", "tickers")
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
_PART = re.compile(r"train|training|val|valid|validation|dev|eval|test|testing")
_SAMPLES = re.compile(rf"[xy]\d*|[xy]({_PART.pattern})")
_CONTENT = ("data", "features", "inputs", "labels", "samples", "set", "targets")
_STATISTICS = ("mu", "sd", "mean", "std", "sigma")


def identity(data: Data, cache: Path) -> dict[str, JsonValue]:  # noqa: ARG001 - all sources are called alike
    """The file's SHA-256."""
    return {"sha256": file_hash(Path(str(data.path)))}


def read(data: Data) -> Windowed:
    """The samples of a file; DataUnavailable names the key and what is wrong with it.

    Where X_val is missing, the last validFraction of the training samples become the validation part. The file does
    not say where a ticker ends, so unlike with other sources their windows may share rows with training windows.
    """
    path = Path(str(data.path))
    try:
        # allow_pickle=False: an object array would run code of the file's author when it is read.
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise DataUnavailable(f"{path}: an .npz with X_train … y_test is required, got a single array")
            return _samples(_Reader(path, arrays, data))
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataUnavailable(f"data.path: {path} cannot be read as .npz ({error})") from error
    except ValueError as error:
        raise DataUnavailable(
            f"{path}: arrays of numbers are required, got pickled objects or no .npz at all ({error}); objects are "
            f"never unpickled, save plain arrays with numpy.savez"
        ) from error


class _Reader:
    """Reads arrays of one file by key and checks each against `data`."""

    def __init__(self, path: Path, arrays: Any, data: Data) -> None:
        self.path, self.data, self._arrays = path, data, arrays
        missing = [key for key in ("X_train", "y_train", "X_test", "y_test") if key not in arrays]
        if missing:
            raise DataUnavailable(
                f"{path}: keys X_train y_train X_test y_test are required, {', '.join(missing)} missing; found "
                f"{', '.join(arrays.files) or 'none'}"
            )
        for key in arrays.files:
            if arrays.files.count(key) > 1:
                raise self.wrong(key, "each key may be there once", "it twice", "delete one of the two")
            if key not in _KEYS and _looks_used(key):
                near = get_close_matches(key.lower(), [each.lower() for each in _KEYS], 1, 0.5)
                meant = f"; did you mean {_KEYS[[each.lower() for each in _KEYS].index(near[0])]}?" if near else ""
                raise self.wrong(
                    key, f"samples go by {' '.join(_KEYS[:6])} and their statistics by mu sd", "another key",
                    f"rename or delete it{meant}",
                )  # fmt: skip
        for one, other in (("X_val", "y_val"), ("mu", "sd")):
            if (one in arrays) != (other in arrays):
                there, lacking = (one, other) if one in arrays else (other, one)
                raise self.wrong(
                    there, f"{one} and {other} belong together", f"no {lacking}", f"add {lacking}, or delete {there}"
                )

    def concerns(self) -> Iterator[str]:
        """What the file holds and is not used."""
        unused = [key for key in self._arrays.files if key not in _KEYS]
        if self.has("tickers") and not self.has("mu", "sd"):
            unused.append("tickers")
        if unused:
            yield f"{self.path}: {', '.join(unused)}: not used; the keys that are read are {' '.join(_KEYS)}"

    def has(self, *keys: str) -> bool:
        return all(key in self._arrays for key in keys)

    def array(self, key: str) -> NDArray[Any]:
        result: NDArray[Any] = self._arrays[key]
        return result

    def part(self, name: str) -> tuple[NDArray[np.float32], NDArray[Any]]:
        x, y = self._x(f"X_{name}"), self._y(f"y_{name}")
        if len(x) != len(y):
            raise self.wrong(f"y_{name}", f"a label for each of the {len(x)} samples is required", f"{len(y)}")
        return x, y

    def wrong(self, key: str, rule: str, found: str, mend: str = "") -> DataUnavailable:
        return DataUnavailable(f"{self.path}: {key}: {rule}, got {found}{'; ' if mend else ''}{mend}")

    def _x(self, key: str) -> NDArray[np.float32]:
        x, window, features = self.array(key), self.data.window, len(self.data.columns)
        if x.shape[1:] not in ((window, features), (window * features,)):
            raise self.wrong(
                key,
                f"samples of data.window = {window} rows and {features} data.columns are required, so "
                f"[n, {window}, {features}] or [n, {window * features}]",
                f"{list(x.shape)}",
                "set data.window and data.columns to what the file holds",
            )
        return self._finite(key, x, np.dtype(np.float32)).reshape(-1, window, features)

    def _y(self, key: str) -> NDArray[Any]:
        y = self.array(key)
        if y.ndim != 1 and y.shape[1:] != (1,):
            raise self.wrong(key, "one label per sample is required, so [n] or [n, 1]", f"{list(y.shape)}")
        y = y.reshape(-1)
        if self.data.task == "Regression":
            return self._finite(key, y, np.dtype(np.float32))
        y = self._finite(key, y, np.dtype(np.float64))
        bad = y[(y != np.floor(y)) | (y < 0) | (y >= self.data.classes)]
        if len(bad):
            raise self.wrong(
                key,
                f"classes 0 to {self.data.classes - 1} are required with task Classification",
                f"{bad[0]:g}",
                "number the classes from 0 and set data.classes, or set task: Regression",
            )
        return y.astype(np.int64)

    def _finite(self, key: str, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        if array.dtype.kind not in "fiub":
            raise self.wrong(key, "numbers are required", f"{array.dtype}")
        with np.errstate(over="ignore"):
            result = array.astype(dtype, copy=False)
        if not np.isfinite(result).all():
            where = np.argwhere(~np.isfinite(result))[0]
            raise self.wrong(key, "finite 32-bit numbers are required", f"{array[tuple(where)]} at {where.tolist()}")
        return result


def _looks_used(key: str) -> bool:
    """Whether a key seems to be of samples or their statistics, as Xtrain, labels_val, mean; not dates_val."""
    words = [word.lower() for word in _WORD.findall(key)]
    if any(_SAMPLES.fullmatch(word) for word in words) or (len(words) == 1 and words[0] in _STATISTICS):
        return True
    others = [word for word in words if _PART.fullmatch(word) is None]
    return len(others) < len(words) and all(word in _CONTENT for word in others)


def _samples(reader: _Reader) -> Windowed:
    data = reader.data
    x_train, y_train = reader.part("train")
    if reader.has("X_val", "y_val"):
        x_valid, y_valid = reader.part("val")
        if not len(y_valid) and data.valid_fraction > 0:
            raise reader.wrong(
                "X_val",
                "at least one validation sample is required",
                "none",
                "delete X_val and y_val to take the last data.validFraction of the training samples, or set "
                "data.validFraction: 0 to train without validation",
            )
    else:
        kept = len(y_train) - int(len(y_train) * data.valid_fraction + 0.5)
        x_train, x_valid = x_train[:kept], x_train[kept:]
        y_train, y_valid = y_train[:kept], y_train[kept:]
        if data.task == "Classification" and len(y_valid):
            _require_mixed(reader, y_train, y_valid)
    x_test, y_test = reader.part("test")
    if not len(y_train):
        raise reader.wrong("X_train", "at least one training sample is required", "none")
    scalers, scale = _scaling(reader, x_train)
    pairs = {"train": (x_train, y_train), "valid": (x_valid, y_valid), "test": (x_test, y_test)}

    def part(x: NDArray[np.float32], y: NDArray[Any]) -> Samples:
        def blocks() -> Iterator[Block]:
            for first in range(0, len(y), _STEP):
                rows = x[first : first + _STEP]
                yield (((rows - scale[0]) / scale[1]).astype(np.float32) if scale else rows), y[first : first + _STEP]

        return Samples(len(y), (data.window, len(data.columns)), y.dtype, blocks())

    return Windowed(
        parts={name: part(*pair) for name, pair in pairs.items()},
        tickers=tuple(one.ticker for one in scalers),
        scalers=scalers,
        class_edges=(),
        concerns=tuple(reader.concerns()),
    )


def _require_mixed(reader: _Reader, trained: NDArray[Any], validated: NDArray[Any]) -> None:
    """Raises DataUnavailable where the last training samples have other classes than the rest, as when sorted."""
    known, there = set(trained.tolist()), set(validated.tolist())
    if there - known or (len(there) == 1 and len(known) > 1):
        raise reader.wrong(
            "y_train",
            "the last data.validFraction of the training samples, which become the validation part, must have the "
            "classes of the rest",
            f"class {', '.join(map(str, sorted(there)))} in the last {len(validated)} and "
            f"{', '.join(map(str, sorted(known)))} in the {len(trained)} before",
            "shuffle the samples before they are saved, or save X_val and y_val",
        )


def _scaling(
    reader: _Reader, x_train: NDArray[np.float32]
) -> tuple[tuple[Scaler, ...], tuple[NDArray[np.float64], NDArray[np.float64]] | None]:
    """What the manifest says of normalisation, and the mean and deviation still to be applied, if any."""
    if reader.has("mu", "sd"):
        return _recorded(reader), None
    if reader.data.normalize == "None":
        return (), None
    mean = x_train.mean(axis=(0, 1), dtype=np.float64)
    constant = is_constant(x_train.min(axis=(0, 1)), x_train.max(axis=(0, 1)), np.float32)
    deviation = np.where(constant, 1.0, x_train.std(axis=(0, 1), dtype=np.float64))
    return (Scaler(ticker="", mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist())),), (mean, deviation)


def _recorded(reader: _Reader) -> tuple[Scaler, ...]:
    """`mu` and `sd`: per feature, per ticker and feature, or per row and feature of the window."""
    window, features = reader.data.window, len(reader.data.columns)
    mean, deviation = reader.array("mu"), reader.array("sd")
    tickers = [str(name) for name in reader.array("tickers")] if reader.has("tickers") else [""]
    for key, array in (("mu", mean), ("sd", deviation)):
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all() or array.shape != mean.shape:
            raise reader.wrong(key, "finite numbers in the shape of mu are required", f"{array.dtype} {array.shape}")
    width = features if mean.size in (features, len(tickers) * features) else window * features
    if mean.size not in (width, len(tickers) * width):
        raise reader.wrong("mu", f"a value per feature ({features}) is required", f"{list(mean.shape)}")
    rows = zip(mean.reshape(-1, width), deviation.reshape(-1, width), strict=True)
    names = tickers if mean.size == len(tickers) * width else [""]
    return tuple(
        Scaler(ticker=name, mean=tuple(map(float, mu)), deviation=tuple(map(float, sd)))
        for name, (mu, sd) in zip(names, rows, strict=True)
    )
