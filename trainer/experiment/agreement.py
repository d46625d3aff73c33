"""What the fields' types can't say: which values of an experiment must agree with each other.

It judges the values as they were given, so that a mistake in one place hides none in another.
"""

import copy
import math
from collections.abc import Iterator
from typing import Any, get_args

from trainer.experiment.bounds import MEASURED
from trainer.experiment.error_messages import Finding, nearest, show
from trainer.experiment.given import at, bare, given, is_number, listed, too_many_trials, twice
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.program import MULTIPLIER, TOLD, find, placeholders, put
from trainer.experiment.search_agreement import search_disagreements
from trainer.experiment.training import Task

_LAST_SEED = 2**31 - 1
# The least and the most that a metric of ours can be; of others that Trialrun tells no value is below 0.
_BOUNDS = {"validR2": (-math.inf, 1), "validAccuracy": (0, 1), "validF1": (0, 1)}


def disagreements(kind: str, spec: dict[str, Any]) -> Iterator[Finding]:
    """The findings about a document's `spec`, whose numbers are plain and may be null where they were none."""
    free = spec.get("program") is not None
    yield from _program(kind, spec) if free else _seeds(spec)
    if kind == "ScaleTest":
        yield from _axes(spec)
        return
    yield from _free_objective(spec) if free else _objective(spec)
    yield from _constraints(spec, free=free)
    yield from _target(spec, free=free)
    yield from search_disagreements(spec, free=free)


def _program(kind: str, spec: dict[str, Any]) -> Iterator[Finding]:
    """What must agree with a program, whose parameters and metrics have any names."""
    program = spec["program"]
    if "training" in spec:
        yield Finding("spec.program", "must stand in place of training, got both")
    if not isinstance(program, dict):
        return
    names = [MULTIPLIER] if kind == "ScaleTest" else _names(spec)
    settings = copy.deepcopy(known) if isinstance(known := program.get("settings"), dict) else {}
    for i, name in enumerate(names):
        try:
            put(settings, name, None)
        except KeyError:
            where = "spec.program.settings" if kind == "ScaleTest" else f"spec.parameters[{i}].name"
            problem = (
                f"must reach into mappings of spec.program.settings, got {bare(name)}, which meets a value there"
            )
            yield Finding(where, problem)
    always = names if kind == "ScaleTest" else _names(spec, conditional=False)
    for i, variable in enumerate(listed(program.get("env"))):
        if (name := at(variable, "name")) in TOLD:
            yield Finding(f"spec.program.env[{i}].name", f"must be none that Trialrun sets itself, got {name}")
    for where, text in _texts(program):
        for part, name in placeholders(text):
            yield from _placeholder(where, part, name, names, always, program, settings)


def _texts(program: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts of a program that may hold placeholders, and where they stand."""
    for i, word in enumerate(listed(program.get("command"), 256)):
        if isinstance(word, str):
            yield f"spec.program.command[{i}]", word
    for i, variable in enumerate(listed(program.get("env"))):
        if isinstance(value := at(variable, "value"), str):
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
    found = [each for each in listed(spec.get("parameters")) if isinstance(each, dict)]
    return [
        each["name"] for each in found if isinstance(each.get("name"), str) and (conditional or not each.get("when"))
    ]


def _free_objective(spec: dict[str, Any]) -> Iterator[Finding]:
    """A program reports what it likes; only its own author knows which way that is better."""
    metric, direction = at(spec, "objective", "metric"), at(spec, "objective", "direction")
    if metric in ("dataSeconds", "trainSeconds"):
        problem = (
            f"must be totalSeconds or what the program reports, got {metric}, which only Trialrun's trainer tells"
        )
        yield Finding("spec.objective.metric", problem)
    elif isinstance(metric, str) and metric not in OBJECTIVES and direction is None:
        yield Finding("spec.objective.direction", f"must be Minimize or Maximize for {metric}, got none")


def _constraints(spec: dict[str, Any], *, free: bool) -> Iterator[Finding]:
    """Whether each constraint is on a figure that trials have, bounds it once, and can be kept with the others."""
    bounds: dict[tuple[str, str], tuple[int, float]] = {}
    for i, constraint in enumerate(listed(spec.get("constraints"))):
        if not isinstance(metric := at(constraint, "metric"), str):
            continue
        here = f"spec.constraints[{i}]"
        yield from _constrained(metric, f"{here}.metric", spec, free=free)
        least, most = _bounds(metric, free=free)
        for side, other in (("atMost", "atLeast"), ("atLeast", "atMost")):
            if not is_number(value := at(constraint, side)):
                continue
            if (value < least) if side == "atMost" else (value > most):
                problem = f"must be kept by some value of {metric}, {_extent(least, most)}, got {value}"
                yield Finding(f"{here}.{side}", problem)
            before, _ = bounds.setdefault((metric, side), (i, value))
            against, beyond = bounds.get((metric, other), (i, value))
            if before != i:
                problem = f"must stand once for a metric, but constraints[{before}] has it for {metric}, got {value}"
                yield Finding(f"{here}.{side}", problem)
            elif against != i and ((value < beyond) if side == "atMost" else (value > beyond)):
                problem = f"must leave a value of {metric} to {other} {beyond} of constraints[{against}], got {value}"
                yield Finding(f"{here}.{side}", problem)


def _constrained(metric: str, here: str, spec: dict[str, Any], *, free: bool) -> Iterator[Finding]:
    """Whether trials have a figure of this name."""
    if free:
        if metric in ("dataSeconds", "trainSeconds"):
            problem = (
                f"must be {', '.join(MEASURED)} or what the program reports, got {metric}, which only Trialrun's "
                "trainer tells"
            )
            yield Finding(here, problem)
        return
    tasks = ["Regression" if task is None else task for _, task in given(spec, "data.task")]
    sources = [source for _, source in given(spec, "data.source")]
    if metric in MEASURED or any(task not in get_args(Task) for task in tasks):
        return
    had = [name for name in OBJECTIVES if all(name in _fitting(task, sources) for task in tasks)]
    if metric not in had:
        known = [*had, *(name for name in MEASURED if name not in had)]
        hint = "" if metric in OBJECTIVES else nearest(metric, known)
        yield Finding(here, f"must be one of {', '.join(known)}{hint}, got {show(metric)}")
    elif OBJECTIVES[metric].task is not None:
        yield from _validation(metric, spec, sources)


def _target(spec: dict[str, Any], *, free: bool) -> Iterator[Finding]:
    """Whether some trials could have the target of the budget and others could miss it."""
    metric, target = at(spec, "objective", "metric"), at(spec, "budget", "target")
    if not isinstance(metric, str) or metric not in OBJECTIVES or not is_number(target):
        return
    least, most = _bounds(metric, free=free)
    direction = at(spec, "objective", "direction") or OBJECTIVES[metric].better
    missed, had = {"Maximize": (target > most, target <= least), "Minimize": (target < least, target >= most)}.get(
        direction if isinstance(direction, str) else "", (False, False)
    )
    if missed or had:
        problem = (
            f"must be a value that a trial can reach and can miss, got {target}, which {'no' if missed else 'every'} "
            f"{metric}, {_extent(least, most)}, reaches with {direction}"
        )
        yield Finding("spec.budget.target", problem)


def _bounds(metric: str, *, free: bool) -> tuple[float, float]:
    """The least and the most that a metric can be; of one that a program reports nothing is known."""
    if metric in MEASURED or (metric in OBJECTIVES and not free):
        return _BOUNDS.get(metric, (0, math.inf))
    return -math.inf, math.inf


def _extent(least: float, most: float) -> str:
    """Words for the values between two bounds, of which at least one is finite."""
    if math.isinf(most):
        return f"{least} or more"
    return f"{most} or less" if math.isinf(least) else f"{least} to {most}"


def _axes(spec: dict[str, Any]) -> Iterator[Finding]:
    cells = 1
    for axis in ("multipliers", "workers"):
        values = at(spec, "axes", axis)
        yield from twice(f"spec.axes.{axis}", values)
        default = 5 if axis == "multipliers" else 1
        cells *= len(values) if isinstance(values, list) else default
    yield from too_many_trials("spec.axes", cells, spec.get("repeats", 1))


def _objective(spec: dict[str, Any]) -> Iterator[Finding]:
    metric = at(spec, "objective", "metric")
    if not isinstance(metric, str):
        return
    tasks = [(path, "Regression" if task is None else task) for path, task in given(spec, "data.task")]
    sources = [source for _, source in given(spec, "data.source")]
    if metric not in OBJECTIVES:
        hint = nearest(metric, OBJECTIVES)
        fitting = ", ".join(_fitting(tasks[0][1], sources))
        yield Finding("spec.objective.metric", f"must be one of {fitting}{hint}, got {show(metric)}")
        return
    measured = OBJECTIVES[metric]
    for path, task in tasks:
        if measured.task in (None, task) or task not in get_args(Task):
            continue
        if path == "spec.training.data.task":
            fitting = ", ".join(_fitting(task, sources))
            yield Finding("spec.objective.metric", f"must be measured by {task} ({fitting}), got {metric}")
        else:
            yield Finding(path, f"must be the task that measures {metric}, {measured.task}, got {task}")
    if measured.source is not None and any(source != measured.source for source in sources):
        yield Finding("spec.objective.metric", f"must be one that each source measures, got {metric}, which only "
                      f"{measured.source} does")  # fmt: skip
    if measured.task is not None:
        yield from _validation(metric, spec, sources)


def _fitting(task: Any, sources: list[Any]) -> list[str]:
    """The metrics that trials of a task have with every one of these sources."""
    return [
        name
        for name, known in OBJECTIVES.items()
        if known.task in (None, task) and all(known.source in (None, source) for source in sources)
    ]


def _validation(metric: str, spec: dict[str, Any], sources: list[Any]) -> Iterator[Finding]:
    """Whether there is a validation part to measure `metric` on."""
    # A split of offsets has its own rates.
    if isinstance(split := at(spec, "training", "data", "split"), list) and split and sources == ["kafka"]:
        if len(split) < 2 or at(split[1], "rate") == 0:
            yield Finding("spec.training.data.split", f"must have a second part with a rate > 0 to measure {metric}")
    # An npz file may hold validation arrays of its own.
    elif "npz" not in sources:
        for path, fraction in given(spec, "data.validFraction"):
            if fraction == 0 and is_number(fraction):
                yield Finding(path, f"must be > 0 to measure {metric}, got 0")


def _seeds(spec: dict[str, Any]) -> Iterator[Finding]:
    repeats = spec.get("repeats", 1)
    seeds = [seed for _, seed in given(spec, "train.seed") if type(seed) is int and seed <= _LAST_SEED]
    if type(repeats) is int and seeds and max(seeds) + repeats - 1 > _LAST_SEED:
        yield Finding(
            "spec.repeats", f"must keep train.seed + repeats at most {_LAST_SEED + 1}, got {max(seeds)} + {repeats}"
        )
