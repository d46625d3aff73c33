"""`manifest.json`: what a data set on disk is, where it came from and what every file of it must look like."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationError

from trainer.data.errors import DataUnavailable
from trainer.experiment.section import Section
from trainer.experiment.training import Task

FORMAT_VERSION: Literal[1] = 1
NAME = "manifest.json"

_Size = Annotated[int, Field(ge=0)]


class Scaler(Section):
    """How one ticker's features were normalised: (row - mean) / deviation, fitted on its training rows.

    One value per column, in the order of the manifest's `columns`; an npz of the earlier format may have come with
    one per row and column of the window instead. `ticker` is empty where an npz does not say whose samples it has.
    """

    ticker: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Counts(Section):
    """Samples of each part."""

    train: Annotated[int, Field(ge=1)]
    valid: _Size
    test: _Size


class Shard(Section):
    """One .npy file."""

    name: Annotated[str, Field(pattern=r"^(train|valid|test)-[xy]-[0-9]{5,}\.npy$")]
    bytes: _Size
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    shape: Annotated[tuple[_Size, ...], Field(min_length=1, max_length=3)]
    dtype: Literal["<f4", "<i8"]


class Manifest(Section):
    """Everything known of a data set but the samples themselves."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    format_version: Literal[1]
    hash: str = Field(description="SHA-256 over the fields of `data` and the source's content that made the set.")
    source: dict[str, JsonValue] = Field(description="The source: its name, its fields and what its content was.")
    tickers: tuple[str, ...]
    columns: tuple[str, ...] = Field(description="The features, in the order of the last axis of a sample.")
    target: str | None = Field(description="The column whose next return is y; None where y came with the samples.")
    window: Annotated[int, Field(ge=1)]
    task: Task
    classes: int | None = Field(description="How many classes; None with regression.")
    class_edges: tuple[float, ...] = Field(
        description="Returns between neighbouring classes, fitted on the training part; with two classes, 0."
    )
    counts: Counts
    scalers: tuple[Scaler, ...] = Field(description="One per ticker; empty where nothing was normalised.")
    target_mean: float = Field(description="Mean of the training part's y.")
    bytes: _Size = Field(description="Size of all shards together.")
    shards: tuple[Shard, ...]
    created: str = Field(description="When it was built, UTC.")

    @property
    def content(self) -> str:
        """A hash of what the source held, 12 hex digits: of its bytes, not of when or under which name they came.

        It is that of a topic's checksum over its samples, where they were read to be trained on.
        """
        told = {name: value for name, value in self.source.items() if name != "fetched"}
        if "checksum" in told:
            told = {name: told[name] for name in ("name", "checksum")}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]

    def write(self, folder: Path) -> None:
        """Write it beside the shards."""
        (folder / NAME).write_text(self.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read a data set's manifest; DataUnavailable where there is none or it is damaged."""
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataUnavailable(
            f"{folder}: a data set has a {NAME}, found none; give the folder that `data build` printed"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, str(error)) from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise damaged(path, f"{where}: {first['msg']}" if where else first["msg"]) from error


def damaged(path: Path, finding: str) -> DataUnavailable:
    """The error for a file of a data set that is not as it was written."""
    return DataUnavailable(
        f"{path}: the data set is damaged ({finding}); delete the folder {path.parent} and build it again"
    )
