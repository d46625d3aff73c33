"""What a search has come to know: how its best improved, and which parameters made the difference. Pure.

Importance is PED-ANOVA (Watanabe, Bansal and Hutter: "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
Arbitrary Subspaces", IJCAI 2023): how far the values of the best points are spread otherwise than those of all.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field

from trainer.experiment.best import Points
from trainer.experiment.expand import Trial
from trainer.experiment.record import Record, Reported
from trainer.experiment.space import whole_numbers
from trainer.experiment.spec import Parameter, Scalar, SearchSpec
from trainer.experiment.timing import wall_seconds

MOST_IMPROVEMENTS = 64
# From so many points on importance is told: the best of fewer would be nearly all of them.
FEWEST_POINTS = 10
_BEST_SHARE = 0.1
_FEWEST_BEST = 5  # fewer say little of how they are spread
_CELLS = 50
_PRIOR = 1.0  # what the even spread weighs, beside 1 for each point
_NARROWEST = 0.5 / 1.64  # of a kernel, in cells: 90 % of it lies in its own
_NOTHING = 1e-12  # added to each share, so that none is divided by 0


class Improvement(Reported):
    """A point that was better than all that had ended before it."""

    index: int = Field(description="The index of its first trial.")
    trials: int = Field(description="How many trials had ended by then, it included.")
    seconds: float = Field(description="The wall seconds until then, counted as those of `timing`.")
    value: float = Field(description="The mean of the objective over its repeats.")


def course(
    trials: Sequence[Trial], attempts: Sequence[Record], counted: Mapping[str, Record], points: Points
) -> tuple[Improvement, ...]:
    """How the best improved, in the order in which points ended; of many improvements some between are left out."""
    found = list(_improvements(trials, attempts, counted, points))
    if len(found) <= MOST_IMPROVEMENTS:
        return tuple(found)
    last, gaps = len(found) - 1, MOST_IMPROVEMENTS - 1
    return tuple(found[round(number * last / gaps)] for number in range(MOST_IMPROVEMENTS))


def _improvements(
    trials: Sequence[Trial], attempts: Sequence[Record], counted: Mapping[str, Record], points: Points
) -> Iterator[Improvement]:
    left = Counter(trial.point for trial in trials)
    of_trial = {trial.id: trial.point for trial in trials}
    last: dict[int, Record] = {}  # of each run that was accepted apart
    ended, best = 0, math.inf
    for record in sorted(attempts, key=lambda record: (record.finished_at, record.index, record.attempt)):
        last[record.accepted_at] = record
        if counted[record.id] is not record or not record.final:
            continue
        ended += 1
        point = of_trial[record.id]
        left[point] -= 1
        value = points.kept.get(point)
        if left[point] or value is None or points.sign * value >= best:
            continue
        best = points.sign * value
        seconds = wall_seconds(list(last.values()))
        yield Improvement(index=points.firsts[point].index, trials=ended, seconds=seconds, value=value)


def importance(spec: SearchSpec, points: Points) -> dict[str, float]:
    """Each parameter's share of what sets the best points apart, the greatest first; the shares add up to 1.

    Of a parameter that `when` leaves out of some points, those that have it count. Empty where too few points were
    measured, or nothing sets the best of them apart.
    """
    ordered = sorted(points.sign * mean for mean in points.means.values())
    if len(ordered) < FEWEST_POINTS or ordered[0] == ordered[-1]:
        return {}
    most = ordered[best_of(len(ordered)) - 1]
    every = [points.firsts[point].parameters for point in points.means]
    best = [points.firsts[point].parameters for point, mean in points.means.items() if points.sign * mean <= most]
    found = {parameter.name: _divergence(_Axis(spec, parameter), every, best) for parameter in spec.parameters}
    total = math.fsum(found.values())
    if not total:
        return {}
    return {name: found[name] / total for name in sorted(found, key=lambda name: -found[name])}


def best_of(points: int) -> int:
    """How many of so many points count as the best of them."""
    return max(_FEWEST_BEST, math.ceil(_BEST_SHARE * points))


class _Axis:
    """The cells that a parameter's values fall into: one for each choice, or equal parts of its range."""

    def __init__(self, spec: SearchSpec, parameter: Parameter) -> None:
        self.name = parameter.name
        self.choices = parameter.choices
        self.cells = len(self.choices or ())
        if (interval := parameter.range) is not None:
            whole = whole_numbers(spec, parameter)
            low, high = (interval.min, interval.max) if whole is None else whole
            self._log = interval.scale == "Log"
            self._low, self._high = (math.log(low), math.log(high)) if self._log else (low, high)
            self.cells = min(_CELLS, self._values(parameter.count, whole))

    def _values(self, count: int | None, whole: tuple[int, int] | None) -> int:
        """How many cells its values need, at most."""
        if count is not None:
            return count
        if whole is None:
            return _CELLS
        values = whole[1] - whole[0] + 1
        return math.ceil(math.log2(values)) + 1 if self._log else values

    def counts(self, points: Sequence[Mapping[str, Scalar]]) -> dict[int, int]:
        """How many points fall into each cell, without those that are empty."""
        values = Counter(point[self.name] for point in points if self.name in point)
        found: Counter[int] = Counter()
        for value, number in values.items():
            found[self._cell(value)] += number
        return found

    def _cell(self, value: Scalar) -> int:
        if self.choices is not None:
            return self.choices.index(value)
        assert not isinstance(value, str), "a range has numbers only"  # noqa: S101
        place = (math.log(value) if self._log else value) - self._low
        return min(self.cells - 1, max(0, math.ceil(place * (self.cells - 1) / (self._high - self._low) - 0.5)))


def _divergence(axis: _Axis, every: Sequence[Mapping[str, Scalar]], best: Sequence[Mapping[str, Scalar]]) -> float:
    """Pearson's divergence of how the best points lie along an axis from how all do.

    It weighs by how many have the parameter (Conditional PED-ANOVA, KDD 2026).
    """
    if axis.cells < 2:
        return 0.0
    of_all, of_best = axis.counts(every), axis.counts(best)
    having, best_having = sum(of_all.values()), sum(of_best.values())
    if not best_having:
        return 0.0
    smooth = _even if axis.choices is not None else _smooth
    pairs = zip(smooth(axis.cells, of_all), smooth(axis.cells, of_best), strict=True)
    divergence = math.fsum((there - here) ** 2 / here for here, there in pairs)
    return divergence * (best_having / len(best)) ** 2 / (having / len(every))


def _even(cells: int, counts: Mapping[int, int]) -> list[float]:
    """The share of each choice: what was counted, each point of which has a little of all others, and the prior."""
    little = _PRIOR / (len(counts) + 1)
    total = sum(counts.values())
    spread = total * little / (1 + cells * little) + _PRIOR / cells
    whole = total + _PRIOR
    return [(spread + counts.get(cell, 0) / (1 + cells * little)) / whole + _NOTHING for cell in range(cells)]


def _smooth(cells: int, counts: Mapping[int, int]) -> list[float]:
    """The share of each cell by a normal kernel around each point, cut off at the ends, and the prior."""
    width = _width(counts)
    # A kernel's mass up to each edge of a cell depends on how far that is from it alone.
    below = [_normal((edge - 0.5) / width) for edge in range(1 - cells, cells + 1)]
    whole = sum(counts.values()) + _PRIOR
    found = [_PRIOR * share for share in _prior(cells)]
    for at, number in counts.items():
        edges = below[cells - 1 - at : 2 * cells - at]
        inside = edges[-1] - edges[0]
        for cell in range(cells):
            found[cell] += number * (edges[cell + 1] - edges[cell]) / inside
    return [each / whole + _NOTHING for each in found]


def _prior(cells: int) -> list[float]:
    """A kernel as wide as all cells, in the middle of them."""
    edges = [_normal((edge - cells / 2) / cells) for edge in range(cells + 1)]
    return [(edges[cell + 1] - edges[cell]) / (edges[-1] - edges[0]) for cell in range(cells)]


def _width(counts: Mapping[int, int]) -> float:
    """The standard deviation of the kernels, in cells, by Scott's rule on deviation and quartiles."""
    at, total = sorted(counts), sum(counts.values())
    mean = sum(cell * counts[cell] for cell in at) / total
    deviation = math.sqrt(sum((cell - mean) ** 2 * counts[cell] for cell in at) / max(1, total - 1))
    quartiles = _upto(at, counts, total * 3 // 4 + 1) - _upto(at, counts, total // 4)
    return max(_NARROWEST, 1.059 * min(quartiles / 1.34, deviation) * math.pow(total, -0.2))


def _upto(at: Sequence[int], counts: Mapping[int, int], number: int) -> int:
    """The first cell up to which there are so many points, else the last."""
    so_far = 0
    for cell in at:
        so_far += counts[cell]
        if so_far >= number:
            return cell
    return at[-1]


def _normal(deviations: float) -> float:
    """The share of a normal distribution below so many deviations from its mean."""
    return math.erfc(-deviations / math.sqrt(2)) / 2
