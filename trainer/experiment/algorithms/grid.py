"""Grid: every combination."""

from collections.abc import Iterator

from trainer.experiment.space import Point, counts, many, nth
from trainer.experiment.spec import SearchSpec


def points(spec: SearchSpec) -> Iterator[Point]:
    """Every point of a space whose values can be counted, the last parameter's values changing fastest."""
    return _from(spec, 0, {})


def _from(spec: SearchSpec, first: int, point: Point) -> Iterator[Point]:
    """Every combination that begins with a point."""
    if first == len(spec.parameters):
        yield point
        return
    parameter = spec.parameters[first]
    if not counts(parameter, point):
        yield from _from(spec, first + 1, point)
        return
    for number in range(many(spec, parameter) or 0):
        yield from _from(spec, first + 1, point | {parameter.name: nth(spec, parameter, number)})
