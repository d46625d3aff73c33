"""Writes a data set as .npz in the earlier systems' format, one shard at a time."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from trainer.atomic import replace, require_replaceable
from trainer.data.dataset import Dataset, Part
from trainer.data.errors import DataUnavailable
from trainer.data.shards import npy_header

_MADE_BY = b"exported by Trialrun"  # the archive's comment, by which it is known again


def require_free(path: Path) -> None:
    """Raises UserError where something stands at `path` that is no export."""
    require_replaceable(path, _is_export)


def export(dataset: Dataset, path: Path) -> None:
    """X_train y_train X_test y_test, X_val y_val where there is a validation part, mu and sd where X is normalised.

    X is float32 [n, window, features], y float32 or int64 [n], mu and sd float64 [features] or, with several tickers,
    [tickers, features] beside `tickers`. Whole or not at all: DataUnavailable where `path` cannot be written.
    """
    try:
        with replace(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.comment = _MADE_BY
            _write_part(archive, "train", dataset.train)
            if len(dataset.valid):
                _write_part(archive, "val", dataset.valid)
            _write_part(archive, "test", dataset.test)
            for name, array in _statistics(dataset).items():
                with archive.open(f"{name}.npy", "w") as file:
                    npy.write_array(file, array, allow_pickle=False)
    except OSError as error:
        raise DataUnavailable(
            f"{path}: the export cannot be written ({error.strerror or error}); choose another file or make room"
        ) from error


def _is_export(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment == _MADE_BY
    except zipfile.BadZipFile:
        return False


def _write_part(archive: zipfile.ZipFile, name: str, part: Part) -> None:
    shape = (len(part), *part.sample_shape)
    _write_array(archive, f"X_{name}", part.x, shape, np.dtype("<f4"))
    _write_array(archive, f"y_{name}", part.y, shape[:1], part.target_dtype)


def _write_array(
    archive: zipfile.ZipFile, key: str, shards: tuple[NDArray[Any], ...], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
        npy_header(file, shape, dtype)
        for shard in shards:
            file.write(np.ascontiguousarray(shard).data.cast("B"))


def _statistics(dataset: Dataset) -> dict[str, NDArray[Any]]:
    scalers = dataset.manifest.scalers
    if not scalers:
        return {}
    mean = np.array([one.mean for one in scalers])
    deviation = np.array([one.deviation for one in scalers])
    if len(scalers) == 1:
        named = {"tickers": np.array([scalers[0].ticker])} if scalers[0].ticker else {}
        return {"mu": mean[0], "sd": deviation[0], **named}
    return {"mu": mean, "sd": deviation, "tickers": np.array([one.ticker for one in scalers])}
