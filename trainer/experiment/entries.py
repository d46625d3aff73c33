"""What the ledger of an experiment holds, wherever it is kept, and the trials that follow from it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.experiment.expand import Trial, expand, planned
from trainer.experiment.record import Record
from trainer.experiment.rung import RungEntry
from trainer.experiment.space import Point
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.experiment.suggestion import Suggestion, in_order


@dataclass(frozen=True)
class Entries:
    """Every entry, each kind in the order of writing. `only` are the ids of the trials that a replay has."""

    records: Sequence[Record] = ()
    suggestions: Sequence[Suggestion] = ()
    rungs: Sequence[RungEntry] = ()
    only: frozenset[str] | None = None

    def suggested(self, experiment: Experiment) -> list[Point]:
        """The points that were suggested of a learning search, in the order of their numbers."""
        if not isinstance(experiment, HyperparamSearch):
            return []
        return [each.parameters for each in in_order(self.suggestions, len(experiment.spec.points))]

    def trials(self, experiment: Experiment) -> list[Trial]:
        """All trials of the experiment so far.

        Raises:
            InvalidExperiment: as `expand`.
        """
        trials = expand(experiment, self.suggested(experiment))
        return trials if self.only is None else [trial for trial in trials if trial.id in self.only]

    def planned(self, experiment: Experiment) -> int | None:
        """How many points there are to be, None for those that there are."""
        return planned(experiment) if self.only is None else None
