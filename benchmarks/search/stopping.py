"""How many steps does early stopping save, and how good is the best that it leaves? Three trainings, replayed."""

import importlib.util
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from benchmarks.search.figures import spread, table
from benchmarks.search.problems import PLAIN
from benchmarks.search.trainings import STEPS, TRAININGS, Training, curves
from benchmarks.timing import median
from trainer.experiment.bounds import EarlyStopping
from trainer.experiment.expand import expand
from trainer.scheduling.stopping.rungs import Rungs

ORDERS = 20
AT_ONCE = 4
REDUCTION = 3
_NEAR = 0.02  # of the full search's range

# Is told a trial, a step from 1 and the value after it, and says whether the trial ends there.
Stopper = Callable[[int, int, float], bool]
Rule = Callable[[Training, int], Stopper]  # made anew for each random order


def main() -> None:
    """Prints the share of the steps run and the regret of what is named, for each training and rule."""
    for training in TRAININGS:
        _compare(training, curves(training))


@dataclass(frozen=True)
class Replay:
    """How far each trial ran, and the cost that each would have come to."""

    lengths: Mapping[int, int]
    costs: Sequence[float]

    @property
    def share(self) -> float:
        """Of all steps those that were run."""
        return sum(self.lengths.values()) / (STEPS * len(self.lengths))

    @property
    def regret(self) -> float:
        """What the best of those that ran to their end costs more than the best of all; where none did, the worst."""
        ended = (self.costs[trial] for trial, steps in self.lengths.items() if steps == STEPS)
        return min(ended, default=max(self.costs)) - min(self.costs)


def replayed(training: Training, told: Sequence[list[float]], order: Sequence[int], stops: Stopper) -> Replay:
    """The trials in this order, four at once, each a step in turn, the next beginning where one ends."""
    waiting, running, lengths = deque(order), deque[int](), dict[int, int]()
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            running.append(waiting.popleft())
        trial = running.popleft()
        step = lengths[trial] = lengths.get(trial, 0) + 1
        if not stops(trial, step, told[trial][step - 1]) and step < STEPS:
            running.append(trial)
    return Replay(lengths, [training.cost(curve) for curve in told])


def _ours(**early: Any) -> Rule:
    """Trialrun's rungs."""

    def made(training: Training, _: int) -> Stopper:
        rungs = Rungs(EarlyStopping.model_validate(early), training.direction, repeats=1)
        trials = expand(PLAIN.search("Random", 100, 0))  # any will do: only who is who matters

        def stops(trial: int, step: int, value: float) -> bool:
            entry = rungs.entry(trials[trial], 1, step, {training.metric: value}, training.metric)
            if entry is not None:
                rungs.enter(entry, trial)
            return trial in rungs.stopped

        return stops

    return made


def _optuna(pruner: Callable[[], optuna.pruners.BasePruner]) -> Rule:
    """A pruner of Optuna's."""

    def made(training: Training, order: int) -> Stopper:
        # Hyperband deals its brackets out by the study's name.
        study = optuna.create_study(pruner=pruner(), direction=training.direction.lower(), study_name=str(order))
        trials: dict[int, optuna.Trial] = {}

        def stops(number: int, step: int, value: float) -> bool:
            if step == 1:
                trials[number] = study.ask()
            trial = trials[number]
            trial.report(value, step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return True
            if step == STEPS:
                study.tell(trial, value)
            return False

        return stops

    return made


@dataclass(frozen=True)
class _RayTrial:
    """All that the scheduler wants of a trial."""

    trial_id: int


def _ray(training: Training, _: int) -> Stopper:
    """Ray Tune's ASHA, without its processes."""
    from ray.tune.schedulers import AsyncHyperBandScheduler

    mode = "min" if training.direction == "Minimize" else "max"
    scheduler = AsyncHyperBandScheduler(
        "step", "value", mode, max_t=STEPS, grace_period=1, reduction_factor=REDUCTION
    )

    def stops(trial: int, step: int, value: float) -> bool:
        if step == 1:
            scheduler.on_trial_add(None, _RayTrial(trial))
        said = scheduler.on_trial_result(None, _RayTrial(trial), {"step": step, "value": value})
        return bool(said == "STOP")

    return stops


def _at(lengths: Mapping[int, int]) -> Stopper:
    """Each trial ends after so many steps of its own."""
    return lambda trial, step, _: step == lengths[trial]


RULES: dict[str, Rule] = {
    "ASHA": _ours(rule="ASHA", reduction=REDUCTION),
    "ASHA, minStep 3": _ours(rule="ASHA", reduction=REDUCTION, minStep=3),
    "Median": _ours(rule="Median"),
    "Optuna, SuccessiveHalving": _optuna(
        lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    ),
    "Optuna, Hyperband": _optuna(
        lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=STEPS, reduction_factor=REDUCTION)
    ),
    "Optuna, Median": _optuna(optuna.pruners.MedianPruner),
    **({"Ray Tune, ASHA": _ray} if importlib.util.find_spec("ray") else {}),
}
_CHANCE = {f"random, as long as by {rule}": rule for rule in ("ASHA", "Median")}


def _compare(training: Training, told: Sequence[list[float]]) -> None:
    found: dict[str, list[Replay]] = {name: [] for name in ("none", *RULES, *_CHANCE)}
    for order in range(ORDERS):
        rng = random.Random(order)
        trials = rng.sample(range(len(told)), len(told))
        found["none"].append(replayed(training, told, trials, _at(dict.fromkeys(trials, STEPS))))
        for name, rule in RULES.items():
            found[name].append(replayed(training, told, trials, rule(training, order)))
        for name, rule_of in _CHANCE.items():
            lengths = list(found[rule_of][-1].lengths.values())
            dealt = dict(zip(trials, rng.sample(lengths, len(lengths)), strict=True))
            found[name].append(replayed(training, told, trials, _at(dealt)))
    costs = [training.cost(curve) for curve in told]
    table(
        f"{training.name}: {len(told)} points of {STEPS} steps, {AT_ONCE} at once; medians of {ORDERS} random "
        "orders; bar for ASHA: at most 35 % of the steps, and within 2 %",
        ["% of the steps", "regret, % of the range", "% of best to median", "within 2 % of the range"],
        [
            (name, _cells(replays, max(costs) - min(costs), median(costs) - min(costs)))
            for name, replays in found.items()
        ],
    )


def _cells(replays: Sequence[Replay], span: float, half: float) -> list[str]:
    return [
        spread([100 * each.share for each in replays]),
        spread([100 * each.regret / span for each in replays]),
        spread([100 * each.regret / half for each in replays]),
        f"{sum(each.regret <= _NEAR * span for each in replays)} of {len(replays)}",
    ]
