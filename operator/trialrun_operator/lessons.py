"""What is known of each point of a search that learns, worked out anew only where its records have changed. Pure."""

from collections.abc import Sequence

from trainer.experiment.record import Record
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.history import Ledger
from trainer.scheduling.lessons import Lesson, lesson
from trainer.scheduling.workload import Workload


class Lessons:
    """Those of one workload. A lesson that has not changed is the same object again."""

    def __init__(self) -> None:
        self._known: list[tuple[Sequence[Record], Lesson]] = []

    def of(self, work: Workload, ledger: Ledger) -> list[Lesson]:
        """The lessons of all points, in the order of their numbers, by what the ledger says of them."""
        search = work.experiment
        assert isinstance(search, HyperparamSearch), "only searches learn"  # noqa: S101
        for number, trials in work.by_point.items():
            latest = [ledger[trial.id][-1] for trial in trials if ledger.get(trial.id)]
            if number < len(self._known) and self._known[number][0] == latest:
                continue
            by_id = {record.id: record for record in latest}
            found = lesson(number, trials, by_id, search.spec.objective, search.spec.constraints)
            self._known[number : number + 1] = [(latest, found)]
        return [found for _, found in self._known]
