"""Which values of a search must agree: its parameters, the points tried first, what bounds it and what stops trials.

It judges the values as they were given, so that a mistake in one place hides none in another.
"""

import json
import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trainer.experiment.error_messages import Finding, nearest, rule, show, step
from trainer.experiment.given import LONGEST, at, bare, given, is_number, listed, too_many_trials, twice
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.spec import Name, SearchSpec
from trainer.experiment.training import Leaf, Train, leaves

_DRAWN = ("Random", "Sobol", "TPE")
_MOST_POINTS = 100
_MOST_FINDINGS = 101  # about points; `load` tells of 100 mistakes, and that there are more
_NAME = TypeAdapter[str](Name)


def search_disagreements(spec: dict[str, Any], *, free: bool) -> Iterator[Finding]:
    """The findings about a search's `spec`; it is `free` of our trainer's fields where it runs a program."""
    if isinstance(spec.get("parameters"), list):
        parameters = listed(spec["parameters"])
        yield from _parameters(parameters, spec.get("algorithm", "Grid"), free=free)
        yield from _size(spec, parameters)
        yield from islice(_points(spec, parameters, free=free), _MOST_FINDINGS)
    yield from _warm_start(spec)
    yield from _budget(spec)
    if isinstance(spec.get("earlyStopping"), dict):
        yield from _early_stopping(spec, free=free)


def _parameters(parameters: list[Any], algorithm: Any, *, free: bool) -> Iterator[Finding]:
    named: dict[str, int] = {}
    for i, parameter in enumerate(parameters):
        if not isinstance(parameter, dict) or not isinstance(name := parameter.get("name"), str):
            continue
        here = f"spec.parameters[{i}]"
        if name in named:
            yield Finding(
                f"{here}.name", f"must name a field once, but parameters[{named[name]}] has it too, got {bare(name)}"
            )
        yield from _conditions(parameter.get("when"), f"{here}.when", parameters[:i])
        named.setdefault(name, i)
        field = None if free else leaves().get(name)
        if field is None and not free:
            hint = nearest(name, leaves())
            yield Finding(f"{here}.name", f"must be the path of a field of training{hint}, got {bare(name)}")
        choices, interval = parameter.get("choices"), parameter.get("range")
        if (choices is None) == (interval is None):
            yield Finding(here, f"must have choices or a range, got {'neither' if choices is None else 'both'}")
        yield from twice(f"{here}.choices", choices)
        if field is not None:
            for j, choice in enumerate(listed(choices)):
                if choice is not None:
                    yield from _fits(name, choice, f"{here}.choices[{j}]")
        if isinstance(interval, dict):
            yield from _interval(name, field, interval, f"{here}.range", algorithm)


def _conditions(when: Any, here: str, before: list[Any]) -> Iterator[Finding]:
    """Whether the parameters that one counts with are listed before it, and take the values that it counts for."""
    known = _by_name(before)
    for name, wanted in when.items() if isinstance(when, dict) else ():
        if name not in known:
            yield Finding(
                here, f"must name a parameter that is listed before{nearest(name, known)}, got {bare(name)}"
            )
        elif isinstance(choices := known[name].get("choices"), list):
            for value in wanted if isinstance(wanted, list) else [wanted]:
                if not _is_among(value, choices):
                    yield Finding(f"{here}.{name}", f"must be among the choices of {name}, got {show(value)}")


def _interval(
    name: str, field: Leaf | None, interval: dict[str, Any], here: str, algorithm: Any
) -> Iterator[Finding]:
    low, high, distance = interval.get("min"), interval.get("max"), interval.get("step")
    if algorithm == "Grid" and distance is None:
        yield Finding(here, f"must have a step with algorithm Grid, or choices in its place, got {show(interval)}")
    if not (is_number(low) and is_number(high)):
        return
    if low >= high:
        yield Finding(here, f"must have min < max, got min {low} and max {high}")
    elif is_number(distance) and distance > 0:
        yield from _steps(name, field, low, high, distance, interval.get("scale"), f"{here}.step")
    if interval.get("scale") == "Log" and low <= 0:
        yield Finding(f"{here}.min", f"must be > 0 with scale Log, got {low}")
    if field is None:
        return
    if field.number is None:
        yield Finding(here, f"belongs to a field that is a number; give choices for {name}, got {show(interval)}")
        return
    yield from _fits(name, low, f"{here}.min")
    yield from _fits(name, high, f"{here}.max")


def _steps(
    name: str, field: Leaf | None, low: float, high: float, distance: float, scale: Any, here: str
) -> Iterator[Finding]:
    if scale == "Log":
        yield Finding(here, f"belongs to scale Linear, got {distance} with Log")
    elif not _is_whole((high - low) / distance):
        yield Finding(here, f"must divide max - min, got {distance} for {low} to {high}")
    elif field is not None and field.number is int and type(distance) is not int:
        yield Finding(here, f"must be a whole number for {name}, got {distance}")


def _size(spec: dict[str, Any], parameters: list[Any]) -> Iterator[Finding]:
    """How many trials there are."""
    trials, repeats, algorithm = spec.get("trials"), spec.get("repeats", 1), spec.get("algorithm", "Grid")
    if algorithm == "Grid":
        if trials is not None:
            problem = f"belongs to algorithms Random, Sobol and TPE; Grid tries every combination, got {show(trials)}"
            yield Finding("spec.trials", problem)
        if not any(at(parameter, "when") for parameter in parameters):  # then `expand` counts them
            points = math.prod(_count(parameter) for parameter in parameters)
            yield from too_many_trials("spec.parameters", points, repeats)
    elif algorithm in _DRAWN:
        if trials is None:
            yield Finding("spec.trials", f"is required with algorithm {algorithm}")
        yield from too_many_trials("spec.trials", trials, repeats)


def _count(parameter: Any) -> int | float:
    """How many values a parameter has, so far as they can be counted."""
    if isinstance(choices := at(parameter, "choices"), list):
        return max(1, len(choices))
    low, high, distance = (at(parameter, "range", name) for name in ("min", "max", "step"))
    if is_number(low) and is_number(high) and is_number(distance) and 0 < distance <= high - low:
        steps = (high - low) / distance
        return round(steps) + 1 if math.isfinite(steps) else math.inf
    return math.inf


def _points(spec: dict[str, Any], parameters: list[Any], *, free: bool) -> Iterator[Finding]:
    """Whether the points to try first are points of the search."""
    points, trials, known = listed(spec.get("points"), _MOST_POINTS), spec.get("trials"), _by_name(parameters)
    if type(trials) is int and 0 < trials < len(points):
        yield Finding(
            "spec.points", f"must have at most as many entries as there are trials, {trials}, got {len(points)}"
        )
    first: dict[str, int] = {}
    for i, point in enumerate(points):
        if not isinstance(values := at(point, "parameters"), dict):
            continue
        for name in list(values)[:LONGEST]:
            if name not in known:
                path = step(f"spec.points[{i}].parameters", name)
                yield Finding(path, f"must name a parameter of the search{nearest(name, known)}, got {bare(name)}")
        yield from _point(known, values, f"spec.points[{i}].parameters", free=free)
        same = json.dumps({name: _place(known.get(name), value) for name, value in values.items()}, sort_keys=True)
        if same in first:
            yield Finding(
                f"spec.points[{i}]", f"must stand once, but [{first[same]}] is the same, got {show(values)}"
            )
        first.setdefault(same, i)


def _point(known: dict[str, Any], values: dict[str, Any], here: str, *, free: bool) -> Iterator[Finding]:
    """Whether a point has a value that will do for each parameter that counts, and none for others."""
    sure: dict[str, Any] = {}  # what has been judged and found right; None where it does not count
    missing: list[str] = []
    for name, parameter in known.items():
        when = parameter.get("when")
        when = when if isinstance(when, dict) else {}
        is_told = all(other in sure for other in when)
        counts = all(sure.get(other) in (wanted if isinstance(wanted, list) else [wanted])
                     for other, wanted in when.items())  # fmt: skip
        if name in values and is_told and not counts:
            problem = f"must be left out, as {bare(name)} only counts with {show(when)}, got {show(values[name])}"
            yield Finding(step(here, name), problem)
        elif name in values:
            wrong = _value(name, parameter, values[name], step(here, name), free=free)
            if wrong is not None:
                yield wrong
            elif is_told:
                sure[name] = values[name]
        elif is_told and counts:
            missing.append(name)
        elif is_told:
            sure[name] = None
    if missing:
        yield Finding(here, f"must have a value for {', '.join(map(bare, missing))}, got {show(values)}")


def _value(name: str, parameter: dict[str, Any], value: Any, here: str, *, free: bool) -> Finding | None:
    """What is wrong with a point's value of a parameter."""
    choices, interval = parameter.get("choices"), parameter.get("range")
    if isinstance(choices, list) and not _is_among(value, choices):
        return Finding(here, f"must be among the choices of {bare(name)}, got {show(value)}")
    low, high, distance = (at(interval, end) for end in ("min", "max", "step"))
    if not (is_number(low) and is_number(high)):
        return None
    if not is_number(value) or not low <= value <= high:
        return Finding(here, f"must be a number from {low} to {high}, got {show(value)}")
    if is_number(distance) and distance > 0 and not _is_whole((value - low) / distance):
        return Finding(here, f"must be {low} plus a multiple of the step, {distance}, got {value}")
    return None if free or name not in leaves() else next(_fits(name, value, here), None)


def _place(parameter: Any, value: Any) -> Any:
    """Which value of a parameter it is: of those on steps the number, since their last digits may differ."""
    low, distance = at(parameter, "range", "min"), at(parameter, "range", "step")
    if is_number(low) and is_number(distance) and distance > 0 and is_number(value):
        steps = (value - low) / distance
        return round(steps) if math.isfinite(steps) else value
    return value


def _warm_start(spec: dict[str, Any]) -> Iterator[Finding]:
    earlier, here = spec.get("warmStart"), "spec.warmStart"
    if earlier is None:
        return
    if (algorithm := spec.get("algorithm", "Grid")) in ("Grid", "Random", "Sobol"):
        yield Finding(here, f"belongs to algorithm TPE; {algorithm} learns from nothing, got {show(earlier)}")
    if not isinstance(earlier, str):
        return
    kind, slash, name = earlier.partition("/")
    if slash and kind == "sct":
        problem = f"must be an earlier search: the folder of its run, or hps/NAME, got {show(earlier)}, a scale test"
        yield Finding(here, problem)
    elif slash and kind == "hps":
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            broken = rule(error.errors(include_url=False)[0])
            yield Finding(here, f"must be hps/NAME, and NAME {broken}, got {show(earlier)}")


def _budget(spec: dict[str, Any]) -> Iterator[Finding]:
    """Whether each part of the budget can ever end the search, as far as other fields tell."""
    plateau, trials, cost = at(spec, "budget", "plateau"), spec.get("trials"), at(spec, "budget", "maxCost")
    if type(plateau) is int and type(trials) is int and plateau >= trials:
        yield Finding("spec.budget.plateau", f"must be < trials, {trials}, got {plateau}")
    if not is_number(cost):
        return
    prices = spec.get("prices")
    if not isinstance(prices, dict):
        yield Finding("spec.budget.maxCost", f"must come with spec.prices, got {cost} without")
        return
    resources = [at(spec, "pod", "resources", part) for part in ("requests", "limits")]
    names = {name for part in resources if isinstance(part, dict) for name in part}
    if not any(prices.get(_price_of(name)) for name in names):
        problem = (
            "must come with spec.pod.resources that spec.prices give a price above 0, got "
            f"{show(sorted(names))} at {show(prices)}"
        )
        yield Finding("spec.budget.maxCost", problem)


def _price_of(resource: str) -> str | None:
    """The field of `prices` that a resource is paid by; None of what costs nothing."""
    return "gpuHour" if resource.endswith("/gpu") else {"cpu": "cpuHour", "memory": "gibHour"}.get(resource)


def _early_stopping(spec: dict[str, Any], *, free: bool) -> Iterator[Finding]:
    """Whether there is a step to compare trials at before their last, and something to compare them by."""
    here, stopping = "spec.earlyStopping", spec["earlyStopping"]
    reduction, first, metric = stopping.get("reduction"), stopping.get("minStep", 1), at(spec, "objective", "metric")
    if stopping.get("rule") == "Median" and reduction is not None:
        yield Finding(f"{here}.reduction", f"belongs to rule ASHA, got {show(reduction)} with Median")
    if isinstance(metric, str) and _is_told_at_the_end(metric, free=free):
        problem = f"must go with an objective that trials report at every step, got {metric}, known when they end"
        yield Finding(here, problem)
    slots, repeats = spec.get("parallelTrials", _default(SearchSpec, "parallel_trials")), spec.get("repeats", 1)
    if type(slots) is int and type(repeats) is int and repeats > slots:
        problem = (
            f"must be at most parallelTrials, {slots}, with earlyStopping, which compares points once all their "
            f"repeats have reported, got {repeats}"
        )
        yield Finding("spec.repeats", problem)
    if free or (last := _most_epochs(spec)) is None:
        return
    if last < 2:
        yield Finding(here, f"must have trials of at least 2 epochs, which are its steps, got train.epochs {last}")
    elif type(first) is int and first >= last:
        yield Finding(f"{here}.minStep", f"must be < the most epochs of a trial, {last}, got {first}")


def _is_told_at_the_end(metric: str, *, free: bool) -> bool:
    """Whether it is no figure of a step: of any trial its time, of our trainer's what depends on no task."""
    if free:
        return metric == "totalSeconds"
    return metric in OBJECTIVES and OBJECTIVES[metric].task is None


def _most_epochs(spec: dict[str, Any]) -> int | None:
    """The most epochs that a trial may have; None where none of the values is a number of them."""
    values = [value for _, value in given(spec, "train.epochs")]
    if any(at(parameter, "name") == "train.epochs" and at(parameter, "when")
           for parameter in listed(spec.get("parameters"))):  # fmt: skip
        values.append(at(spec, "training", "train", "epochs"))  # which counts where the parameter is left out
    found = [_default(Train, "epochs") if value is None else value for value in values]
    return max((value for value in found if type(value) is int), default=None)


def _default(section: type[SearchSpec] | type[Train], field: str) -> Any:
    return section.model_fields[field].default


def _fits(name: str, value: Any, here: str) -> Iterator[Finding]:
    """Whether `value` may stand in the field of `training` called `name`, judged by that field alone."""
    leaf = leaves()[name]
    try:
        leaf.section.model_validate_json(json.dumps({leaf.alias: value}))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            if problem["loc"]:  # an empty location is a disagreement with fields that are not given here
                yield Finding(here, f"{rule(problem)} as a value of {name}, got {show(value)}")


def _by_name(parameters: list[Any]) -> dict[str, dict[str, Any]]:
    """The parameters that have a name; of two with the same the first."""
    found: dict[str, dict[str, Any]] = {}
    for each in parameters:
        if isinstance(name := at(each, "name"), str):
            found.setdefault(name, each)
    return found


def _is_among(value: Any, choices: list[Any]) -> bool:
    """Whether a value is one of these; true is not 1."""
    return any(value == each and type(value) is type(each) for each in choices)


def _is_whole(steps: float) -> bool:
    return math.isfinite(steps) and abs(steps - round(steps)) <= 1e-9 * max(1.0, steps)
