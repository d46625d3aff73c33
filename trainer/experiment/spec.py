"""The two kinds of experiment as values. What a field may hold is said here; what must agree, in `load`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from trainer.experiment.bounds import Budget, Constraint, EarlyStopping
from trainer.experiment.metrics import Direction
from trainer.experiment.pod import Pod, Quantity
from trainer.experiment.program import Program
from trainer.experiment.section import (
    FIXED,
    GROWS,
    METRIC,
    NAME,
    PARAMETER,
    Count,
    NotNegative,
    Positive,
    Rule,
    Section,
    Seed,
    on_cluster,
)
from trainer.experiment.training import Training

API_VERSION = "trialrun.dev/v1alpha1"
MAX_TRIALS = 10_000

Scalar = bool | int | float | str
# The longest text that a field of `training` takes has 1024 characters; by it the API server counts what rules in CEL
# may cost. `load` refuses null, and yet it is nullable: a rule that meets a null where there can be none fails every
# later write to the object, those of its status included.
Choice = Annotated[Scalar, Field(json_schema_extra={"maxLength": 1024, "nullable": True})]
# A trial's job is `<experiment>-<10 digits>-<attempt>`; a PyTorchJob's name may have 53 characters.
Name = Annotated[str, Field(pattern=NAME, max_length=39)]
Workers = Annotated[int, Field(ge=1, le=64)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]


class Objective(Section):
    """What makes one trial better than another."""

    metric: Annotated[str, Field(pattern=METRIC, max_length=64)] = Field(
        description="The figure to compare, such as validMse, or whatever a program reports."
    )
    direction: Direction | None = Field(
        None, description="Whether less or more of it is better; by default what suits a metric of ours."
    )


class Range(Section):
    """An interval that points are drawn from, both ends included."""

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            Rule("self.min < self.max", "must have min < max"),
            Rule(
                "self.?scale.orValue('Linear') != 'Log' || self.min > 0.0", "must have min > 0 with scale Log", "min"
            ),
        )
    )

    min: float = Field(description="The smallest value.")
    max: float = Field(description="The largest value.")
    scale: Literal["Linear", "Log"] = Field("Linear", description="Log draws evenly over orders of magnitude.")
    step: Positive | None = Field(
        None,
        description="The distance between two values, which max - min is a multiple of. They are whole numbers where "
        "min, max and step are.",
    )

    @property
    def count(self) -> int | None:
        """How many values there are, where a step makes them countable."""
        return None if self.step is None else round((self.max - self.min) / self.step) + 1

    def at(self, number: int) -> int | float:
        """One of the values that a step makes, from 0."""
        assert self.step is not None, "only a step makes them countable"  # noqa: S101
        found = float(f"{self.min + number * self.step:.12g}")
        return int(found) if all(float(each).is_integer() for each in (self.min, self.max, self.step)) else found


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


# One value, or several of which any will do.
Wanted = Annotated[
    tuple[Choice, ...],
    Field(min_length=1, max_length=64),
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": each} for each in ("boolean", "integer", "number", "string", "array")]}),
]


class Parameter(Section):
    """What varies and the values it takes: `choices` or a `range`."""

    # Not a rule in CEL, which cannot see choices.
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["choices"], "properties": {"choices": {"type": "array"}}},
                {"required": ["range"], "properties": {"range": {"type": "object"}}},
            ]
        }
    )

    name: Annotated[str, Field(min_length=1, pattern=PARAMETER, max_length=100)] = Field(
        description="The path of a field of `training`, such as train.learningRate; with a program any name, "
        "of which a dotted one reaches into its settings."
    )
    choices: Annotated[tuple[Choice, ...], Field(min_length=1, max_length=64)] | None = Field(
        None, description="The values to try."
    )
    range: Range | None = Field(None, description="The interval to draw from (with Grid it needs a step).")
    when: dict[str, Wanted] = Field(
        default_factory=dict,
        max_length=8,
        description="The values that parameters listed before this one must have for it to count, such as "
        "{optimizer: sgd}. Where they have others it is left out, and what does not vary counts.",
    )

    @property
    def count(self) -> int | None:
        """How many values it takes, None where they can't be counted."""
        return len(self.choices or ()) if self.range is None else self.range.count

    def at(self, number: int) -> Scalar:
        """One of the values that can be counted, from 0."""
        return self.range.at(number) if self.range is not None else (self.choices or ())[number]


class Prices(Section):
    """What the user pays for an hour of what is allocated to pods, in whatever currency."""

    cpu_hour: NotNegative = Field(0, description="The price of one CPU for an hour.")
    gib_hour: NotNegative = Field(0, description="The price of one GiB of memory for an hour.")
    gpu_hour: NotNegative = Field(0, description="The price of one GPU (any resource named .../gpu) for an hour.")


class Common(Section):
    """What both kinds of experiment have."""

    training: Training = Field(
        Training(), description="What every trial trains, but for what varies.", json_schema_extra=FIXED
    )
    program: Program | None = Field(
        None, description="What every trial runs in place of Trialrun's trainer.", json_schema_extra=FIXED
    )
    repeats: Annotated[int, Field(ge=1, le=1000)] = Field(
        1,
        description="How often each point is trained; repeat r uses seed + r, and the mean counts.",
        json_schema_extra=FIXED,
    )
    order: Literal["Listed", "Shuffled"] = Field(
        "Listed",
        description="The order in which trials start; their ids do not depend on it.",
        json_schema_extra=FIXED,
    )
    seed: Seed = Field(
        0,
        description="Seeds what the experiment itself draws: points and a shuffled order.",
        json_schema_extra=FIXED,
    )
    max_failed_trials: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = Field(
        3, description="When more trials than this have failed no new one starts."
    )
    pending_deadline_seconds: Seconds = Field(
        600, description="How long a trial's pods may wait for a node or an image (cluster)."
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = Field(
        None,
        description="How long finished jobs are kept; by default a day, or until a quota needs the room (cluster).",
    )
    backend: Literal["Auto", "PyTorchJob", "TrainJob"] = Field(
        "Auto",
        description="The kind of job that runs a trial; Auto takes what the cluster has, PyTorchJobs first, and "
        "keeps to it (cluster).",
        json_schema_extra=FIXED,
    )
    queue: Annotated[str, Field(pattern=NAME, max_length=63)] | None = Field(
        None,
        description="The Kueue LocalQueue that admits the jobs, when their quota allows (cluster).",
        json_schema_extra=FIXED,
    )
    suspend: bool = Field(False, description="Start no new trials; running ones finish (cluster).")
    rerun: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        0, description="Raise it to run failed and missing trials again (cluster).", json_schema_extra=GROWS
    )
    prices: Prices | None = Field(
        None, description="Prices that turn pod.resources and the seconds that pods ran into a cost."
    )
    # May change, unlike what decides the trials: failures ask for a higher limit or another image, and then a rerun.
    # Every record says what its trial ran with, and summaries compare that.
    pod: Pod = Field(Pod(), description="How pods are scheduled (cluster).")


class KnownPoint(Section):
    """A point to try before others."""

    parameters: dict[str, Choice] = Field(
        min_length=1, max_length=32, description="A value for each parameter, but for those that `when` leaves out."
    )


class SearchSpec(Common):
    """`spec` of a HyperparamSearch."""

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            Rule(
                "self.?algorithm.orValue('Grid') == 'Grid' || has(self.trials)",
                "is required with algorithms Random, Sobol and TPE",
                "trials",
            ),
            Rule(
                "self.?algorithm.orValue('Grid') != 'Grid' || !has(self.trials)",
                "belongs to algorithms Random, Sobol and TPE; Grid tries every combination",
                "trials",
            ),
            Rule(
                "self.?algorithm.orValue('Grid') != 'Grid' "
                "|| self.parameters.all(p, !has(p.range) || has(p.range.step))",
                "must have choices, or a range with a step, with algorithm Grid",
                "parameters",
            ),
            Rule(
                "!has(self.warmStart) || self.?algorithm.orValue('Grid') == 'TPE'",
                "belongs to algorithm TPE",
                "warmStart",
            ),
            Rule(
                "!has(self.warmStart) || !self.warmStart.startsWith('sct/')",
                "must be an earlier search, and sct/NAME is a scale test",
                "warmStart",
            ),
            Rule(
                "!has(self.points) || !has(self.trials) || size(self.points) <= self.trials",
                "must have at most as many entries as there are trials",
                "points",
            ),
            Rule(
                "!has(self.trials) || self.?budget.?plateau.orValue(0) < self.trials",
                "must be less than trials",
                "budget.plateau",
            ),
            Rule(
                "!has(self.budget) || !has(self.budget.maxCost) || has(self.prices)",
                "must come with prices",
                "budget.maxCost",
            ),
            Rule(
                "!has(self.earlyStopping) || self.objective.metric != 'totalSeconds'",
                "must go with an objective that trials report at every step",
                "earlyStopping",
            ),
            Rule(
                "!has(self.earlyStopping) || self.?repeats.orValue(1) <= self.?parallelTrials.orValue(4)",
                "must be at most parallelTrials with earlyStopping",
                "repeats",
            ),
        )
    )

    objective: Objective = Field(description="What makes one trial better than another.", json_schema_extra=FIXED)
    algorithm: Literal["Grid", "Random", "Sobol", "TPE"] = Field(
        "Grid",
        description="Grid tries every combination; Random draws `trials` points, Sobol spreads them evenly, TPE "
        "learns from the trials before which to try next.",
        json_schema_extra=FIXED,
    )
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = Field(
        None,
        description="How many points Random, Sobol or TPE tries, known ones included. It may be raised on a search "
        "that runs or has finished, which then goes on.",
        json_schema_extra=GROWS,
    )
    parameters: Annotated[tuple[Parameter, ...], Field(min_length=1, max_length=32)] = Field(
        description="What varies from trial to trial.", json_schema_extra=FIXED
    )
    points: Annotated[tuple[KnownPoint, ...], Field(max_length=100)] = Field(
        (), description="Points to try before those of the algorithm.", json_schema_extra=FIXED
    )
    warm_start: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None,
        description="An earlier search of the same parameters, or of some of their values, to learn from first "
        "(TPE): the folder of its run, such as runs/NAME, or hps/NAME on a cluster.",
        json_schema_extra=FIXED,
    )
    constraints: Annotated[tuple[Constraint, ...], Field(max_length=16)] = Field(
        (),
        description="What a point must keep to for being the best. TPE keeps away from what breaks it.",
        json_schema_extra=FIXED,
    )
    early_stopping: EarlyStopping | None = Field(
        None,
        description="When a trial is stopped that does worse than others did at the same step.",
        json_schema_extra=FIXED,
    )
    budget: Budget = Field(Budget(), description="When the search ends before all its points are tried.")
    parallel_trials: Annotated[int, Field(ge=1, le=1000)] = Field(
        4, description="The most trials that run at once on a cluster; locally --jobs says."
    )
    packing: Literal["None", "Auto"] = Field(
        "None",
        description="Auto trains trials of an MLP of one shape together, as one batched computation, with `run`; a "
        "cluster packs nothing.",
    )
    workers: Workers = Field(
        1, description="Ranks per trial; more than one trains with DDP.", json_schema_extra=FIXED
    )
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

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            Rule(
                "!(has(self.memoryLimit) && has(self.memoryAboveFloor))",
                "memoryLimit and memoryAboveFloor exclude each other",
            )
        )
    )

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

    axes: Axes = Field(Axes(), description="Which sizes and worker counts are measured.", json_schema_extra=FIXED)
    cell: Cell = Field(Cell(), description="The limits of one cell.", json_schema_extra=FIXED)
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
    api_version: Literal["trialrun.dev/v1alpha1"] = Field(description="Always trialrun.dev/v1alpha1.")
    metadata: Metadata

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.metadata.name


class HyperparamSearch(_Document):
    """A hyperparameter search. Which parameters give the best objective?"""

    kind: Literal["HyperparamSearch"] = Field(description="Always HyperparamSearch.")
    spec: SearchSpec = Field(
        description="What to search, and how. What decides the trials cannot change once it exists; how they run can."
    )


class ScaleTest(_Document):
    """A scale test. How do time and memory grow with the training set, and where does memory run out?"""

    kind: Literal["ScaleTest"] = Field(description="Always ScaleTest.")
    spec: ScaleTestSpec = Field(
        description="What to measure, and how. What decides the cells cannot change once it exists; how they run can."
    )


Experiment = HyperparamSearch | ScaleTest
