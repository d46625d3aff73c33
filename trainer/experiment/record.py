"""What a trial leaves behind: the record, one JSON line of the ledger, and the report each of its ranks makes.

Encoder and decoder stand side by side. Nothing else knows how either is spelt.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from trainer.experiment.error_messages import findings, show
from trainer.experiment.metrics import UNDEFINED_BECAUSE
from trainer.experiment.outcome import Outcome
from trainer.experiment.redact import redacted
from trainer.experiment.section import Section
from trainer.experiment.spec import Scalar

MAX_REPORT_BYTES = 4096  # Kubernetes cuts a termination message there
MAX_ERROR_CHARACTERS = 1000
# What a trial's result rests on, under `Record.evidence`: hashes of 12 hex digits of the content that it trained on
# and of what it was validated on. A report has them as numbers under `metrics`: version 0.1 takes no further keys.
DATA, VALIDATION = "data", "validation"
INPUTS, CODE = "inputs", "code"  # of a program: its declared files, and the files that it is made of
UNREAD = "unreadParameters"  # of a program: those of its parameters that it neither was given nor asked for
STEP = "step"  # the last step that was told, of a program or of a trial that was stopped
STEP_SECONDS = "stepSeconds"  # what a step of it took, by when its first and its last report were read
RUNG = "stoppedAtRung"
PACKED_WITH = "packedWith"  # how many others it trained together with; its seconds are its share of theirs
PACK = "pack"  # which trials those were: they have the same
HASHES = {"dataHash": DATA, "validationHash": VALIDATION, "inputsHash": INPUTS, "codeHash": CODE}
NAIVE = "naive"  # begins the names of what a prediction gets that has learnt nothing: naiveValidMse
UNDEFINED = "undefined"  # begins the names by which a report tells of a metric that has no value: undefinedValidR2
_MOST_MISTAKES = 5

Milliseconds = Annotated[int, Field(ge=0, description="Since 1970, by the clock of whoever wrote it.")]
Metrics = dict[str, float]
# Of a report some may be NaN or infinite: the others stand all the same.
ReportedMetrics = dict[str, Annotated[float, Field(allow_inf_nan=True)]]
OutcomeText = Annotated[Outcome, Field(strict=False)]


class Reported(Section):
    """A part of a record: made by this code, so by its own names, and read back by the file's."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


class Seconds(Reported):
    """Where a trial's time went. `total` runs from when it had a place to run to its end, `queued` until then.

    `start`, `data` and `train` are parts of `total`; what is left of it went into writing results.
    """

    queued: float = Field(0.0, description="From acceptance to when a process, on a cluster a node, was given to it.")
    start: float = Field(0.0, description="Until training code runs: image, container, process, the other ranks.")
    data: float = 0.0
    train: float = 0.0
    total: float = 0.0


class Charged(Reported):
    """What the kernel charges a rank's cgroup with, in bytes, without the pages of files that it caches."""

    floor_bytes: int = Field(description="With everything loaded and no sample held.")
    peak_bytes: int
    mean_bytes: int


class MemoryLimit(Reported):
    """The most memory that a rank could use: the kernel counts what it charges, a watchdog what is resident."""

    bytes: int
    kept_by: Literal["Cgroup", "Watchdog"]


class Memory(Reported):
    """One rank's resident memory in bytes and, where it had a cgroup of its own, what that was charged with."""

    peak_bytes: int
    mean_bytes: int
    floor_bytes: int | None = Field(None, description="With everything loaded and no sample held.")
    cgroup: Charged | None = None
    limit: MemoryLimit | None = None
    device_peak_bytes: int | None = Field(None, description="The most that torch's allocator had on a GPU.")

    @property
    def counted_peak(self) -> int:
        """The peak as a limit counts it: of the cgroup where there is one."""
        return self.peak_bytes if self.cgroup is None else self.cgroup.peak_bytes

    @property
    def counted_floor(self) -> int | None:
        """The floor in the measure of `counted_peak`."""
        return self.floor_bytes if self.cgroup is None or self.floor_bytes is None else self.cgroup.floor_bytes


class Environment(Reported):
    """What decides whether two results may be compared."""

    image: str | None = Field(None, description="The digest of the image, in a pod.")
    packages: dict[str, str] = Field(default_factory=dict, description="Versions of python, torch and numpy.")
    cpu: str = ""
    device: str = "cpu"
    threads: int = 1
    cpus: float | None = Field(None, description="The CPU limit in force; None without one.")
    memory_limit_bytes: int | None = None


class RunFigures(Reported):
    """A whole run in the few figures that a comparison needs; `baseline.figures` makes them of any ledger."""

    wall: float = Field(description="Seconds from acceptance to the last record.")
    trials: int
    digest: str = Field(description="Of the ids that the trials have when one worker trains them.")
    seeds: tuple[int, int] = Field(description="The lowest and the highest.")
    workers: int
    most_at_once: int
    outcomes: dict[str, int]
    environments: tuple[Environment, ...] = Field(description="Those that differ, of the trials that succeeded.")
    seconds: Seconds = Field(description="Of all attempts together, each times its workers.")
    best_id: str | None = Field(None, description="The best trial's id when one worker trains it.")
    best_value: float | None = None
    pod_seconds: float | None = Field(None, description="How long the pods ran; None for a run outside of any.")


class RankReport(Reported):
    """What one rank says when it ends; rank 0 adds the metrics. It fits in a termination message.

    The pod that measures a baseline reports like a rank, and adds the figures of its whole run.
    """

    rank: int = 0
    outcome: OutcomeText = Outcome.SUCCEEDED
    provisional: bool = Field(
        False, description="Written while it trained: the figures count, the outcome was not known."
    )
    error: str = ""
    lost_peer: bool = Field(False, description="The error is only that another rank went away.")
    clock: Milliseconds = 0
    metrics: ReportedMetrics = Field(default_factory=dict)
    seconds: Seconds = Seconds()
    memory: Memory | None = None
    samples: int = 0
    dataset_bytes: int = 0
    epochs: int = 0
    resumed_from: int = Field(0, description="The epoch after which it went on from a checkpoint; 0 for none.")
    environment: Environment | None = None
    run: RunFigures | None = None


class Record(Reported):
    """One attempt at one trial. A trial's latest record counts."""

    schema_version: Literal[1] = Field(1, alias="schema")
    id: str
    index: int
    parameters: dict[str, Scalar] = Field(default_factory=dict)
    repeat: int = 0
    workers: int = 1
    seed: int = 0
    attempt: int = Field(1, ge=1)
    final: bool = Field(True, description="Whether the trial is done with; False before another attempt.")
    outcome: OutcomeText
    exit_code: int | None = None
    error: str = ""
    failed_rank: int | None = Field(None, description="The rank that failed first.")
    evidence: dict[str, Scalar] = Field(
        default_factory=dict,
        description="What proves the outcome, such as a signal or a counter of the kernel, and hashes of what the "
        "result rests on.",
    )
    metrics: Metrics = Field(default_factory=dict)
    seconds: Seconds = Seconds()
    memory: tuple[Memory | None, ...] = Field((), description="One entry per rank; null where none was left.")
    samples: int = Field(0, description="Training samples of one epoch, over all ranks.")
    dataset_bytes: int = 0
    epochs: int = 0
    resumed_from: int = Field(0, description="The epoch after which it went on from a checkpoint; 0 for none.")
    oversubscribed: bool = Field(False, description="Its threads outnumbered the cores, so its times don't scale.")
    environment: Environment = Environment()
    accepted_at: Milliseconds = 0
    started_at: Milliseconds = 0
    finished_at: Milliseconds = 0

    @property
    def counted_peak(self) -> int | None:
        """The largest memory of any of its ranks, as a limit counts it; None where none was measured."""
        return max((rank.counted_peak for rank in self.memory if rank is not None), default=None)


def encode(record: Record) -> str:
    """The record's JSON line, without its newline; never holds a newline."""
    return record.model_dump_json(by_alias=True, exclude_none=False)


def decode(line: str | bytes) -> Record:
    """The record that a line holds.

    Raises:
        ValueError: the line is torn, or not a record of a schema this version knows.
    """
    try:
        record = Record.model_validate_json(line)
    except ValidationError as error:
        raise ValueError(f"not a record: {_mistakes(Record, error)}") from error
    # Version 0.1 keeps what a report of this version tells beside its metrics among them.
    metrics, beside = apart(record.metrics)
    return record.model_copy(update={"metrics": metrics, "evidence": beside | record.evidence}) if beside else record


def encode_report(report: RankReport) -> bytes:
    """The report in at most `MAX_REPORT_BYTES`, defaults and metrics without a finite value left out.

    What doesn't fit is cut in this order: the error, the package list, the environment, the later half of the metrics
    as often as it takes, all but one of a run's environments, the rest of the error. The outcome, the times and the
    memory always come through.
    """
    finite = {name: value for name, value in report.metrics.items() if math.isfinite(value)}
    for shorter in _ever_shorter(report.model_copy(update={"metrics": finite})):
        line = shorter.model_dump_json(by_alias=True, exclude_defaults=True).encode()
        if len(line) <= MAX_REPORT_BYTES:
            return line
    raise ValueError(f"a report must have at most {MAX_REPORT_BYTES} bytes, got {len(line)}")


def _ever_shorter(report: RankReport) -> Iterator[RankReport]:
    yield report
    yield report.model_copy(update={"error": cut_error(report.error, 400)})
    report = report.model_copy(update={"error": cut_error(report.error, 100)})
    yield report
    if report.environment is not None:
        yield report.model_copy(update={"environment": report.environment.model_copy(update={"packages": {}})})
    report = report.model_copy(update={"environment": None})
    yield report
    while report.metrics:
        kept = list(report.metrics.items())[: len(report.metrics) // 2]
        report = report.model_copy(update={"metrics": dict(kept)})
        yield report
    if report.run is not None:
        fewer = report.run.model_copy(update={"environments": report.run.environments[:1]})
        report = report.model_copy(update={"run": fewer})
        yield report
    yield report.model_copy(update={"error": ""})


class Unreadable(ValueError):
    """A text is no report; says why. `failure` holds the outcome and the error of a failure that it tells of."""

    def __init__(self, why: str, failure: RankReport | None) -> None:
        super().__init__(why)
        self.failure = failure


def decode_report(text: str | bytes) -> RankReport:
    """The report that a termination message holds. Of its metrics some may be NaN or infinite.

    Raises:
        Unreadable: it is cut off, or not a report.
    """
    try:
        return RankReport.model_validate_json(text)
    except ValidationError as error:
        why = _mistakes(RankReport, error)
        if len(text) >= MAX_REPORT_BYTES and error.errors()[0]["type"] == "json_invalid":
            why += f"; a report has at most {MAX_REPORT_BYTES} bytes, and what is longer is cut off"
        raise Unreadable(f"not a report: {why}", _failure(text)) from error


def _failure(text: str | bytes) -> RankReport | None:
    """What a text that is no report says of a failure, None where it tells of none."""
    try:
        told = from_json(text, allow_partial=True)
        kept = {name: told[name] for name in ("rank", "outcome", "provisional", "error", "lostPeer") if name in told}
        found = RankReport.model_validate(kept)
    except (ValueError, TypeError):
        return None
    return None if found.provisional or found.outcome is Outcome.SUCCEEDED else found


def apart(metrics: Metrics) -> tuple[Metrics, dict[str, Scalar]]:
    """Metrics alone, and as evidence what a report tells under that name: hashes, and why a metric has no value."""
    kept = dict(metrics)
    beside: dict[str, Scalar] = {
        key: hash_text(kept.pop(name)) for name, key in HASHES.items() if math.isfinite(kept.get(name, math.nan))
    }
    for metric, because in UNDEFINED_BECAUSE.items():
        if kept.pop(undefined_name(metric), None) is not None:
            beside[metric] = f"undefined: {because}"
    return kept, beside


def hash_text(number: float) -> str:
    """A hash of 48 bits as 12 hex digits."""
    return f"{int(number):012x}"


def hash_number(text: str) -> float:
    """The first 12 hex digits of a hash as the number that a report has of it: exact, having 48 bits."""
    return float(int(text[:12], 16))


def naive_name(metric: str) -> str:
    """The name of a metric's naive figure: naiveValidMse of validMse."""
    return NAIVE + metric[:1].upper() + metric[1:]


def undefined_name(metric: str) -> str:
    """The name by which a report tells that a metric has no value: undefinedValidR2 of validR2."""
    return UNDEFINED + metric[:1].upper() + metric[1:]


def latest(records: Iterable[Record]) -> dict[str, Record]:
    """The record that counts of each trial, by trial id: that of the highest attempt, the last to end of equals."""
    counted: dict[str, Record] = {}
    for record in records:
        known = counted.get(record.id)
        if known is None or (record.attempt, record.finished_at) >= (known.attempt, known.finished_at):
            counted[record.id] = record
    return counted


def cut_error(text: str, limit: int = MAX_ERROR_CHARACTERS) -> str:
    """An error's text without secrets, its middle left out when it is longer than `limit`: both ends tell most.

    Halves of characters, as in the name of a file that isn't UTF-8, are written as escapes: JSON can't hold them.
    """
    text = redacted(text.encode("utf-8", "backslashreplace").decode())  # before a cut could hide what a secret is
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}" if half > 0 else text[: max(0, limit)]


def _mistakes(model: type[BaseModel], error: ValidationError) -> str:
    """What is wrong with a document of `model`: where, the rule and what was found, of the first few mistakes."""
    problem: Any = error.errors(include_url=False)[0]
    if problem["type"] == "json_invalid":
        text = problem["input"]
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        return f"must be JSON ({problem['ctx']['error']}), got {show(text)}"
    told = [f"{one.path}: {one.says}" if one.path else one.says for one in islice(findings(model, error), 100)]
    more = len(told) - _MOST_MISTAKES
    return "; ".join(told[:_MOST_MISTAKES]) + (f"; and {more} more" if more > 0 else "")
