"""Which trials an experiment has, in order, each with an identity. Both programs call it, so both name them alike.

A trial's id is the first 10 hex digits of SHA-256 over canonical JSON of its kind, training, workers and repeat.
Fields that have their default are left out, so that a later version's new field changes no id
(docs/decisions/0002-identity.md).
"""

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.spec import (
    Experiment,
    Parameter,
    Range,
    Scalar,
    ScaleTest,
    SearchSpec,
)
from trainer.experiment.training import Training, leaves

Point = dict[str, Scalar]


@dataclass(frozen=True)
class Trial:
    """One thing to train.

    `index` counts from 0 in the experiment's listed order, `point` counts its points: repeats share one.
    `parameters` holds what varies, by path; `training` is whole, its seed the repeat's own.
    """

    index: int
    point: int
    id: str
    parameters: Point
    repeat: int
    training: Training
    workers: int

    @property
    def name(self) -> str:
        """`<index>-<id>`: its folder, and its key in the ledger."""
        return f"{self.index:04d}-{self.id}"


def expand(experiment: Experiment) -> list[Trial]:
    """All trials in the listed order.

    Raises:
        InvalidExperiment: a combination of parameters makes no valid training; every such trial is named.
    """
    spec = experiment.spec
    points = _cells(experiment) if isinstance(experiment, ScaleTest) else _points(experiment.spec)
    trials: list[Trial] = []
    mistakes: list[str] = []
    whole = spec.training.document()
    for number, (parameters, workers) in enumerate(points):
        for repeat in range(spec.repeats):
            try:
                training = _training(whole, parameters, repeat)
            except ValidationError as error:
                given = ", ".join(f"{name} {json.dumps(value)}" for name, value in parameters.items())
                reasons = "; ".join(str(p.get("ctx", {}).get("error", p["msg"])) for p in error.errors())
                mistakes.append(f"spec.parameters: must fit each other, got {given}: {reasons}")
                break
            identity = _identity(experiment.kind, training, workers, repeat)
            trials.append(Trial(len(trials), number, identity, parameters, repeat, training, workers))
    if mistakes:
        raise InvalidExperiment(mistakes)
    return trials


def running_order(experiment: Experiment, trials: list[Trial]) -> list[Trial]:
    """The trials in the order in which they start."""
    if experiment.spec.order == "Listed":
        return trials
    order = list(trials)
    rng = random.Random(experiment.spec.seed)  # noqa: S311 - reproducible, not secret
    for i in range(len(order) - 1, 0, -1):  # Fisher-Yates by hand: random.shuffle may change between versions
        j = int(rng.random() * (i + 1))
        order[i], order[j] = order[j], order[i]
    return order


def canonical(value: Any) -> str:
    """JSON with one spelling: keys sorted, no spaces, whole floats as integers, -0.0 as 0.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _identity(kind: str, training: Training, workers: int, repeat: int) -> str:
    document = {
        "kind": kind,
        "training": training.document(sparse=True),
        "workers": workers,
        "repeat": repeat,
    }
    return hashlib.sha256(canonical(document).encode()).hexdigest()[:10]


def _training(whole: dict[str, Any], parameters: Point, repeat: int) -> Training:
    document = {name: dict(section) for name, section in whole.items()}
    for path, value in parameters.items():
        section, field = path.split(".")
        document[section][field] = value
    document["train"]["seed"] += repeat
    return Training.model_validate_json(json.dumps(document))


def _points(spec: SearchSpec) -> Iterator[tuple[Point, int]]:
    if spec.algorithm == "Grid":
        names = [parameter.name for parameter in spec.parameters]
        for values in itertools.product(*(parameter.choices or () for parameter in spec.parameters)):
            yield dict(zip(names, values, strict=True)), spec.workers
    else:
        for point in _draw(spec):
            yield point, spec.workers


def _cells(test: ScaleTest) -> Iterator[tuple[Point, int]]:
    for workers in test.spec.axes.workers:
        for multiplier in test.spec.axes.multipliers:
            yield {"data.multiplier": multiplier}, workers


def _draw(spec: SearchSpec) -> Iterator[Point]:
    """Distinct random points, the same on every machine."""
    rng = random.Random(spec.seed)  # noqa: S311 - reproducible, not secret
    seen: set[str] = set()
    misses = 0
    while len(seen) < (spec.trials or 0):
        point = {parameter.name: _value(parameter, rng.random()) for parameter in spec.parameters}
        key = canonical(point)
        misses = misses + 1 if key in seen else 0
        if misses > 100_000:
            raise InvalidExperiment(
                [f"spec.trials: must be at most the points the parameters make, got {spec.trials}"]
            )
        if key not in seen:
            seen.add(key)
            yield point


def _value(parameter: Parameter, share: float) -> Scalar:
    """The value that lies `share` of the way (0 to below 1) through a parameter."""
    if parameter.choices is not None:
        return parameter.choices[int(share * len(parameter.choices))]
    interval = parameter.range
    assert interval is not None, "load lets no parameter through that has neither choices nor a range"  # noqa: S101
    if leaves()[parameter.name].number is int:
        low, high = math.ceil(interval.min), math.floor(interval.max)
        # Each whole number owns the half-open unit around it, so both ends are as likely as the others.
        return min(high, max(low, math.floor(_between(interval, low, high + 1, share))))
    # Six digits: libraries differ in the last bit of exp and log, and an id must not.
    return float(f"{min(interval.max, max(interval.min, _between(interval, interval.min, interval.max, share))):.6g}")


def _between(interval: Range, low: float, high: float, share: float) -> float:
    if interval.scale == "Log":
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)
