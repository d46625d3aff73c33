"""Which trials train together in one process, and how packs are dealt to slots. Pure.

docs/decisions/0027-packed-training.md says why.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trainer.experiment.bounds import PEAK_MEMORY
from trainer.experiment.expand import Trial, canonical
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.training import Training
from trainer.scheduling.decide import Start
from trainer.scheduling.workload import Workload

MOST_TOGETHER = 32  # more train no faster, each for itself: what they work on leaves the core's cache
# What members of a pack may differ in, by section of `training`.
_OWN = {
    "model": ("dropout",),
    "train": ("learning_rate", "weight_decay", "seed", "epochs", "patience"),
}


def none_packed(work: Workload) -> str | None:
    """Why an experiment that asks for packs gets none, in words; None where it may, or doesn't ask."""
    experiment = work.experiment
    if not isinstance(experiment, HyperparamSearch) or experiment.spec.packing == "None":
        return None
    spec = experiment.spec
    if spec.program is not None:
        return "these trials run a program, and only Trialrun's own trainer can pack trials"
    if _is_shared(spec.objective.metric):
        return f"the objective is {spec.objective.metric}, which those of a pack share"
    for constraint in spec.constraints:
        if _is_shared(constraint.metric):
            return f"a constraint bounds {constraint.metric}, which those of a pack share"
    if work.points is None:
        return None
    if spec.repeats == 1:
        return "of a search that learns the repeats of a point train together, and each point has one trial"
    reasons = [trains_alone(trial) for trial in work.samples]
    return None if None in reasons else reasons[0]


def _is_shared(metric: str) -> bool:
    known = OBJECTIVES.get(metric)
    return metric == PEAK_MEMORY or (known is not None and known.part == "seconds")


def trains_alone(trial: Trial) -> str | None:
    """Why a trial can't train together with others, in words; None where it can."""
    training = trial.training
    if training.model.kind != "MLP":
        return f"model.kind is {training.model.kind}"
    if trial.workers > 1:
        return f"it has {trial.workers} workers"
    if training.data.source == "kafka":
        return "each trial reads its topic itself"
    if training.data.residency == "Streaming":
        return "data.residency is Streaming"
    if training.train.checkpoint_every:
        return "it writes checkpoints"
    return None


def shape(training: Training) -> str:
    """What trials must have in common to train together, as text."""
    common = {
        name: (section := getattr(training, name)).model_copy(
            update={each: type(section).model_fields[each].default for each in own}
        )
        for name, own in _OWN.items()
    }
    return canonical(training.model_copy(update=common).document(sparse=True))


@dataclass
class Dealer:
    """Deals what waits to slots. Memory has room for `most` members; those `alone` are packed with no other.

    `in_order` keeps to the order in which they are listed, for a budget that may end before all have run.
    """

    most: Callable[[Training], int]
    alone: set[str] = field(default_factory=set)
    in_order: bool = False
    _known: dict[str, tuple[str, float]] = field(default_factory=dict)  # group and work, by trial

    def deal(self, waiting: Sequence[Start], slots: int) -> list[list[Start]]:
        """At most `slots` packs of those that wait, the longest first or in order; the others wait on.

        One that would take longer than its share of everything is divided, so that all slots end at about the same
        time.
        """
        groups: dict[str, list[Start]] = {}
        for start in waiting:
            groups.setdefault(self._of(start)[0], []).append(start)
        share = math.fsum(self._of(start)[1] for start in waiting) / slots
        packs = list[tuple[float, list[Start]]]()
        for members in groups.values():
            work = math.fsum(self._of(start)[1] for start in members)
            most = 1 if len(members) == 1 else min(MOST_TOGETHER, self.most(members[0].trial.training))
            fit = math.ceil(len(members) / most)
            parts = max(fit, round(work / share))
            if parts > slots:
                parts = math.ceil(parts / slots) * slots  # as many in every slot
            parts = min(len(members), parts)
            packs += [(work / parts, members[part::parts]) for part in range(parts)]
        if self.in_order:
            place = {start.trial.id: at for at, start in enumerate(waiting)}
            packs.sort(key=lambda pack: place[pack[1][0].trial.id])
        else:
            packs.sort(key=lambda pack: -pack[0])  # of equals the one that is listed first
        return [members for _, members in packs[:slots]]

    def _of(self, start: Start) -> tuple[str, float]:
        trial = start.trial
        if (known := self._known.get(trial.id)) is None:
            single = trains_alone(trial) is not None
            known = trial.id if single else shape(trial.training), _work(trial.training)
            self._known[trial.id] = known
        return (trial.id, known[1]) if trial.id in self.alone else known


def _work(training: Training) -> float:
    """About how long a trial trains, beside the others of its experiment: its weights, by its epochs and samples."""
    model, data = training.model, training.data
    inputs = data.window * len(data.columns)
    weights = (inputs + (model.layers - 1) * model.hidden_size) * model.hidden_size
    return float(weights * training.train.epochs * data.multiplier)
