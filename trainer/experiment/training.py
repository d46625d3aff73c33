"""`training`: everything that decides what one trial trains. Parameters vary its fields.

A field's default never changes within an API version: a trial's identity leaves defaults out (see `expand`).
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from trainer.experiment.kafka import (
    Compression,
    Export,
    Format,
    Message,
    Secrets,
    Settings,
    SplitPart,
    client_problem,
    ranges_problem,
    split_problem,
    topic_problem,
)
from trainer.experiment.section import (
    OFFSETS,
    PERIOD,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Rule,
    Section,
    Seed,
    Text,
    on_cluster,
)

MOST_SAMPLE_BYTES = 2**28  # in 32-bit numbers; also of the samples that messages hold
# Fields that version 0.1 doesn't know. What it is to read, or to find under the name that it had, holds them only
# where they say something else than their default.
LATER: dict[str, tuple[str, ...]] = {"data": ("features", "predict", "lookback"), "train": ("target_scaling",)}
Task = Literal["Regression", "Classification"]


class Data(Section):
    """Where samples come from and how windows are cut from them."""

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            Rule(
                "!(self.?source.orValue('') in ['csv', 'parquet', 'npz']) || has(self.path)",
                "path is required with source csv, parquet or npz",
            ),
            Rule(
                f"4 * self.?window.orValue(60) * (has(self.columns) ? size(self.columns) : 5) <= {MOST_SAMPLE_BYTES}",
                f"a sample must have at most {MOST_SAMPLE_BYTES:,} bytes (4 x window x columns)",
            ),
            Rule(
                "self.?source.orValue('') != 'kafka' || has(self.brokers) && has(self.topic)",
                "brokers and topic must be given with source kafka",
            ),
            Rule(
                "self.?source.orValue('') != 'kafka' || (size(self.?ranges.orValue([])) > 0) != has(self.export)",
                "source kafka needs ranges or export",
            ),
        )
    )

    source: Literal["sp500", "yfinance", "csv", "parquet", "npz", "synthetic", "kafka"] = Field(
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
    columns: Annotated[tuple[Text, ...], Field(min_length=1, max_length=1024)] = Field(
        ("Open", "High", "Low", "Close", "Volume"), description="The columns that make a row's features."
    )
    features: Literal["Values", "Changes"] = Field(
        "Values",
        description="What a row has of each column: its value, or its change from the row before, as a share of the "
        "larger of the two in size. Not with npz and kafka.",
    )
    target: Text = Field("Close", description="The column that is predicted.")
    predict: Literal["Return", "AbsoluteReturn", "Difference"] = Field(
        "Return",
        description="What is predicted of the target's next row: the return; the size of the return; or the "
        "difference, for columns that are not positive throughout. Not with npz and kafka.",
    )
    window: Annotated[int, Field(ge=1, le=1_000_000)] = Field(60, description="Rows per sample.")
    lookback: Literal["Part", "Past"] = Field(
        "Part",
        description="Whether windows of validation and test begin within their part, or may reach back before it. "
        "With Past every row of a part is predicted, whatever the window. Not with npz and kafka.",
    )
    task: Task = Field(
        "Regression",
        description="Regression predicts a number, Classification its sign or quantile.",
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
    brokers: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="Where to find the brokers: host:port, several with commas (kafka)."
    )
    topic: Annotated[str, Field(min_length=1, max_length=249)] | None = Field(
        None, description="The topic; {format} and {compression} in it stand for those fields (kafka)."
    )
    ranges: Annotated[tuple[Annotated[str, Field(pattern=OFFSETS, max_length=40)], ...], Field(max_length=1024)] = (
        Field(
            (),
            description="The messages that are the samples, as partition:start:end with the end included; samples "
            "count through the ranges in this order (kafka).",
        )
    )
    format: Format = Field(
        "Avro",
        description="What a message is: an Avro record, a JSON object, or JSON with such Avro; each may have a "
        "schema registry's framing (kafka).",
    )
    compression: Compression = Field(
        "None", description="How publishing compresses messages; reading takes them as they are (kafka)."
    )
    split: Annotated[tuple[SplitPart, ...], Field(max_length=3)] = Field(
        (),
        description="The parts of each range for training, validation and test; by default by the fractions (kafka).",
    )
    checksum: Annotated[int, Field(ge=0, le=2**48 - 1)] | None = Field(
        None, description="What the samples must add up to, as publishing printed it (kafka)."
    )
    warmup_messages: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        0, description="Messages that each worker reads and throws away before its load time counts (kafka)."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        30, description="How long brokers may be silent before reading fails (kafka)."
    )
    message: Message = Field(Message(), description="What a message looks like (kafka).")
    export: Export | None = Field(None, description="The service that publishes and says the ranges (kafka).")
    client: Settings = Field(
        default_factory=dict,
        description="Settings for TLS and SASL as librdkafka names them, without secrets (kafka).",
    )
    client_secrets: Secrets = Field(
        default_factory=dict, description="Secret settings, each as env:VARIABLE or file:PATH (kafka)."
    )

    def disagreement(self) -> str | None:
        """A file's path must be given, and what Kafka needs."""
        if self.source in ("csv", "parquet", "npz") and self.path is None:
            return f"path is required with source {self.source}, got none"
        size = 4 * self.window * len(self.columns)
        if size > MOST_SAMPLE_BYTES:
            return (
                f"a sample must have at most {MOST_SAMPLE_BYTES:,} bytes (4 x window x columns), got {size:,} of "
                f"window {self.window} and {len(self.columns)} columns"
            )
        problems = (
            self._windowed_problem(),
            None if self.topic is None else topic_problem(self.topic),
            ranges_problem(self.ranges),
            split_problem(self.split),
            client_problem(self.client, self.client_secrets),
            self._kafka_problem() if self.source == "kafka" else None,
        )
        return next((problem for problem in problems if problem is not None), None)

    def _windowed_problem(self) -> str | None:
        """What decides how rows become windows says nothing where samples come as windows."""
        if self.source not in ("npz", "kafka"):
            return None
        given = [
            (name, value)
            for name, value, default in (
                ("features", self.features, "Values"),
                ("predict", self.predict, "Return"),
                ("lookback", self.lookback, "Part"),
            )
            if value != default
        ]
        if not given:
            return None
        name, value = given[0]
        return f"{name} must be left out with source {self.source}, whose samples come as windows, got {value}"

    def _kafka_problem(self) -> str | None:
        missing = [name for name in ("brokers", "topic") if getattr(self, name) is None]
        if missing:
            return f"{' and '.join(missing)} must be given with source kafka, got none"
        if bool(self.ranges) == (self.export is not None):
            return f"source kafka needs ranges or export, got {'both' if self.ranges else 'neither'}"
        if self.residency == "Streaming":
            return "residency must be InMemory with source kafka, whose messages are read once, got Streaming"
        return None if self.multiplier == 1 else f"multiplier must be 1 with source kafka, got {self.multiplier}"

    @property
    def topic_name(self) -> str:
        """The topic with its placeholders filled in."""
        filled = (self.topic or "").replace("{format}", self.format)
        return filled.replace("{compression}", self.compression)


class Model(Section):
    """The network."""

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            Rule(
                "self.?kind.orValue('') != 'Transformer' "
                "|| self.?hiddenSize.orValue(64) % self.?heads.orValue(4) == 0",
                "heads must divide hiddenSize (by default heads is 4 and hiddenSize is 64)",
            )
        )
    )

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
    target_scaling: Literal["None", "ZScore"] = Field(
        "None",
        description="ZScore trains on targets scaled by the mean and deviation of the training part's. All figures "
        "stay in the target's own units (Regression).",
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

    def portable(self) -> dict[str, Any]:
        """As other versions read it, too: every default written out, but those of fields that 0.1 would refuse."""
        document = self.document()
        for name, fields in LATER.items():
            section = getattr(self, name)
            for field in fields:
                known = type(section).model_fields[field]
                if getattr(section, field) == known.default:
                    del document[name][str(known.alias)]
        return document

    def disagreement(self) -> str | None:
        """Classes are not scaled."""
        if self.train.target_scaling != "None" and self.data.task == "Classification":
            return f"train.targetScaling must be left out with Classification, got {self.train.target_scaling}"
        return None


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
