"""What the fields' types can't say: which values of an experiment must agree with each other.

It judges the values as they were given, so that a mistake in one place hides none in another.
"""

import json
from collections.abc import Iterator
from typing import Any, TypeGuard

from pydantic import ValidationError

from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.sentences import nearest, rule, show
from trainer.experiment.spec import MAX_TRIALS
from trainer.experiment.training import Leaf, leaves


def disagreements(kind: str, spec: dict[str, Any]) -> Iterator[str]:
    training = spec.get("training")
    task = _at(training, "data", "task")
    if kind == "ScaleTest":
        for axis in ("multipliers", "workers"):
            yield from _twice(f"spec.axes.{axis}", _at(spec, "axes", axis))
        return
    yield from _objective(_at(spec, "objective", "metric"), "Regression" if task is None else task)
    parameters = spec.get("parameters")
    if not isinstance(parameters, list):
        return
    algorithm = spec.get("algorithm", "Grid")
    named: dict[str, int] = {}
    points = 1
    for i, parameter in enumerate(parameters):
        if not isinstance(parameter, dict) or not isinstance(name := parameter.get("name"), str):
            continue
        here = f"spec.parameters[{i}]"
        if name in named:
            yield f"{here}.name: must name a field once, but parameters[{named[name]}] has it too, got {name}"
        named.setdefault(name, i)
        field = leaves().get(name)
        if field is None:
            hint = nearest(name, leaves())
            yield f"{here}.name: must be the path of a field of training{hint}, got {name}"
        choices, interval = parameter.get("choices"), parameter.get("range")
        if (choices is None) == (interval is None):
            what = "neither" if choices is None else "both"
            yield f"{here}: must have choices or a range, got {what}"
        if isinstance(choices, list):
            points *= max(1, len(choices))
            yield from _twice(f"{here}.choices", choices)
            if field is not None:
                for j, choice in enumerate(choices):
                    yield from _fits(name, choice, f"{here}.choices[{j}]")
        if isinstance(interval, dict):
            yield from _interval(name, field, interval, f"{here}.range", algorithm)
    trials = spec.get("trials")
    if algorithm == "Random" and trials is None:
        yield "spec.trials: is required with algorithm Random"
    if algorithm == "Grid" and trials is not None:
        yield f"spec.trials: belongs to algorithm Random; Grid tries every combination, got {show(trials)}"
    repeats = spec.get("repeats", 1)
    total = points if algorithm == "Grid" else trials
    if type(repeats) is int and type(total) is int and total * repeats > MAX_TRIALS:
        yield f"spec.parameters: must make at most {MAX_TRIALS} trials, got {total * repeats}"
    only_choices = all(isinstance(p, dict) and isinstance(p.get("choices"), list) for p in parameters)
    if algorithm == "Random" and only_choices and type(trials) is int and trials > points:
        yield f"spec.trials: must be at most the {points} points that the choices make, got {trials}"


def _objective(metric: Any, task: Any) -> Iterator[str]:
    if not isinstance(metric, str):
        return
    fitting = [name for name, known in OBJECTIVES.items() if known.task in (None, task)]
    if metric not in OBJECTIVES:
        hint = nearest(metric, OBJECTIVES)
        yield f"spec.objective.metric: must be one of {', '.join(fitting)}{hint}, got {metric}"
    elif metric not in fitting:
        yield f"spec.objective.metric: must be measured by {task} ({', '.join(fitting)}), got {metric}"


def _interval(name: str, field: Leaf | None, interval: dict[str, Any], here: str, algorithm: str) -> Iterator[str]:
    if algorithm == "Grid":
        yield f"{here}: belongs to algorithm Random; Grid needs choices, got {show(interval)}"
    low, high = interval.get("min"), interval.get("max")
    if not (is_number(low) and is_number(high)):
        return
    if low >= high:
        yield f"{here}: must have min < max, got min {low} and max {high}"
    if interval.get("scale") == "Log" and low <= 0:
        yield f"{here}.min: must be > 0 with scale Log, got {low}"
    if field is None:
        return
    if field.number is None:
        yield f"{here}: belongs to a field that is a number; give choices for {name}, got {show(interval)}"
        return
    yield from _fits(name, low, f"{here}.min")
    yield from _fits(name, high, f"{here}.max")


def _fits(name: str, value: Any, here: str) -> Iterator[str]:
    """Whether `value` may stand in the field of `training` called `name`, judged by that field alone."""
    leaf = leaves()[name]
    try:
        leaf.section.model_validate_json(json.dumps({leaf.alias: value}))
    except ValidationError as error:
        for problem in error.errors():
            if problem["loc"]:  # an empty location is a disagreement with fields that are not given here
                yield f"{here}: {rule(problem)} as a value of {name}, got {show(value)}"


def _twice(here: str, values: Any) -> Iterator[str]:
    if not isinstance(values, list):
        return
    seen: dict[str, int] = {}
    for i, value in enumerate(values):
        text = json.dumps(value, sort_keys=True)
        if text in seen:
            yield f"{here}[{i}]: must stand once, but [{seen[text]}] is the same, got {show(value)}"
        seen.setdefault(text, i)


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
