"""Which trials an experiment has, in order, each with an identity. Both programs call it, so both name them alike.

A trial's id is the first 10 hex digits of SHA-256 over canonical JSON of its kind, training, workers and repeat. In
place of the training stand a program's command, as it is written, and its settings with the point put in. Fields of a
training that have their default are left out, so that a new field of a later version changes no id
(docs/decisions/0002-identity.md).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import chain, islice
from typing import Any

from trainer.experiment.algorithms import draws, grid, sobol
from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.program import MULTIPLIER, Invocation, Program, invocation
from trainer.experiment.section import Section
from trainer.experiment.space import Point, arranged, key, size
from trainer.experiment.spec import (
    MAX_TRIALS,
    Experiment,
    HyperparamSearch,
    Scalar,
    ScaleTest,
    SearchSpec,
)
from trainer.experiment.training import Training, leaves

_MOST_MISTAKES = 100
_SAMPLES = 50


class Kind(Enum):
    """What a run is for: a result of the experiment, the memory that cells are limited by, or a comparison."""

    TRIAL = "trial"
    FLOOR = "floor"
    BASELINE = "baseline"


@dataclass(frozen=True)
class Trial:
    """One thing to run, most often to train.

    `index` counts from 0 in the experiment's listed order, `point` counts its points: repeats share one.
    `parameters` holds what varies, by path; `runs` is whole: a training with the repeat's own seed, or a program.
    A run of another `kind` than trial is listed after all trials, and its id is no hash.
    """

    index: int
    point: int
    id: str
    parameters: Point
    repeat: int
    runs: Training | Invocation
    workers: int
    seed: int
    kind: Kind = Kind.TRIAL

    @property
    def name(self) -> str:
        """`<index>-<id>`: its folder, and its key in the ledger."""
        return f"{self.index:04d}-{self.id}"

    @property
    def training(self) -> Training:
        """What our trainer does, for code that only ever sees trials of its.

        Raises:
            TypeError: it runs a program.
        """
        if not isinstance(self.runs, Training):
            raise TypeError(f"trial {self.id} runs a program")
        return self.runs

    @property
    def multiplier(self) -> int:
        """How many times the base set its training set is."""
        if isinstance(self.runs, Training):
            return self.runs.data.multiplier
        return int(self.parameters.get(MULTIPLIER, 1))

    @property
    def threads(self) -> int | None:
        """The CPU threads of each worker; of a program nobody knows."""
        return self.runs.train.threads if isinstance(self.runs, Training) else None

    @property
    def epochs(self) -> int | None:
        """How many epochs it trains at most; of a program nobody knows."""
        return self.runs.train.epochs if isinstance(self.runs, Training) else None


def expand(experiment: Experiment, suggested: Sequence[Point] = ()) -> list[Trial]:
    """All trials of an experiment that `load` took, in the listed order.

    Of a learning search those are its known points and what has been `suggested`, in the order of the numbers.

    Raises:
        InvalidExperiment: a combination of parameters makes no valid training; every such point is named.
    """
    spec, make = experiment.spec, TrialMaker(experiment)
    if isinstance(experiment, ScaleTest):
        points = _cells(experiment)
    else:
        workers = experiment.spec.workers
        points = ((point, workers) for point in _points(experiment.spec, suggested))
    trials: list[Trial] = []
    mistakes: list[str] = []
    for number, (parameters, workers) in enumerate(points):
        if (number + 1) * spec.repeats > MAX_TRIALS:
            raise InvalidExperiment([f"spec.parameters: must make at most {MAX_TRIALS} trials, got more"])
        try:
            trials += make.trials(number, parameters, workers)
        except InvalidExperiment as error:
            mistakes += error.mistakes
    if mistakes:
        more = len(mistakes) - _MOST_MISTAKES
        if more > 0:
            mistakes[_MOST_MISTAKES:] = [f"spec.parameters: must fit each other, got {more} more points that do not"]
        raise InvalidExperiment(mistakes)
    return trials


def by_point(trials: Iterable[Trial]) -> dict[int, list[Trial]]:
    """The trials of each point, its repeats, in their order."""
    found: dict[int, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.point, []).append(trial)
    return found


def planned(experiment: Experiment) -> int | None:
    """How many points a learning search is to try; None of others, of which `expand` makes all.

    With fewer points than `trials` each is tried once.
    """
    if not isinstance(experiment, HyperparamSearch) or experiment.spec.algorithm != "TPE":
        return None
    return size(experiment.spec, experiment.spec.trials or 0)


def samples(experiment: HyperparamSearch) -> list[Trial]:
    """Trials such as a learning search may come to have: its known points, and some drawn at random that fit."""
    make, found = TrialMaker(experiment), list[Trial]()
    known = (arranged(experiment.spec, point.parameters) for point in experiment.spec.points)
    for point in chain(known, islice(draws.points(experiment.spec), _SAMPLES)):
        with suppress(InvalidExperiment):
            found += make.trials(len(found), point, experiment.spec.workers)
    return found


class TrialMaker:
    """Makes the trials of an experiment's points, one point after another."""

    def __init__(self, experiment: Experiment) -> None:
        spec = experiment.spec
        self._kind = experiment.kind
        self._repeats = spec.repeats
        self._made = _Trainings(spec.training) if spec.program is None else _Invocations(spec.program, spec.seed)

    def trials(self, number: int, parameters: Point, workers: int) -> list[Trial]:
        """The trials of a point, one for each repeat.

        Raises:
            InvalidExperiment: its parameters make no valid training.
        """
        trials: list[Trial] = []
        for repeat in range(self._repeats):
            runs, seed, text, wrong = self._made.at(parameters, repeat)
            if wrong:
                given = ", ".join(f"{name} {json.dumps(value)}" for name, value in parameters.items())
                raise InvalidExperiment([f"spec.parameters: must fit each other, got {given}: {wrong}"])
            index = number * self._repeats + repeat
            identity = _identity(self._kind, text, workers, repeat)
            trials.append(Trial(index, number, identity, parameters, repeat, runs, workers, seed))
        return trials


def id_alone(kind: str, trial: Trial) -> str:
    """The id of the same training by one worker; the trial's own where what is trained depends on the workers."""
    if trial.workers == 1 or not isinstance(trial.runs, Training):
        return trial.id
    train = trial.runs.train
    if train.batch_per == "Worker" or train.learning_rate_scaling != "None":
        return trial.id
    return _identity(kind, f'"training":{canonical(trial.runs.document(sparse=True))}', 1, trial.repeat)


def canonical(value: Any) -> str:
    """JSON with one spelling: keys sorted, no spaces, whole floats as integers, -0.0 as 0.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _identity(kind: str, runs: str, workers: int, repeat: int) -> str:
    """The id, by hand what `canonical` makes of these; `runs` is `"training":…` without defaults or `"program":…`."""
    parts = sorted([f'"kind":"{kind}"', f'"repeat":{repeat}', runs, f'"workers":{workers}'])
    return hashlib.sha256(f"{{{','.join(parts)}}}".encode()).hexdigest()[:10]


@dataclass(frozen=True)
class _Variant:
    """A section of `training` as some trials have it: `text` is canonical, `wrong` says which fields don't fit."""

    section: Section
    text: str
    wrong: str | None


class _Trainings:
    """Makes the trainings of an experiment; those that are alike in a section share it.

    The values are taken as they are: `load` has judged each alone, so only their fit is left to judge. Validating
    every training anew took a millisecond a trial, with 10,000 trials to an experiment.
    """

    def __init__(self, base: Training) -> None:
        self._base = base
        self._usual = {name: _variant(getattr(base, name), {}) for name in sorted(Training.model_fields)}
        self._known: dict[tuple[Any, ...], _Variant] = {}

    def at(self, parameters: Point, repeat: int) -> tuple[Training, int, str, str]:
        """The training of a point's repeat, its seed, what of its identity it makes up, and what doesn't fit."""
        updates: dict[str, dict[str, Scalar]] = {}
        for path, value in parameters.items():
            section, name, number = _attributes()[path]
            updates.setdefault(section, {})[name] = float(value) if number is float else value
        if repeat:
            train = updates.setdefault("train", {})
            train["seed"] = int(train.get("seed", self._base.train.seed)) + repeat
        changed = {}
        for section, update in updates.items():
            key = (section, *update.values())
            if key not in self._known:
                self._known[key] = _variant(getattr(self._base, section), update)
            changed[section] = self._known[key]
        variants = self._usual | changed
        text = ",".join([f'"{name}":{variant.text}' for name, variant in variants.items() if variant.text != "{}"])
        wrong = "; ".join([variant.wrong for variant in variants.values() if variant.wrong])
        training = self._base.model_copy(update={name: variant.section for name, variant in changed.items()})
        return training, training.train.seed, f'"training":{{{text}}}', wrong


class _Invocations:
    """Makes of a program what each trial runs."""

    def __init__(self, program: Program, seed: int) -> None:
        self._program = program
        self._seed = seed

    def at(self, parameters: Point, repeat: int) -> tuple[Invocation, int, str, str]:
        """The program with a point's repeat put in, its seed, what of its identity it makes up, and no mistake."""
        made = invocation(self._program, parameters)
        program: dict[str, Any] = {"command": self._program.command, "settings": made.settings}
        if self._program.processes_per_worker > 1:
            program["processesPerWorker"] = self._program.processes_per_worker
        text = canonical(program)
        return made, self._seed + repeat, f'"program":{text}', ""


def _variant(base: Section, update: dict[str, Scalar]) -> _Variant:
    section = base.model_copy(update=update)
    return _Variant(section, canonical(section.document(sparse=True)), section.disagreement())


@cache
def _attributes() -> dict[str, tuple[str, str, type | None]]:
    """What a parameter's path names: train.learningRate is the section train, learning_rate of it, a float."""
    return {
        path: (path.partition(".")[0], name, leaf.number)
        for path, leaf in leaves().items()
        for name, field in leaf.section.model_fields.items()
        if field.alias == leaf.alias
    }


def _points(spec: SearchSpec, suggested: Sequence[Point]) -> Iterator[Point]:
    """A search's points: known ones, then those of its algorithm."""
    known = [arranged(spec, point.parameters) for point in spec.points]
    tried = {key(point) for point in known}
    made: dict[str, Callable[[SearchSpec], Iterator[Point]]] = {
        "Grid": grid.points,
        "Random": draws.points,
        "Sobol": sobol.points,
    }
    others = (
        iter(suggested)
        if spec.algorithm == "TPE"
        else (point for point in made[spec.algorithm](spec) if key(point) not in tried)
    )
    return islice(chain(known, others), spec.trials)


def _cells(test: ScaleTest) -> Iterator[tuple[Point, int]]:
    name = "data.multiplier" if test.spec.program is None else MULTIPLIER
    for workers in test.spec.axes.workers:
        for multiplier in test.spec.axes.multipliers:
            yield {name: multiplier}, workers
