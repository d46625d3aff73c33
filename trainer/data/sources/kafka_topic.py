"""kafka: samples as messages of a topic, read once as a whole. Ranks that train read it themselves, a share each."""

from pathlib import Path

import numpy as np
from pydantic import JsonValue

from trainer.data.errors import DataUnavailable
from trainer.data.kafka.client import described
from trainer.data.kafka.scaling import AllReduce, fitted, normalised, target_mean
from trainer.data.kafka.source import identity_of, laid_out, require_checksum, resolved, share
from trainer.data.series import Series
from trainer.data.shards import Samples
from trainer.data.split import PARTS
from trainer.data.windows import Windowed
from trainer.experiment.training import Data


def identity(data: Data, cache: Path) -> dict[str, JsonValue]:  # noqa: ARG001 - all sources are called alike
    """The topic's id and the ranges. An export service would publish anew each time, so it makes no set on disk."""
    if data.export is not None:
        raise DataUnavailable(
            "data.export: a set on disk needs data.ranges, as the service publishes anew for each training; give the "
            "topic and the ranges that it answers with"
        )
    return identity_of(data, described(data))


def rows(data: Data, cache: Path) -> list[Series]:  # noqa: ARG001
    """None: samples come as windows."""
    raise DataUnavailable(f"data.source {data.source}: its samples come as windows, there are no rows of it")


def read(data: Data) -> Windowed:
    """All samples, held in memory until they are written. DataUnavailable names partition and offset of a fault."""
    data = resolved(data, 1)
    layout = laid_out(data)
    with share(data, described(data), layout.segments(layout.share(0, 1)), whole=True) as mine:
        mine.read()
    buffer = mine.buffer
    require_checksum(data, buffer.checksum)
    scalers = fitted(buffer.blocks(0), layout.count(0), data, AllReduce())
    shape = (data.window, len(data.columns))
    dtype = np.dtype(np.float32 if data.task == "Regression" else np.int64)
    parts = {}
    for number, part in enumerate(PARTS):
        normalised(buffer.blocks(number), scalers, data)
        blocks = [(x.reshape(-1, *shape), y) for x, y in buffer.blocks(number)]
        parts[part] = Samples(layout.count(number), shape, dtype, blocks)
    tickers = tuple(one.ticker for one in scalers)
    return Windowed(parts, tickers, scalers, (), target_mean(buffer.blocks(0), layout.count(0), AllReduce()))
