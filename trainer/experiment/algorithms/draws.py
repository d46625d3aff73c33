"""Random: points drawn one by one, none twice, the same on every machine."""

import random
from collections.abc import Callable, Iterator, Sequence

from trainer.experiment.algorithms import grid
from trainer.experiment.space import Key, Point, key, point_at, size
from trainer.experiment.spec import MAX_TRIALS, SearchSpec

_MANY_MISSES = 100_000


def points(spec: SearchSpec) -> Iterator[Point]:
    """Distinct random points without end, or until the space has no more."""
    rng = random.Random(spec.seed)
    return distinct(spec, lambda: [rng.random() for _ in spec.parameters])


def distinct(spec: SearchSpec, shares: Callable[[], Sequence[float]]) -> Iterator[Point]:
    """The points at `shares`, each once; where hardly any is new any more, the others in the order of a grid."""
    there = size(spec, MAX_TRIALS + 1)
    seen: set[Key] = set()
    misses = 0
    while len(seen) < there or there > MAX_TRIALS:
        if misses > _MANY_MISSES:
            yield from (point for point in grid.points(spec) if key(point) not in seen)
            return
        point = point_at(spec, shares())
        known = key(point)
        misses = misses + 1 if known in seen else 0
        if not misses:
            seen.add(known)
            yield point
