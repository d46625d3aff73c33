"""Who names points: ours, Optuna's own loop, Ray Tune's search, Random and Sobol, asked and told in the same way."""

import importlib.util
import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import optuna

from benchmarks.search.problems import Problem
from trainer.experiment.algorithms import draws, sobol
from trainer.experiment.space import Point, counts
from trainer.experiment.spec import SearchSpec
from trainer.scheduling.lessons import Lesson
from trainer.suggesting.study import Study

_SPACE = 1000  # the `trials` of a search matter only to whoever runs it


class Searcher(Protocol):
    """Names a point, and is told its loss, None where it failed; points may end in any order."""

    def ask(self) -> tuple[int, Point]: ...
    def tell(self, number: int, loss: float | None) -> None: ...


Maker = Callable[[Problem, int], Searcher]


class Ours:
    """What Trialrun suggests. With `blind`, of failed points it hears only that they were tried."""

    def __init__(self, problem: Problem, seed: int, *, blind: bool = False) -> None:
        self._study = Study(problem.search("TPE", _SPACE, seed))
        self._points: list[Point] = []
        self._failed = () if blind else (1.0,)

    def ask(self) -> tuple[int, Point]:
        number = len(self._points)
        found = self._study.suggest(number)
        assert found is not None, "the spaces here have more points than are asked for"
        self._points.append(found.parameters)
        self._study.learn([Lesson(number, found.parameters, running=True)])
        return number, found.parameters

    def tell(self, number: int, loss: float | None) -> None:
        violations = self._failed if loss is None else ()
        self._study.learn([Lesson(number, self._points[number], loss, violations)])


class Optuna:
    """Optuna's study, asked and told in its own way; a failed point is told as FAIL. `options` are TPESampler's."""

    def __init__(self, problem: Problem, seed: int, **options: Any) -> None:
        self._spec = problem.search("TPE", _SPACE, seed).spec
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, **options))
        self._trials: list[optuna.Trial] = []

    def ask(self) -> tuple[int, Point]:
        self._trials.append(self._study.ask())
        return len(self._trials) - 1, _named(self._trials[-1], self._spec)

    def tell(self, number: int, loss: float | None) -> None:
        failed = optuna.trial.TrialState.FAIL if loss is None else None
        self._study.tell(self._trials[number], loss, state=failed)


class Ray:
    """Ray Tune's search that learns, without its processes."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from ray.tune.search.optuna import OptunaSearch

        logging.getLogger("ray").setLevel(logging.ERROR)
        spec = problem.search("TPE", _SPACE, seed).spec
        self._search = OptunaSearch(lambda trial: _ignored(_named(trial, spec)), metric="loss", mode="min", seed=seed)
        self._numbers = itertools.count()

    def ask(self) -> tuple[int, Point]:
        number = next(self._numbers)
        return number, dict(self._search.suggest(str(number)))

    def tell(self, number: int, loss: float | None) -> None:
        self._search.on_trial_complete(str(number), None if loss is None else {"loss": loss}, error=loss is None)


class Drawn:
    """Points that depend on the seed alone."""

    def __init__(self, algorithm: str, problem: Problem, seed: int) -> None:
        spec = problem.search(algorithm, _SPACE, seed).spec
        self._points = enumerate((draws if algorithm == "Random" else sobol).points(spec))

    def ask(self) -> tuple[int, Point]:
        return next(self._points)

    def tell(self, number: int, loss: float | None) -> None:
        """Nothing is learnt."""


def random(problem: Problem, seed: int) -> Searcher:
    """Points drawn one by one."""
    return Drawn("Random", problem, seed)


def even(problem: Problem, seed: int) -> Searcher:
    """Sobol's points."""
    return Drawn("Sobol", problem, seed)


def optuna_with(**options: Any) -> Maker:
    """Optuna's own loop with these options of its sampler."""
    return lambda problem, seed: Optuna(problem, seed, **options)


def where_ray_is() -> Mapping[str, Maker]:
    """Ray Tune's search, where it is installed."""
    return {"Ray Tune, OptunaSearch": Ray} if importlib.util.find_spec("ray") else {}


def _named(trial: optuna.Trial, spec: SearchSpec) -> Point:
    """The point that a trial names, asked parameter by parameter as scripts do."""
    point: Point = {}
    for each in spec.parameters:
        if not counts(each, point):
            continue
        if each.range is None:
            point[each.name] = trial.suggest_categorical(each.name, each.choices)
        elif each.range.step is not None:
            low, high, step = int(each.range.min), int(each.range.max), int(each.range.step)
            point[each.name] = trial.suggest_int(each.name, low, high, step=step)
        else:
            log = each.range.scale == "Log"
            point[each.name] = trial.suggest_float(each.name, each.range.min, each.range.max, log=log)
    return point


def _ignored(_: object) -> None:
    """Ray Tune collects by itself what its trials were asked for."""
