"""`training`: everything that decides what one trial trains. Parameters vary its fields.

A field's default never changes within an API version: a trial's identity leaves defaults out (see `expand`).
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field

from trainer.experiment.section import PERIOD, Count, Fraction, NotNegative, Positive, Section, Seed, Text

Task = Literal["Regression", "Classification"]


class Data(Section):
    """Where samples come from and how windows are cut from them."""

    source: Literal["sp500", "yfinance", "csv", "parquet", "npz", "synthetic"] = Field(
        "sp500", description="Where the rows come from; sp500 is a daily index series that needs no network."
    )
    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None,
        description="The file to read (csv, parquet, npz); in a pod a relative path begins at /data, "
        "elsewhere where the command runs.",
    )
    tickers: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=32)], ...], Field(max_length=100)] = Field(
        (),
        description="The symbols to fetch, by default AAPL MSFT TSLA JPM AMZN XOM JNJ (yfinance), "
        "or to keep of a file with a Ticker column, by default all.",
    )
    period: Annotated[str, Field(pattern=PERIOD)] = Field(
        "5y", description="How far back from the last row: 90d, 6mo, 5y, ytd or max (sp500, yfinance)."
    )
    interval: Literal["1m", "5m", "15m", "30m", "1h", "1d", "1wk", "1mo"] = Field(
        "1d", description="The time between rows (yfinance)."
    )
    rows: Annotated[int, Field(ge=10, le=10_000_000)] = Field(
        1258, description="How many rows to make up (synthetic)."
    )
    seed: Seed = Field(0, description="Seeds the rows that are made up (synthetic).")
    columns: Annotated[tuple[Text, ...], Field(min_length=1, max_length=64)] = Field(
        ("Open", "High", "Low", "Close", "Volume"), description="The columns that make a row's features."
    )
    target: Text = Field("Close", description="The column whose next-period return is predicted.")
    window: Annotated[int, Field(ge=1, le=10_000)] = Field(60, description="Rows per sample.")
    task: Task = Field(
        "Regression",
        description="Regression predicts the next return, Classification its sign or quantile.",
    )
    classes: Annotated[int, Field(ge=2, le=1000)] = Field(2, description="How many classes (Classification).")
    test_fraction: Fraction = Field(0.2, description="The last part of each ticker's rows, kept for the test.")
    valid_fraction: Fraction = Field(0.1, description="The last part of the remaining rows, for validation.")
    normalize: Literal["ZScore", "None"] = Field(
        "ZScore", description="ZScore scales each column by the mean and deviation of the training rows."
    )
    multiplier: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1, description="Training set size as a multiple of the base set; copies carry seeded noise."
    )
    residency: Literal["InMemory", "Streaming"] = Field(
        "InMemory",
        description="Whether a rank holds its part of the training set or makes samples as it goes.",
    )

    def disagreement(self) -> str | None:
        """A file's path must be given."""
        if self.source in ("csv", "parquet", "npz") and self.path is None:
            return f"path is required with source {self.source}, got none"
        return None


class Model(Section):
    """The network."""

    kind: Literal["MLP", "LSTM", "Transformer"] = Field("MLP", description="The architecture.")
    hidden_size: Annotated[int, Field(ge=1, le=16_384)] = Field(64, description="Width of each hidden layer.")
    layers: Annotated[int, Field(ge=1, le=256)] = Field(2, description="Hidden layers.")
    dropout: Fraction = Field(0.0, description="Share of activations dropped while training.")
    heads: Annotated[int, Field(ge=1, le=256)] = Field(
        4, description="Attention heads (Transformer); must divide hiddenSize."
    )

    def disagreement(self) -> str | None:
        """Attention splits the width among its heads."""
        if self.kind == "Transformer" and self.hidden_size % self.heads:
            return f"heads must divide hiddenSize, got heads {self.heads} and hiddenSize {self.hidden_size}"
        return None


class Train(Section):
    """How the network is trained."""

    epochs: Count = Field(20, description="Passes over the training set.")
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(32, description="Samples per step.")
    batch_per: Literal["Global", "Worker"] = Field(
        "Global", description="Whether batchSize counts the samples of a step over all workers, or of each."
    )
    shuffle: bool = Field(True, description="Whether each epoch has an order of its own.")
    optimizer: Literal["Adam", "AdamW", "SGD"] = Field("Adam", description="The update rule.")
    learning_rate: Positive = Field(0.001, description="The step size.")
    learning_rate_scaling: Literal["None", "Linear"] = Field(
        "None", description="Linear multiplies the learning rate by the number of workers."
    )
    weight_decay: NotNegative = Field(0.0, description="L2 penalty (Adam, SGD) or decoupled decay (AdamW).")
    momentum: Fraction = Field(0.0, description="Momentum (SGD).")
    gradient_clip: NotNegative = Field(0.0, description="Largest gradient norm; 0 does not clip.")
    patience: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        0, description="Epochs without a better validation loss before training stops; 0 never stops."
    )
    seed: Seed = Field(0, description="Seeds initial weights, order and dropout.")
    device: Literal["Auto", "CPU", "CUDA"] = Field("Auto", description="Auto takes a GPU where there is one.")
    precision: Literal["Float32", "Float64"] = Field("Float32", description="The type of weights and samples.")
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(1, description="CPU threads of each worker.")
    checkpoint_every: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        0,
        description="Epochs between checkpoints that an interrupted trial resumes from; with 0 there is one every "
        "few seconds where the pod has an outputClaim, and none elsewhere.",
    )


class Evaluate(Section):
    """How predictions become figures."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="Probability from which on a sample counts as class 1 (two classes)."
    )


class Training(Section):
    """One trial's training, whole."""

    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()


@dataclass(frozen=True)
class Leaf:
    """A field that a parameter can name: `section` is the part of `training` that holds it as `alias`.

    `number` is int or float for a field that holds one, and so can be drawn from a range.
    """

    section: type[Section]
    alias: str
    number: type[int] | type[float] | None


@cache
def leaves() -> dict[str, Leaf]:
    """Every path that a parameter may name, such as train.learningRate."""
    sections: dict[str, type[Section]] = {"data": Data, "model": Model, "train": Train, "evaluate": Evaluate}
    numbers: dict[Any, type[int] | type[float]] = {int: int, float: float}
    return {
        f"{name}.{field.alias}": Leaf(section, str(field.alias), numbers.get(field.annotation))
        for name, section in sections.items()
        for field in section.model_fields.values()
    }
