"""An experiment as both places run it: expanded, in order, with what bounds each run."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from trainer.experiment.bounds import Budget
from trainer.experiment.doubts import doubts, ignored
from trainer.experiment.expand import Kind, Trial, TrialMaker, by_point, expand, planned, samples
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.program import Invocation
from trainer.experiment.space import Point
from trainer.experiment.spec import Experiment, HyperparamSearch, ScaleTest
from trainer.experiment.training import Training

# The longest that Kubernetes lets a pod run.
_MAX_SECONDS = 2**31 - 1
_MAX_TRIAL_SECONDS = 31_536_000
BASELINE = "baseline"  # the id of the run that measures one


@dataclass
class Workload:
    """What there is to run. `order` holds the trials as they start, `trials` as they are listed.

    A learning search `grows` by the points that are suggested, until it has `points` many; None of another. `samples`
    are trials such as there are or, where it learns, may come to be.

    `floors` go before the first trial, so that a scale test's cells can be limited; `baseline` is run when a search
    is over. `doubts` are what a new experiment is refused for, and one that was accepted before is warned of;
    `ignored` is what it gives and no trial reads. A run has at most `most_attempts`, None for as many as are asked
    for.
    """

    experiment: Experiment
    trials: list[Trial]
    order: list[Trial]
    points: int | None = None
    floors: tuple[Trial, ...] = ()
    baseline: Trial | None = None
    samples: Sequence[Trial] = ()
    doubts: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    most_attempts: int | None = None

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        """All runs by their identity."""
        others = self.floors if self.baseline is None else (*self.floors, self.baseline)
        return {trial.id: trial for trial in (*self.trials, *others)}

    @property
    def missing(self) -> int:
        """How many points are still to be suggested."""
        return 0 if self.points is None else max(0, self.points - len(self.trials) // self.experiment.spec.repeats)

    @cached_property
    def by_point(self) -> dict[int, list[Trial]]:
        """The trials of each point, its repeats."""
        return by_point(self.trials)

    def update(self, suggested: Sequence[Point]) -> None:
        """Takes in the points of a learning search that it lacks; `suggested` are all that the ledger has."""
        known = len(self.experiment.spec.points) if isinstance(self.experiment, HyperparamSearch) else 0
        for point in suggested[max(0, len(self.by_point) - known) :]:
            if self.missing:
                self.grow(point)

    def grow(self, point: Point) -> list[Trial]:
        """Takes in the next point of a learning search, and gives its trials.

        Raises:
            InvalidExperiment: its parameters make no valid training.
        """
        assert isinstance(self.experiment, HyperparamSearch), "only searches learn"  # noqa: S101
        made = self._maker.trials(len(self.by_point), point, self.experiment.spec.workers)
        self.by_id.update({trial.id: trial for trial in made})
        self.by_point[made[0].point] = made
        self.trials += made
        self.order += made
        return made

    @cached_property
    def _maker(self) -> TrialMaker:
        return TrialMaker(self.experiment)

    @property
    def measures_baseline(self) -> bool:
        """Whether the search is to be run again, one trial at a time."""
        return isinstance(self.experiment, HyperparamSearch) and self.experiment.spec.baseline == "Measure"

    @property
    def imports_baseline(self) -> bool:
        """Whether a user's ledger serves as baseline."""
        return isinstance(self.experiment, HyperparamSearch) and self.experiment.spec.baseline == "Import"

    def metric_of(self, trial: Trial) -> str | None:
        """The objective where this run's ranks report it; None where they are to report none."""
        return None if trial.kind is Kind.BASELINE else self.metric

    def deadline_of(self, trial: Trial) -> int:
        """The longest an attempt at this run may take, in seconds."""
        if trial.kind is Kind.BASELINE and isinstance(self.experiment, HyperparamSearch):
            # Its trials run one after another.
            return min(_MAX_SECONDS, one_at_a_time(self.experiment).spec.deadline_seconds * len(self.trials))
        if trial.kind is Kind.FLOOR:  # the first pods of all: they may have to pull the image
            return self.deadline_seconds + self.experiment.spec.pending_deadline_seconds
        return self.deadline_seconds

    @property
    def metric(self) -> str | None:
        """The objective where ranks report it; None where there is none, or it is measured from outside."""
        if not isinstance(self.experiment, HyperparamSearch):
            return None
        metric = self.experiment.spec.objective.metric
        known = OBJECTIVES.get(metric)
        return None if known is not None and known.part == "seconds" else metric

    @property
    def parallel_trials(self) -> int:
        """The most trials that may run at once on a cluster."""
        return self.experiment.spec.parallel_trials

    @property
    def max_failed_trials(self) -> int | None:
        """With more failures nothing new starts; None for a scale test, which is there to find where trials fail."""
        return self.experiment.spec.max_failed_trials if isinstance(self.experiment, HyperparamSearch) else None

    @property
    def deadline_seconds(self) -> int:
        """The longest an attempt may run."""
        if isinstance(self.experiment, HyperparamSearch):
            return self.experiment.spec.deadline_seconds
        return self.experiment.spec.cell.deadline_seconds


def workload(experiment: Experiment, suggested: Sequence[Point] = ()) -> Workload:
    """The workload of an experiment whose floors are measured by whatever starts its trials.

    Of a learning search `suggested` are the points that the ledger has, in the order of their numbers.

    Raises:
        InvalidExperiment: with all mistakes found.
    """
    trials, points = expand(experiment, suggested), planned(experiment)
    like = trials if points is None or isinstance(experiment, ScaleTest) else samples(experiment)
    return Workload(
        experiment,
        trials,
        list(running_order(experiment, trials)),
        points=points,
        samples=like,
        doubts=tuple(doubts(experiment, like)),
        ignored=(*ignored(experiment, like), *_few_points(experiment, trials)),
    )


def _few_points(experiment: Experiment, trials: Sequence[Trial]) -> Iterator[str]:
    """A sentence where there are fewer points than are to be tried."""
    if not isinstance(experiment, HyperparamSearch) or experiment.spec.trials is None:
        return
    there = planned(experiment)
    there = len(trials) // experiment.spec.repeats if there is None else there
    if there < experiment.spec.trials:
        yield (
            f"spec.trials: {experiment.spec.trials} is more than the {there} points that the parameters make; each "
            "of them is tried once"
        )


def running_order(experiment: Experiment, trials: Sequence[Trial]) -> Sequence[Trial]:
    """The trials in the order in which they start."""
    if experiment.spec.order == "Listed" or planned(experiment) is not None:
        return trials
    order = list(trials)
    rng = random.Random(experiment.spec.seed)
    for i in range(len(order) - 1, 0, -1):  # Fisher-Yates by hand: random.shuffle may change between versions
        j = int(rng.random() * (i + 1))
        order[i], order[j] = order[j], order[i]
    return order


def one_at_a_time(search: HyperparamSearch) -> HyperparamSearch:
    """The search as a baseline runs it: each trial by one worker, which has as long as all of them together had."""
    spec = search.spec
    longer = min(_MAX_TRIAL_SECONDS, spec.deadline_seconds * spec.workers)
    return decided(search, workers=1, deadline_seconds=longer)


def decided(search: HyperparamSearch, **changes: Any) -> HyperparamSearch:
    """The search with nothing left to decide about further trials or steps: that was done when it ran.

    `changes` are further fields of its spec.
    """
    undecided = {"early_stopping": None, "budget": Budget(), "warm_start": None}
    return search.model_copy(update={"spec": search.spec.model_copy(update=undecided | changes)})


def baseline_trial(search: HyperparamSearch, trials: Sequence[Trial]) -> Trial:
    """What measures a search's baseline: one more run, of one worker."""
    spec, last = search.spec, len(trials)
    runs: Training | Invocation = spec.training
    if spec.program is not None:
        runs = Invocation(spec.program.command, {}, spec.program.settings)
    seed = spec.seed if spec.program is not None else spec.training.train.seed
    return Trial(last, last, BASELINE, {}, 0, runs, 1, seed, Kind.BASELINE)


def floor_trials(test: ScaleTest, trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """What measures the floors of one worker and of several, which load more; nothing where no memory is limited.

    Each is a smallest cell without a limit, for one epoch: its report tells what it had before it held a sample. A
    program, which need not tell that, is only asked where the limit counts from there.
    """
    cell = test.spec.cell
    if cell.memory_above_floor is None and (cell.memory_limit is None or test.spec.program is not None):
        return ()
    smallest: dict[bool, Trial] = {}
    for trial in sorted(trials, key=lambda each: (each.multiplier, each.workers, each.index)):
        smallest.setdefault(trial.workers > 1, trial)
    return tuple(_floor(smallest[several], len(trials) + number) for number, several in enumerate(sorted(smallest)))


def _floor(cell: Trial, index: int) -> Trial:
    runs = cell.runs
    if isinstance(runs, Training):
        runs = runs.model_copy(update={"train": runs.train.model_copy(update={"epochs": 1})})
    return replace(cell, id=f"floor-{cell.workers}", index=index, point=index, runs=runs, kind=Kind.FLOOR)
