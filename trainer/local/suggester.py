"""The process that suggests points of a learning search here: it is told what is known, and asked one by one."""

import selectors
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.suggestion import Suggestion
from trainer.local.child import OURS, Child
from trainer.local.launcher import LauncherEnded
from trainer.scheduling.history import History
from trainer.scheduling.lessons import Lesson, as_json, lesson
from trainer.scheduling.workload import Workload

LOG = "suggestions.log"


@dataclass
class Suggester:
    """Asks for one point at a time. A context: leaving it ends the process.

    What is known of a point is told with the next question after it has changed. `earlier` are lessons of another
    search.
    """

    work: Workload
    history: History
    log: Path
    earlier: Sequence[Lesson] = ()
    asked: int | None = None
    _changed: set[int] = field(default_factory=set)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def __enter__(self) -> "Suggester":
        search = self.work.experiment
        assert isinstance(search, HyperparamSearch), "only searches learn"  # noqa: S101
        self._objective, self._constraints = search.spec.objective, search.spec.constraints
        self._child = Child((*OURS, "trainer.suggesting.child"), "the process that suggests points", self.log)
        self._child.start()
        self._selector.register(self._child.events, selectors.EVENT_READ)
        document, earlier = search.document(sparse=True), [as_json(each) for each in self.earlier]
        self._child.ask(do="begin", search="", experiment=document, earlier=earlier)
        self._changed.update(self.work.by_point)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._selector.close()
        self._child.end()

    def changed(self, point: int) -> None:
        """There is something new of a point: it is to be tried, or one of its trials has ended."""
        self._changed.add(point)

    def ask(self) -> None:
        """Asks for the next point, unless one is asked for already."""
        if self.asked is not None:
            return
        if self._changed:
            lessons = [as_json(self._lesson(point)) for point in sorted(self._changed)]
            self._child.ask(do="learn", search="", lessons=lessons)
            self._changed.clear()
        self.asked = len(self.work.by_point)
        self._child.ask(do="suggest", search="", number=self.asked)

    def answer(self, timeout: float) -> list[Suggestion | None]:
        """What is suggested, waiting at most `timeout` seconds for it; None says that every point has been tried.

        Raises:
            LauncherEnded: nothing can be suggested any more.
        """
        if not self._selector.select(timeout):
            return []
        found: list[Suggestion | None] = []
        for event in self._child.heard():
            if event["event"] == "failed":
                raise LauncherEnded(f"the process that suggests points says: {event['error']}")
            if event["event"] == "suggested":
                found.append(
                    Suggestion(
                        number=event["number"],
                        parameters=event["parameters"],
                        learnt_from=event["learntFrom"],
                        why=event["why"],
                    )
                )
                self.asked = None
            elif event["event"] == "exhausted":
                found.append(None)
                self.asked = None
        return found

    def _lesson(self, point: int) -> Lesson:
        trials = self.work.by_point[point]
        return lesson(point, trials, self.history.latest(trials), self._objective, self._constraints)
