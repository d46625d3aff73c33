"""The points that a search's parameters make: which values count, what lies where, and how many there are. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.experiment.spec import Parameter, Range, Scalar, SearchSpec
from trainer.experiment.training import leaves

Point = dict[str, Scalar]
Key = tuple[tuple[str, Scalar], ...]


def key(point: Point) -> Key:
    """What two points have in common that are the same."""
    return tuple(sorted(point.items()))


def counts(parameter: Parameter, point: Mapping[str, Scalar]) -> bool:
    """Whether a parameter counts, where those before it have the values of `point`."""
    return all(name in point and point[name] in wanted for name, wanted in parameter.when.items())


def arranged(spec: SearchSpec, point: Mapping[str, Scalar]) -> Point:
    """A point with its parameters in the listed order, and numbers as the fields that they go into have them."""
    return {
        parameter.name: _typed(spec, parameter, point[parameter.name])
        for parameter in spec.parameters
        if parameter.name in point
    }


def point_at(spec: SearchSpec, shares: Sequence[float]) -> Point:
    """The point that lies so far (0 to below 1) through each parameter; those that don't count are left out."""
    point: Point = {}
    for parameter, share in zip(spec.parameters, shares, strict=True):
        if counts(parameter, point):
            point[parameter.name] = _value(parameter, share, free=spec.program is not None)
    return point


def many(spec: SearchSpec, parameter: Parameter) -> int | None:
    """How many values a parameter has, None where they can't be counted."""
    if parameter.count is not None:
        return parameter.count
    whole = whole_numbers(spec, parameter)
    return None if whole is None else whole[1] + 1 - whole[0]


def nth(spec: SearchSpec, parameter: Parameter, number: int) -> Scalar:
    """One of the values of a parameter that has countably many, from 0."""
    whole = whole_numbers(spec, parameter)
    return parameter.at(number) if whole is None else whole[0] + number


def whole_numbers(spec: SearchSpec, parameter: Parameter) -> tuple[int, int] | None:
    """The lowest and the highest value of a range without a step whose field takes whole numbers; None of others."""
    interval = parameter.range
    if interval is None or interval.step is not None or spec.program is not None:
        return None
    if leaves()[parameter.name].number is not int:
        return None
    return math.ceil(interval.min), math.floor(interval.max)


def holds(spec: SearchSpec, parameter: Parameter, value: Any) -> bool:
    """Whether a parameter can have a value."""
    if parameter.choices is not None:
        return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in parameter.choices)
    interval = parameter.range
    if interval is None or isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if not interval.min <= value <= interval.max:
        return False
    if interval.step is not None:
        nearest = interval.at(round((value - interval.min) / interval.step))
        return math.isclose(value, nearest, rel_tol=1e-9, abs_tol=1e-9 * interval.step)
    return whole_numbers(spec, parameter) is None or float(value).is_integer()


def size(spec: SearchSpec, at_most: int) -> int:
    """How many points the parameters make, counted up to `at_most`."""
    # Points are counted from the last parameter back: how many follow depends on what the ones before are.
    return min(at_most, _size(spec, 0, {}, at_most))


def _size(spec: SearchSpec, first: int, point: Point, at_most: int) -> int:
    if first == len(spec.parameters):
        return 1
    parameter = spec.parameters[first]
    if not counts(parameter, point):
        return _size(spec, first + 1, point, at_most)
    there = many(spec, parameter)
    if there is None:
        return at_most
    if not any(parameter.name in later.when for later in spec.parameters[first + 1 :]):  # all its values are alike
        with_one = point | {parameter.name: nth(spec, parameter, 0)}
        return min(at_most, there * _size(spec, first + 1, with_one, at_most))
    total = 0
    for number in range(there):
        total += _size(spec, first + 1, point | {parameter.name: nth(spec, parameter, number)}, at_most)
        if total >= at_most:
            return at_most
    return total


def _typed(spec: SearchSpec, parameter: Parameter, value: Scalar) -> Scalar:
    """A number of a range as drawing gives it: a float but where values are whole."""
    if parameter.range is None or isinstance(value, bool | str):
        return value
    if parameter.range.step is not None:
        return parameter.range.at(round((float(value) - parameter.range.min) / parameter.range.step))
    return int(value) if whole_numbers(spec, parameter) is not None else float(value)


def _value(parameter: Parameter, share: float, *, free: bool) -> Scalar:
    """The value that lies `share` of the way (0 to below 1) through a parameter, `free` of any field of ours."""
    if parameter.count is not None:
        return parameter.at(int(share * parameter.count))
    interval = parameter.range
    assert interval is not None, "load lets no parameter through that has neither choices nor a range"  # noqa: S101
    if not free and leaves()[parameter.name].number is int:
        low, high = math.ceil(interval.min), math.floor(interval.max)
        # Each whole number owns the half-open unit around it, so both ends are as likely as the others.
        return min(high, max(low, math.floor(_between(interval, low, high + 1, share))))
    # Six digits: libraries differ in the last bit of exp and log, and an id must not.
    drawn = float(f"{_between(interval, interval.min, interval.max, share):.6g}")
    return min(interval.max, max(interval.min, drawn))


def _between(interval: Range, low: float, high: float, share: float) -> float:
    if interval.scale == "Log":
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)
