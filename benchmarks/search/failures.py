"""Does a search keep away from where trials fail? Failures in the first and in the second hundred points."""

from functools import partial

from benchmarks.search.figures import shown, spread, table
from benchmarks.search.problems import AROUND, FAR, NEAR, Problem
from benchmarks.search.searchers import Maker, Ours, optuna_with, random
from benchmarks.search.simulation import best_so_far, losses

SEEDS = range(16)
_HUNDRED = 100

SEARCHERS: dict[str, Maker] = {
    "TPE": Ours,
    "TPE, failures ignored": partial(Ours, blind=True),
    "Optuna, told FAIL": optuna_with(),
    "Random": random,
}


def main() -> None:
    """Prints failures and the best of 200 points, for three difficulties."""
    for problem in (FAR, NEAR, AROUND):
        _compare(problem)


def _compare(problem: Problem) -> None:
    found: dict[str, tuple[list[float], list[float], list[float]]] = {name: ([], [], []) for name in SEARCHERS}
    for name, seed in shown(problem.name, [(name, seed) for name in SEARCHERS for seed in SEEDS]):
        told = losses(problem, SEARCHERS[name](problem, seed), 2 * _HUNDRED, 1, seed)
        first, second, best = found[name]
        first.append(sum(loss is None for loss in told[:_HUNDRED]))
        second.append(sum(loss is None for loss in told[_HUNDRED:]))
        best.append(best_so_far(told)[-1])
    columns = ["failed of the first 100", "of the second 100", "best of 200"]
    rows = [(name, [spread(values) for values in each]) for name, each in found.items()]
    table(f"{problem.name}; medians of {len(SEEDS)} seeds; bar: the second at most half of the first", columns, rows)
