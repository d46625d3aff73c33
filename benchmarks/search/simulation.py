"""A search whose trials last as long as is drawn for them: so many at once, in the order in which they would end."""

import heapq
import random
from collections.abc import Sequence
from itertools import accumulate

from benchmarks.search.problems import Problem
from benchmarks.search.searchers import Searcher


def losses(problem: Problem, searcher: Searcher, points: int, at_once: int, seed: int) -> list[float | None]:
    """The losses of so many points in the order of their numbers, None of those that fail.

    A trial lasts from a half to one and a half, so that they end in another order than they began. One at a time
    nothing is drawn that matters.
    """
    rng = random.Random(seed)
    running: list[tuple[float, int, float | None]] = []
    found: dict[int, float | None] = {}
    now = 0.0
    for _ in range(points):
        if len(running) == at_once:
            now, number, loss = heapq.heappop(running)
            searcher.tell(number, loss)
        number, point = searcher.ask()
        found[number] = None if problem.fails(point) else problem.loss(point)
        heapq.heappush(running, (now + rng.uniform(0.5, 1.5), number, found[number]))
    return [found[number] for number in sorted(found)]


def best_so_far(told: Sequence[float | None]) -> list[float]:
    """The least of the losses up to each."""
    return list(accumulate((float("inf") if loss is None else loss for loss in told), min))
