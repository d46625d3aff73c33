"""The two kinds of experiment as values. What a field may hold is said here; what must agree, in `load`."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from trainer.experiment.metrics import Direction
from trainer.experiment.pod import Pod, Quantity
from trainer.experiment.section import NAME, Count, NotNegative, Section, Seed
from trainer.experiment.training import Training

API_VERSION = "trialrun.dev/v1alpha1"
MAX_TRIALS = 10_000

Scalar = bool | int | float | str
# A trial's job is `<experiment>-<10 digits>-<attempt>`; a PyTorchJob's name may have 53 characters.
Name = Annotated[str, Field(pattern=NAME, max_length=39)]
Workers = Annotated[int, Field(ge=1, le=64)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]


class Objective(Section):
    """What makes one trial better than another."""

    metric: Annotated[str, Field(max_length=64)] = Field(description="The figure to compare, such as validMse.")
    direction: Direction | None = Field(
        None, description="Whether less or more of it is better; by default what suits the metric."
    )


class Range(Section):
    """An interval that Random draws from, both ends included."""

    min: float = Field(description="The smallest value.")
    max: float = Field(description="The largest value.")
    scale: Literal["Linear", "Log"] = Field("Linear", description="Log draws evenly over orders of magnitude.")


class Parameter(Section):
    """One field of `training` and the values it takes: `choices` or a `range`."""

    name: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        description="The path of a field of `training`, such as train.learningRate."
    )
    choices: Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=64)] | None = Field(
        None, description="The values to try."
    )
    range: Range | None = Field(None, description="The interval to draw from (Random).")


class Prices(Section):
    """What the user pays for an hour of what is allocated to pods, in whatever currency."""

    cpu_hour: NotNegative = Field(0, description="The price of one CPU for an hour.")
    gib_hour: NotNegative = Field(0, description="The price of one GiB of memory for an hour.")
    gpu_hour: NotNegative = Field(0, description="The price of one GPU (any resource named .../gpu) for an hour.")


class Common(Section):
    """What both kinds of experiment have."""

    training: Training = Field(Training(), description="What every trial trains, but for what varies.")
    repeats: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="How often each point is trained; repeat r uses seed + r, and the mean counts."
    )
    order: Literal["Listed", "Shuffled"] = Field(
        "Listed", description="The order in which trials start; their ids do not depend on it."
    )
    seed: Seed = Field(0, description="Seeds what the experiment itself draws: random points and a shuffled order.")
    max_failed_trials: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = Field(
        3, description="When more trials than this have failed no new one starts."
    )
    pending_deadline_seconds: Seconds = Field(
        600, description="How long a trial's pods may wait for a node or an image (cluster)."
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = Field(
        None, description="How long finished jobs are kept; by default as long as the experiment (cluster)."
    )
    suspend: bool = Field(False, description="Start no new trials; running ones finish (cluster).")
    rerun: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        0, description="Raise it to run failed and missing trials again (cluster)."
    )
    prices: Prices | None = Field(
        None, description="Prices that turn pod.resources and the seconds that pods ran into a cost."
    )
    pod: Pod = Field(Pod(), description="How pods are scheduled (cluster).")


class SearchSpec(Common):
    """`spec` of a HyperparamSearch."""

    objective: Objective = Field(description="What makes one trial better than another.")
    algorithm: Literal["Grid", "Random"] = Field(
        "Grid", description="Grid tries every combination, Random draws `trials` of them."
    )
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = Field(
        None, description="How many points Random draws."
    )
    parameters: Annotated[tuple[Parameter, ...], Field(min_length=1, max_length=32)] = Field(
        description="What varies from trial to trial."
    )
    parallel_trials: Annotated[int, Field(ge=1, le=1000)] = Field(
        4, description="The most trials that run at once on a cluster; locally --jobs says."
    )
    workers: Workers = Field(1, description="Ranks per trial; more than one trains with DDP.")
    deadline_seconds: Seconds = Field(600, description="The longest a trial may run.")
    baseline: Literal["None", "Measure", "Import"] = Field(
        "None",
        description="Measure runs the search again afterwards, one trial at a time in one pod; Import takes "
        "results.jsonl of the ConfigMap <name>-baseline (cluster).",
    )


class Axes(Section):
    """The two axes of a scale test."""

    multipliers: Annotated[
        tuple[Annotated[int, Field(ge=1, le=100_000)], ...], Field(min_length=1, max_length=64)
    ] = Field((1, 10, 50, 100, 200), description="Training set sizes, as multiples of the base set.")
    workers: Annotated[tuple[Workers, ...], Field(min_length=1, max_length=16)] = Field(
        (1,), description="Worker counts."
    )


class Cell(Section):
    """The limits of one cell of a scale test."""

    deadline_seconds: Seconds = Field(30, description="The longest a cell may run.")
    memory_limit: Quantity | None = Field(None, description="The memory each worker may use, such as 1Gi.")
    memory_above_floor: Quantity | None = Field(
        None,
        description="In place of memoryLimit: what each worker may use beyond what it has before it holds a sample, "
        "which is measured before the first cell.",
    )
    after_out_of_memory: Literal["Skip", "Run"] = Field(
        "Skip", description="What becomes of larger cells with as many workers after one ran out of memory."
    )

    def disagreement(self) -> str | None:
        """A limit is given in one way."""
        if self.memory_limit is not None and self.memory_above_floor is not None:
            return "memoryLimit and memoryAboveFloor exclude each other, got both"
        return None


class ScaleTestSpec(Common):
    """`spec` of a ScaleTest."""

    axes: Axes = Field(Axes(), description="Which sizes and worker counts are measured.")
    cell: Cell = Field(Cell(), description="The limits of one cell.")
    parallel_trials: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="The most cells that run at once; more than one disturb each other."
    )


class Metadata(Section):
    """Of `metadata` only the name matters here; the API server's other fields pass."""

    model_config = ConfigDict(extra="ignore")
    name: Name
    namespace: str | None = None
    uid: str | None = None
    generation: Count | None = None


class _Document(Section):
    api_version: Literal["trialrun.dev/v1alpha1"]
    metadata: Metadata

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.metadata.name


class HyperparamSearch(_Document):
    """A search: which parameters give the best objective."""

    kind: Literal["HyperparamSearch"]
    spec: SearchSpec


class ScaleTest(_Document):
    """A scale test: what happens to time and memory as data and workers grow."""

    kind: Literal["ScaleTest"]
    spec: ScaleTestSpec


Experiment = HyperparamSearch | ScaleTest
