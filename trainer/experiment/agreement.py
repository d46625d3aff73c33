"""What the fields' types can't say: which values of an experiment must agree with each other.

It judges the values as they were given, so that a mistake in one place hides none in another.
"""

import copy
import json
import math
from collections.abc import Iterator
from typing import Any, TypeGuard, get_args

from pydantic import ValidationError

from trainer.experiment.error_messages import Finding, nearest, rule, show
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.program import MULTIPLIER, TOLD, find, placeholders, put
from trainer.experiment.spec import MAX_TRIALS
from trainer.experiment.training import Leaf, Task, leaves

_LONGEST = 64  # no list may be longer; of one that is, the rest is not judged
_LAST_SEED = 2**31 - 1


def disagreements(kind: str, spec: dict[str, Any]) -> Iterator[Finding]:
    """The findings about a document's `spec`, whose numbers are plain and may be null where they were none."""
    free = spec.get("program") is not None
    yield from _program(kind, spec) if free else _seeds(spec)
    if kind == "ScaleTest":
        yield from _axes(spec)
        return
    yield from _free_objective(spec) if free else _objective(spec)
    if isinstance(parameters := spec.get("parameters"), list):
        yield from _parameters(parameters[:_LONGEST], spec.get("algorithm", "Grid"), free=free)
        yield from _size(spec, parameters[:_LONGEST])


def _program(kind: str, spec: dict[str, Any]) -> Iterator[Finding]:
    """What must agree with a program, whose parameters and metrics have any names."""
    program = spec["program"]
    if "training" in spec:
        yield Finding("spec.program", "must stand in place of training, got both")
    if spec.get("baseline") == "Measure":
        yield Finding("spec.baseline", "must be None or Import with a program, got Measure: a baseline's pod runs "
                      "Trialrun's own trainer")  # fmt: skip
    if _at(spec, "cell", "memoryAboveFloor") is not None:
        yield Finding("spec.cell.memoryAboveFloor", "must be left out with a program, whose floor nobody knows; give "
                      "memoryLimit")  # fmt: skip
    if not isinstance(program, dict):
        return
    names = [MULTIPLIER] if kind == "ScaleTest" else _names(spec)
    settings = copy.deepcopy(given) if isinstance(given := program.get("settings"), dict) else {}
    for i, name in enumerate(names):
        try:
            put(settings, name, None)
        except KeyError:
            where = "spec.program.settings" if kind == "ScaleTest" else f"spec.parameters[{i}].name"
            problem = (
                f"must reach into mappings of spec.program.settings, got {_word(name)}, which meets a value there"
            )
            yield Finding(where, problem)
    always = names if kind == "ScaleTest" else _names(spec, conditional=False)
    env = program.get("env")
    for i, variable in enumerate(env[:_LONGEST] if isinstance(env, list) else ()):
        if (name := _at(variable, "name")) in TOLD:
            yield Finding(f"spec.program.env[{i}].name", f"must be none that Trialrun sets itself, got {name}")
    for where, text in _texts(program):
        for part, name in placeholders(text):
            yield from _placeholder(where, part, name, names, always, program, settings)


def _texts(program: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts of a program that may hold placeholders, and where they stand."""
    command, env = program.get("command"), program.get("env")
    for i, word in enumerate(command[:256] if isinstance(command, list) else ()):
        if isinstance(word, str):
            yield f"spec.program.command[{i}]", word
    for i, variable in enumerate(env[:_LONGEST] if isinstance(env, list) else ()):
        if isinstance(value := _at(variable, "value"), str):
            yield f"spec.program.env[{i}].value", value


def _placeholder(
    where: str, part: str, name: str, names: list[str], always: list[str], program: dict[str, Any], put_in: Any
) -> Iterator[Finding]:
    """Whether there is a value for a placeholder in every trial."""
    shown = f"${{{part}.{name}}}"
    if part == "parameters" and name not in names:
        yield Finding(
            where, f"must name a parameter in {shown}{nearest(name, names)}, and there is none of that name"
        )
        return
    try:
        find(put_in if part == "settings" or name in always else program.get("settings") or {}, name)
    except KeyError:
        why = "there is none of that name"
        if part == "parameters":
            why = "where its `when` leaves the parameter out there is none; give it in spec.program.settings"
        yield Finding(where, f"must name a setting in {shown}, and {why}")


def _names(spec: dict[str, Any], *, conditional: bool = True) -> list[str]:
    """The names of the parameters; those that `when` may leave out only if `conditional`."""
    listed = spec.get("parameters")
    found = [each for each in listed[:_LONGEST] if isinstance(each, dict)] if isinstance(listed, list) else []
    return [
        each["name"] for each in found if isinstance(each.get("name"), str) and (conditional or not each.get("when"))
    ]


def _free_objective(spec: dict[str, Any]) -> Iterator[Finding]:
    """A program reports what it likes; only its own author knows which way that is better."""
    metric, direction = _at(spec, "objective", "metric"), _at(spec, "objective", "direction")
    if metric in ("dataSeconds", "trainSeconds"):
        problem = (
            f"must be totalSeconds or what the program reports, got {metric}, which only Trialrun's trainer tells"
        )
        yield Finding("spec.objective.metric", problem)
    elif isinstance(metric, str) and metric not in OBJECTIVES and direction is None:
        yield Finding("spec.objective.direction", f"must be Minimize or Maximize for {metric}, got none")


def _axes(spec: dict[str, Any]) -> Iterator[Finding]:
    cells = 1
    for axis in ("multipliers", "workers"):
        values = _at(spec, "axes", axis)
        yield from _twice(f"spec.axes.{axis}", values)
        default = 5 if axis == "multipliers" else 1
        cells *= len(values) if isinstance(values, list) else default
    yield from _most("spec.axes", cells, spec.get("repeats", 1))


def _objective(spec: dict[str, Any]) -> Iterator[Finding]:
    metric = _at(spec, "objective", "metric")
    if not isinstance(metric, str):
        return
    tasks = [(path, "Regression" if task is None else task) for path, task in _given(spec, "data.task")]
    sources = [source for _, source in _given(spec, "data.source")]
    if metric not in OBJECTIVES:
        hint = nearest(metric, OBJECTIVES)
        yield Finding(
            "spec.objective.metric", f"must be one of {_fitting(tasks[0][1], sources)}{hint}, got {show(metric)}"
        )
        return
    measured = OBJECTIVES[metric]
    for path, task in tasks:
        if measured.task in (None, task) or task not in get_args(Task):
            continue
        if path == "spec.training.data.task":
            fitting = _fitting(task, sources)
            yield Finding("spec.objective.metric", f"must be measured by {task} ({fitting}), got {metric}")
        else:
            yield Finding(path, f"must be the task that measures {metric}, {measured.task}, got {task}")
    if measured.source is not None and any(source != measured.source for source in sources):
        yield Finding("spec.objective.metric", f"must be one that each source measures, got {metric}, which only "
                      f"{measured.source} does")  # fmt: skip
    if measured.task is not None:
        yield from _validation(metric, spec, sources)


def _fitting(task: Any, sources: list[Any]) -> str:
    """The metrics that trials of a task have with every one of these sources."""
    return ", ".join(
        name
        for name, known in OBJECTIVES.items()
        if known.task in (None, task) and all(known.source in (None, source) for source in sources)
    )


def _validation(metric: str, spec: dict[str, Any], sources: list[Any]) -> Iterator[Finding]:
    """Whether there is a validation part to measure `metric` on."""
    # A split of offsets has its own rates.
    if isinstance(split := _at(spec, "training", "data", "split"), list) and split and sources == ["kafka"]:
        if len(split) < 2 or _at(split[1], "rate") == 0:
            yield Finding("spec.training.data.split", f"must have a second part with a rate > 0 to measure {metric}")
    # An npz file may hold validation arrays of its own.
    elif "npz" not in sources:
        for path, fraction in _given(spec, "data.validFraction"):
            if fraction == 0 and is_number(fraction):
                yield Finding(path, f"must be > 0 to measure {metric}, got 0")


def _parameters(parameters: list[Any], algorithm: Any, *, free: bool) -> Iterator[Finding]:
    named: dict[str, int] = {}
    for i, parameter in enumerate(parameters):
        if not isinstance(parameter, dict) or not isinstance(name := parameter.get("name"), str):
            continue
        here = f"spec.parameters[{i}]"
        if name in named:
            yield Finding(
                f"{here}.name", f"must name a field once, but parameters[{named[name]}] has it too, got {_word(name)}"
            )
        yield from _conditions(parameter.get("when"), f"{here}.when", parameters[:i])
        named.setdefault(name, i)
        field = None if free else leaves().get(name)
        if field is None and not free:
            hint = nearest(name, leaves())
            yield Finding(f"{here}.name", f"must be the path of a field of training{hint}, got {_word(name)}")
        choices, interval = parameter.get("choices"), parameter.get("range")
        if (choices is None) == (interval is None):
            yield Finding(here, f"must have choices or a range, got {'neither' if choices is None else 'both'}")
        if isinstance(choices, list):
            yield from _twice(f"{here}.choices", choices)
            if field is not None:
                for j, choice in enumerate(choices[:_LONGEST]):
                    if choice is not None:
                        yield from _fits(name, choice, f"{here}.choices[{j}]")
        if isinstance(interval, dict):
            yield from _interval(name, field, interval, f"{here}.range", algorithm)


def _conditions(when: Any, here: str, before: list[Any]) -> Iterator[Finding]:
    """Whether the parameters that one counts with are listed before it, and take the values that it counts for."""
    known = {each["name"]: each for each in before if isinstance(each, dict) and isinstance(each.get("name"), str)}
    for name, wanted in when.items() if isinstance(when, dict) else ():
        if name not in known:
            yield Finding(
                here, f"must name a parameter that is listed before{nearest(name, known)}, got {_word(name)}"
            )
        elif isinstance(choices := known[name].get("choices"), list):
            for value in wanted if isinstance(wanted, list) else [wanted]:
                if not any(value == each and type(value) is type(each) for each in choices):
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
    steps = (high - low) / distance
    if scale == "Log":
        yield Finding(here, f"belongs to scale Linear, got {distance} with Log")
    elif abs(steps - round(steps)) > 1e-9 * max(1.0, steps):
        yield Finding(here, f"must divide max - min, got {distance} for {low} to {high}")
    elif field is not None and field.number is int and type(distance) is not int:
        yield Finding(here, f"must be a whole number for {name}, got {distance}")


def _size(spec: dict[str, Any], parameters: list[Any]) -> Iterator[Finding]:
    """How many trials there are, and whether there are as many points to draw."""
    trials, repeats = spec.get("trials"), spec.get("repeats", 1)
    points = math.prod(_points(parameter) for parameter in parameters)
    if spec.get("algorithm", "Grid") == "Grid":
        if trials is not None:
            yield Finding(
                "spec.trials", f"belongs to algorithm Random; Grid tries every combination, got {show(trials)}"
            )
        if not any(_at(parameter, "when") for parameter in parameters):  # then `expand` counts them
            yield from _most("spec.parameters", points, repeats)
    elif spec["algorithm"] == "Random":
        if trials is None:
            yield Finding("spec.trials", "is required with algorithm Random")
        elif type(trials) is int and trials > points:
            yield Finding(
                "spec.trials", f"must be at most the {points} points that the parameters make, got {trials}"
            )
        else:
            yield from _most("spec.trials", trials, repeats)


def _points(parameter: Any) -> int | float:
    """How many values a parameter has, so far as they can be counted."""
    choices, field = _at(parameter, "choices"), leaves().get(str(_at(parameter, "name")))
    if isinstance(choices, list):
        return max(1, len(choices))
    low, high, distance = (_at(parameter, "range", name) for name in ("min", "max", "step"))
    if is_number(low) and is_number(high) and is_number(distance) and 0 < distance <= high - low:
        return round((high - low) / distance) + 1
    if field is not None and field.number is int and type(low) is int and type(high) is int:
        return max(1, high - low + 1)
    return math.inf


def _most(here: str, points: Any, repeats: Any) -> Iterator[Finding]:
    if type(points) is int and type(repeats) is int and points * repeats > MAX_TRIALS:
        times = f" ({points} points x {repeats} repeats)" if repeats > 1 else ""
        yield Finding(here, f"must make at most {MAX_TRIALS} trials, got {points * repeats}{times}")


def _seeds(spec: dict[str, Any]) -> Iterator[Finding]:
    repeats = spec.get("repeats", 1)
    seeds = [seed for _, seed in _given(spec, "train.seed") if type(seed) is int and seed <= _LAST_SEED]
    if type(repeats) is int and seeds and max(seeds) + repeats - 1 > _LAST_SEED:
        yield Finding(
            "spec.repeats", f"must keep train.seed + repeats at most {_LAST_SEED + 1}, got {max(seeds)} + {repeats}"
        )


def _given(spec: dict[str, Any], name: str) -> list[tuple[str, Any]]:
    """The values that a field of `training` takes, and where each stands; null where the default counts."""
    parameters = spec.get("parameters")
    for i, parameter in enumerate(parameters[:_LONGEST] if isinstance(parameters, list) else ()):
        if _at(parameter, "name") == name:
            choices, here = _at(parameter, "choices"), f"spec.parameters[{i}]"
            if isinstance(choices, list) and choices:
                return [(f"{here}.choices[{j}]", choice) for j, choice in enumerate(choices[:_LONGEST])]
            return [(f"{here}.range.{end}", _at(parameter, "range", end)) for end in ("min", "max")]
    return [(f"spec.training.{name}", _at(spec, "training", *name.split(".")))]


def _fits(name: str, value: Any, here: str) -> Iterator[Finding]:
    """Whether `value` may stand in the field of `training` called `name`, judged by that field alone."""
    leaf = leaves()[name]
    try:
        leaf.section.model_validate_json(json.dumps({leaf.alias: value}))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            if problem["loc"]:  # an empty location is a disagreement with fields that are not given here
                yield Finding(here, f"{rule(problem)} as a value of {name}, got {show(value)}")


def _twice(here: str, values: Any) -> Iterator[Finding]:
    if not isinstance(values, list):
        return
    seen: dict[str, int] = {}
    for i, value in enumerate(values[:_LONGEST]):
        text = json.dumps(value, sort_keys=True)
        if text in seen:
            yield Finding(f"{here}[{i}]", f"must stand once, but [{seen[text]}] is the same, got {show(value)}")
        seen.setdefault(text, i)


def _word(name: str) -> str:
    """A name without quotes, unless it needs them."""
    return name if name.isascii() and name.isprintable() and 0 < len(name) <= 80 else show(name)


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether `value` is an int or a float; a bool is neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)
