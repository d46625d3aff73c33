"""What does it cost to have eight points in hand, beside one? And which of TPE's settings loses least by it?"""

from benchmarks.search import tables
from benchmarks.search.figures import shown, spread, table
from benchmarks.search.problems import CONDITIONAL, FAR, HARTMANN, INTERACTING, PLAIN, Problem
from benchmarks.search.searchers import Maker, Ours, optuna_with, random
from benchmarks.search.simulation import best_so_far, losses

SEEDS = range(24)
POINTS = 100
AT_ONCE = (1, 8)
_TABLE = ("HPOLib", "protein_structure")

# What Optuna 5 does by itself is named first of its own; the last of them is what Optuna 4 did.
SEARCHERS: dict[str, Maker] = {
    "TPE": Ours,
    "Optuna": optuna_with(),
    "Optuna, no liar": optuna_with(constant_liar=False),
    "Optuna, one by one": optuna_with(multivariate=False),
    "Optuna, one by one, no liar": optuna_with(multivariate=False, constant_liar=False),
    "Optuna, group": optuna_with(group=True),
    "Random": random,
}


def main() -> None:
    """Prints the best of 100 points, one at a time and eight at once, and each searcher's mean rank."""
    problems = [
        PLAIN,
        INTERACTING,
        CONDITIONAL,
        FAR,
        HARTMANN,
        *([tables.problem(*_TABLE)] if tables.installed() else []),
    ]
    ranks: dict[tuple[str, int], list[float]] = {(name, many): [] for name in SEARCHERS for many in AT_ONCE}
    for problem in problems:
        found = _best(problem)
        rows = [(name, [spread(found[name, many]) for many in AT_ONCE]) for name in SEARCHERS]
        columns = ["one at a time", "eight at once"]
        table(f"{problem.name}: the best of {POINTS} points; medians of {len(SEEDS)} seeds", columns, rows)
        for many in AT_ONCE:
            for seed in SEEDS:
                ordered = sorted(found[name, many][seed] for name in SEARCHERS)
                for name in SEARCHERS:
                    mine = found[name, many][seed]
                    ranks[name, many].append(ordered.index(mine) + (ordered.count(mine) + 1) / 2)
    means = [
        (name, [f"{sum(ranks[name, many]) / len(ranks[name, many]):.2f}" for many in AT_ONCE]) for name in SEARCHERS
    ]
    table(f"Mean rank of {len(SEARCHERS)} over the problems and seeds, 1 being the best", columns, means)


def _best(problem: Problem) -> dict[tuple[str, int], list[float]]:
    """The least loss by searcher and number at once, seed by seed."""
    found: dict[tuple[str, int], list[float]] = {(name, many): [] for name in SEARCHERS for many in AT_ONCE}
    work = [(seed, name, many) for seed in SEEDS for name, many in found]
    for seed, name, many in shown(problem.name, work):
        told = losses(problem, SEARCHERS[name](problem, seed), POINTS, many, seed)
        found[name, many].append(best_so_far(told)[-1])
    return found
