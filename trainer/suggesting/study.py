"""A search as Optuna's TPE sees it: what is known of each point, and from that the next one to try.

The same lessons and the same number always make the same suggestion, in whatever order they were told: the sampler is
seeded anew for every number, and the study's trials stand in the order of theirs. Nothing is kept in files.
"""

import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from trainer.experiment.algorithms import draws
from trainer.experiment.best import direction
from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.expand import TrialMaker
from trainer.experiment.space import Key, Point, arranged, counts, key, whole_numbers
from trainer.experiment.spec import MAX_TRIALS, HyperparamSearch, Parameter, Range, Scalar, SearchSpec
from trainer.scheduling.lessons import Lesson

STARTUP = 10  # so many points have ended before the sampler learns from them
_MOST_ASKED = 50
_LEAST_ASKED = 2
# An answer takes the longer the more is known: about half a second for so many trials to look at, answer by answer.
_TRIALS_READ = 10_000


@dataclass(frozen=True)
class Suggested:
    """The next point, from how many that have ended it was learnt, and `why` it is this one."""

    parameters: Point
    learnt_from: int
    why: str


def seed_of(seed: int, number: int, attempt: int = 0) -> int:
    """The sampler's seed for a point of a search; each further `attempt` at it has its own."""
    text = f"{seed}:{number}:{attempt}" if attempt else f"{seed}:{number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def sampler(seed: int, feasible: int) -> TPESampler:
    """The sampler of one suggestion, when so many points neither failed nor broke a constraint."""
    # Parameters together, and running points as bad ones: of the settings that benchmarks/search/parallel.py compares
    # none does clearly better, one at a time or eight at once. `group` is level, and experimental.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # `gamma` goes with Optuna 6
        return TPESampler(
            seed=seed,
            n_startup_trials=STARTUP,
            multivariate=True,
            constant_liar=True,
            # As many points to come near to as Optuna has, but none that failed while others did not: it fills the
            # number up with those, and where most points fail it never gets away from them.
            gamma=lambda number: max(1, min(math.ceil(0.1 * number), 25, feasible)),
        )


class Study:
    """What is known of a search's points. `earlier` lessons, of another search, come before its own.

    Raises:
        ValueError: an earlier point lies outside the space.
    """

    def __init__(self, search: HyperparamSearch, earlier: Sequence[Lesson] = ()) -> None:
        self._search = search
        self._maker = TrialMaker(search)
        # Points that ran when the other search ended, and those that nothing was learnt of, are new to this one.
        self._earlier = [each for each in earlier if each.value is not None or each.broke]
        self._lessons: dict[int, Lesson] = {}  # in the order of their numbers
        known = (arranged(search.spec, point.parameters) for point in search.spec.points)
        self._tried = {key(point) for point in chain(known, (each.parameters for each in self._earlier))}
        self._unfit: set[Key] = set()
        self._draws, self._drawn = draws.points(search.spec), list[Point]()
        self._trials = _Trials(search.spec, self._earlier)

    def learn(self, lessons: Iterable[Lesson]) -> None:
        """Takes in what is known of points: of new ones, and of those where it has changed. Again does no harm.

        Raises:
            ValueError: a point lies outside the space; then nothing is taken in.
        """
        last = next(reversed(self._lessons), -1)
        told = {each.number: each for each in lessons}
        told = {number: each for number, each in sorted(told.items()) if self._lessons.get(number) != each}
        known = dict(sorted((self._lessons | told).items()))
        # Optuna's trials keep their order and, once they have ended, their value.
        if all(self._lessons[number].running if number in self._lessons else number > last for number in told):
            self._trials.take(told.values())
        else:
            self._trials = _Trials(self._search.spec, [*self._earlier, *known.values()])
        self._lessons = known
        self._tried.update(key(each.parameters) for each in told.values())

    def suggest(self, number: int) -> Suggested | None:
        """The point to try as the `number`th of the search; None where all that fit have been tried."""
        known = [*self._earlier, *self._lessons.values()]
        ended = [each for each in known if each.value is not None or each.broke]
        feasible = sum(each.value is not None and not each.broke for each in ended)
        asked = max(_LEAST_ASKED, min(_MOST_ASKED, _TRIALS_READ // max(1, len(known))))
        for attempt in range(asked):
            point = self._trials.ask(sampler(seed_of(self._search.spec.seed, number, attempt), feasible))
            if self._may_be_tried(point):
                return Suggested(point, len(ended), _why(known, ended))
        drawn = next((point for point in self._at_random() if self._may_be_tried(point)), None)
        why = f"drawn at random: the {asked} points that TPE named first had been tried, or don't fit"
        return None if drawn is None else Suggested(drawn, len(ended), why)

    def _may_be_tried(self, point: Point) -> bool:
        """Whether a point has not been tried, and its parameters fit each other."""
        if (found := key(point)) in self._tried or found in self._unfit:
            return False
        try:
            self._maker.trials(0, point, self._search.spec.workers)
        except InvalidExperiment:
            self._unfit.add(found)
            return False
        return True

    def _at_random(self) -> Iterator[Point]:
        """Points in the order in which Random draws them: all of a space that has few, else more than were tried."""
        yield from self._drawn
        while len(self._drawn) < len(self._tried) + MAX_TRIALS and (point := next(self._draws, None)) is not None:
            self._drawn.append(point)
            yield point


def _why(known: Sequence[Lesson], ended: Sequence[Lesson]) -> str:
    """What the sampler goes by, in a sentence."""
    if len(ended) < STARTUP:
        return f"drawn at random: TPE learns once {STARTUP} points have ended, and {len(ended)} have"
    broke, run = sum(each.broke for each in ended), sum(each.running for each in known)
    failing = f", {broke} of which failed or broke a constraint" if broke else ""
    return f"TPE over {len(ended)} points{failing}" + (f", and {run} that run" if run else "")


class _Trials:
    """Optuna's trials of a search, in the order of their points' numbers; that order and their values count.

    What was asked for is left among them as failed, which Optuna looks at no more: it comes back as a lesson.
    """

    def __init__(self, spec: SearchSpec, lessons: Iterable[Lesson] = ()) -> None:
        self._spec = spec
        self._distributions = {each.name: _distribution(spec, each) for each in spec.parameters}
        self._ranges = {each.name: each.range for each in spec.parameters}
        self._storage = InMemoryStorage()
        self._study = optuna.create_study(storage=self._storage, direction=direction(spec.objective).lower())
        self._id = self._storage.get_study_id_from_name(self._study.study_name)
        self._running: dict[int, int] = {}  # trials by the numbers of their points
        self.take(lessons)

    def take(self, lessons: Iterable[Lesson]) -> None:
        """Takes in points whose numbers follow on the others, and what became of those that ran.

        Raises:
            ValueError: a point lies outside the space; then nothing is taken in.
        """
        made = [(each, self._trial(each)) for each in lessons]
        for lesson, trial in made:
            if (identity := self._running.pop(lesson.number, None)) is not None:
                for name, value in trial.system_attrs.items():
                    self._storage.set_trial_system_attr(identity, name, value)
                self._storage.set_trial_state_values(identity, trial.state, trial.values)
            else:
                identity = self._storage.create_new_trial(self._id, trial)
            if lesson.running:
                self._running[lesson.number] = identity

    def ask(self, by: TPESampler) -> Point:
        """The point that a sampler names next."""
        self._study.sampler = by
        trial, point = self._study.ask(), Point()
        for parameter in self._spec.parameters:
            if counts(parameter, point):
                point[parameter.name] = _named(trial, parameter, self._distributions[parameter.name])
        self._study.tell(trial, state=TrialState.FAIL)
        return arranged(self._spec, point)

    def _trial(self, lesson: Lesson) -> FrozenTrial:
        """A point as Optuna is told of it. One that failed is there, but without a value: the sampler keeps away."""
        if lesson.running:
            state = TrialState.RUNNING
        elif lesson.value is not None:
            state = TrialState.COMPLETE
        else:
            state = TrialState.PRUNED if lesson.broke else TrialState.FAIL
        try:
            return create_trial(
                state=state,
                value=lesson.value,
                params={name: _told(self._ranges[name], value) for name, value in lesson.parameters.items()},
                distributions={name: self._distributions[name] for name in lesson.parameters},
                constraints={str(place): value for place, value in enumerate(lesson.violations)},
            )
        except (KeyError, ValueError) as error:
            given = json.dumps(lesson.parameters)
            raise ValueError(f"point {lesson.number} must lie in the space of the search, got {given}") from error


def _distribution(spec: SearchSpec, parameter: Parameter) -> BaseDistribution:
    """What Optuna draws a parameter from: of a range with steps, which one."""
    interval = parameter.range
    if interval is None:
        return CategoricalDistribution(parameter.choices)
    if interval.count is not None:
        return IntDistribution(0, interval.count - 1)
    log = interval.scale == "Log"
    if (whole := whole_numbers(spec, parameter)) is not None:
        return IntDistribution(*whole, log=log)
    return FloatDistribution(interval.min, interval.max, log=log)


def _told(interval: Range | None, value: Scalar) -> Scalar:
    """A parameter's value as Optuna is told of it."""
    if interval is None or interval.step is None or isinstance(value, str):
        return value
    return round((value - interval.min) / interval.step)


def _named(trial: optuna.Trial, parameter: Parameter, by: BaseDistribution) -> Scalar:
    """The value that Optuna names for a parameter of a trial."""
    if isinstance(by, FloatDistribution):
        return float(trial.suggest_float(parameter.name, by.low, by.high, log=by.log))
    if isinstance(by, IntDistribution):
        whole = int(trial.suggest_int(parameter.name, by.low, by.high, log=by.log))
        return whole if parameter.count is None else parameter.at(whole)
    choice: Scalar = trial.suggest_categorical(parameter.name, by.choices)
    return choice
