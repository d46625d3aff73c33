"""What MLflow is told: its runs, as they follow from records. Pure.

An experiment is a parent run, and each of its trials a child, which is told as its latest attempt.
"""

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.experiment.best import direction
from trainer.experiment.outcome import LEFT_OUT, Outcome
from trainer.experiment.record import STEP, Record, cut_error
from trainer.experiment.spec import Experiment, HyperparamSearch, Scalar, ScaleTest
from trainer.tracking.client import MOST_NAME_CHARACTERS, MOST_PARAM_CHARACTERS, MOST_TAG_CHARACTERS

# Tags by which runs are found again.
RUN, TRIAL, ATTEMPT, STARTED, TOLD = (f"trialrun.{name}" for name in ("run", "trial", "attempt", "started", "told"))
PARENT = "mlflow.parentRunId"
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
_STATUS = {Outcome.SUCCEEDED: FINISHED, **dict.fromkeys(LEFT_OUT, KILLED)}


@dataclass(frozen=True)
class TrackedRun:
    """A run of MLflow's. `trial` is empty for the experiment's; `started` and `ended` are milliseconds since 1970.

    `metrics` are final ones, at the last `step`.
    """

    trial: str
    name: str
    status: str
    started: int
    attempt: int = 0
    ended: int | None = None
    step: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A hash of all that is told of it, but for its curve."""
        whole = [self.name, self.status, self.ended, self.params, self.tags, self.metrics, self.step]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def of_record(record: Record, experiment: Experiment) -> TrackedRun:
    """A trial that has ended, or was left out."""
    tags = {"outcome": str(record.outcome)} | ({"error": cut_error(record.error)} if record.error else {})
    step = record.evidence.get(STEP, record.epochs)
    figures = dict(record.metrics)
    times = {"trainSeconds": record.seconds.train, "totalSeconds": record.seconds.total}
    figures |= {name: seconds for name, seconds in times.items() if seconds}  # a program's training is not timed
    if (peak := record.counted_peak) is not None:
        figures["peakMemoryBytes"] = float(peak)
    return TrackedRun(
        trial=record.id,
        name=_name(record.index, record.repeat),
        status=_STATUS.get(record.outcome, FAILED),
        started=record.started_at or record.finished_at,
        ended=record.finished_at,
        attempt=record.attempt,
        step=int(step) if isinstance(step, int | float) else 0,
        params=_params(record.parameters, record.workers, experiment),
        tags=_of_trial(record.index, record.repeat, record.workers, record.seed) | _tags(tags),
        metrics={metric_name(name): value for name, value in figures.items()},
    )


@dataclass(frozen=True)
class Begun:
    """A trial whose attempt has begun, at `started` (milliseconds since 1970)."""

    id: str
    index: int
    parameters: Mapping[str, Scalar]
    repeat: int
    workers: int
    seed: int
    attempt: int
    started: int


def of_begun(begun: Begun, experiment: Experiment, *, over: int | None = None) -> TrackedRun:
    """A trial that runs, or was interrupted at `over` and left no record."""
    return TrackedRun(
        trial=begun.id,
        name=_name(begun.index, begun.repeat),
        status=RUNNING if over is None else KILLED,
        started=begun.started,
        ended=over,
        attempt=begun.attempt,
        params=_params(begun.parameters, begun.workers, experiment),
        tags=_of_trial(begun.index, begun.repeat, begun.workers, begun.seed),
    )


def of_experiment(
    experiment: Experiment,
    started: int,
    *,
    state: str = "",
    ended: int | None = None,
    done: int = 0,
    best: Mapping[str, Any] | None = None,
) -> TrackedRun:
    """The run above all trials'. `state` is the summary's, empty while it runs, and `best` its best, as JSON.

    `done` is how many trials are done with.
    """
    spec = experiment.spec
    params = {"kind": experiment.kind, "repeats": str(spec.repeats)}
    metrics, tags = dict[str, float](), dict[str, str]()
    if isinstance(experiment, HyperparamSearch):
        objective = experiment.spec.objective
        params |= {"algorithm": experiment.spec.algorithm, "workers": str(experiment.spec.workers)}
        params |= {"objective": objective.metric, "direction": direction(objective)}
    if best is not None:
        metrics[metric_name(f"best_{best['metric']}")] = float(best["value"])
        tags |= {"best": _name(best["index"], 0), "bestParameters": json.dumps(best["parameters"])}
    return TrackedRun(
        trial="",
        name=experiment.name,
        status={"": RUNNING, "Succeeded": FINISHED, "Failed": FAILED}.get(state, KILLED),
        started=started,
        ended=ended,
        step=done,
        params=_cut(params),
        tags=_tags(tags),
        metrics=metrics,
    )


def metric_name(name: str) -> str:
    """The name that MLflow takes for a metric of ours, which is nearly always its own.

    MLflow refuses names that are not the shortest spelling of a path, such as val//loss: their slashes become colons.
    Other characters than ours, which only a ledger that was edited can have, become underscores.
    """
    name = re.sub(r"[^A-Za-z0-9._/ -]", "_", name)[:MOST_NAME_CHARACTERS]
    shortest = posixpath.normpath(name)
    return name if shortest == name and not name.startswith(("/", "..")) and name != "." else name.replace("/", ":")


def _name(index: int, repeat: int) -> str:
    return f"trial {index}" + (f", repeat {repeat}" if repeat else "")


def _params(parameters: Mapping[str, Scalar], workers: int, experiment: Experiment) -> dict[str, str]:
    found = {"workers": str(workers)} if isinstance(experiment, ScaleTest) else {}
    return _cut(found | {name: _text(value) for name, value in parameters.items()})


def _cut(params: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:MOST_PARAM_CHARACTERS] for name, value in params.items()}


def _text(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _of_trial(index: int, repeat: int, workers: int, seed: int) -> dict[str, str]:
    told = {"index": index, "repeat": repeat, "workers": workers, "seed": seed}
    return _tags({name: str(value) for name, value in told.items()})


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {f"trialrun.{name}": value[:MOST_TAG_CHARACTERS] for name, value in tags.items()}
