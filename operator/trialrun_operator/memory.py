"""What is remembered of an experiment between two looks, to save reads and bound writes. Losing it loses nothing."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from trainer.experiment.errors import InvalidExperiment
from trainer.scheduling.decide import Start
from trainer.scheduling.history import History
from trainer.scheduling.workload import BASELINE, Workload
from trialrun_operator import standing
from trialrun_operator.book import Book
from trialrun_operator.conditions import Problem
from trialrun_operator.kube import Kube
from trialrun_operator.ledger import shard_of
from trialrun_operator.measurements import Measurements, imported
from trialrun_operator.names import Key
from trialrun_operator.standing import Standing
from trialrun_operator.store import ExperimentObject
from trialrun_operator.workload import workload

# Ledger and status are written at most once in so long for an experiment.
BEAT_SECONDS = 1.0
_FIRST_HOLD_SECONDS = 2.0
_MAX_HOLD_SECONDS = 60.0
_DELETION_SECONDS = 30.0
_NEVER = float("-inf")


@dataclass
class _Hold:
    until: float
    seconds: float
    problem: Problem | None


@dataclass
class Memory:
    """Of one experiment, by UID. Times are those of `clock`, in seconds, which never goes back."""

    uid: str
    book: Book
    measurements: Measurements
    clock: Callable[[], float]
    fresh: bool = False  # whether book and baseline were compared with the cluster since the last resync
    imported: Standing | None = None
    over: bool = False
    # Jobs that may exist: it is not known whether they were created.
    unanswered: set[str] = field(default_factory=set)
    _generation: int = -1
    _workload: Workload | InvalidExperiment | None = None
    _history: tuple[tuple[Workload, int, int], History] | None = None
    _last_beat: float = _NEVER
    _blocked: dict[tuple[str, int], _Hold] = field(default_factory=dict)
    _hold: _Hold | None = None
    _deleted: dict[str, float] = field(default_factory=dict)

    async def workload(self, seen: ExperimentObject) -> Workload:
        """The experiment's workload, made once for each generation.

        Raises:
            InvalidExperiment: with all mistakes.
        """
        if self._workload is None or self._generation != seen.generation:
            try:
                # Thousands of trials take a while, and the watches must not wait.
                self._workload = await asyncio.to_thread(workload, seen.document)
            except InvalidExperiment as invalid:
                self._workload = invalid
            self._generation = seen.generation
            self.fresh, self.imported = False, None  # it may want another baseline now
        if isinstance(self._workload, InvalidExperiment):
            raise self._workload
        return self._workload

    def history(self, work: Workload, accepted: int) -> History:
        """What the book says of the trials, worked out once for each of its editions."""
        known, now = self._history, (work, self.book.edition, accepted)
        if known is None or known[0][0] is not work or known[0][1:] != now[1:]:
            known = self._history = now, History(work, self.book.records, accepted)
        return known[1]

    async def refresh(self, kube: Kube, key: Key, work: Workload, creates: Sequence[Start] = ()) -> bool:
        """Compares the book, and the baseline if there is to be one, with the cluster; says whether they differed.

        Once all was compared since the last resync, only what may speak against `creates` is: the rest of a long
        ledger costs nothing then. If that does, all is compared: what is created instead may lie anywhere.
        """
        trials = [each.trial for each in creates if each.trial.id != BASELINE]
        some = self.fresh and bool(creates)
        differed = await self.book.refresh(frozenset(shard_of(trial.index) for trial in trials) if some else None)
        if work.measures_baseline and (not some or len(trials) < len(creates)):
            differed = await self.measurements.refresh() or differed
        if some and differed:
            await self.refresh(kube, key, work)
            return True
        if work.imports_baseline and (self.imported is None or self.imported.figures is None):
            data = await imported(kube, key)
            # Hundreds of records take a while, and the watches must not wait.
            self.imported = await asyncio.to_thread(standing.imported, work, data)
        self.fresh = self.fresh or not some
        return differed

    def beat_due(self) -> bool:
        """Whether ledger and status may be written now; if so this is the beat."""
        if self.until_beat() > 0:
            return False
        self.beat()
        return True

    def beat(self) -> None:
        """Notes that something was written."""
        self._last_beat = self.clock()

    def until_beat(self) -> float:
        """Seconds until ledger and status may be written again."""
        return max(0.0, self._last_beat + BEAT_SECONDS - self.clock())

    def block(self, attempt: Start, problem: Problem | None) -> None:
        """Keeps an attempt's job from being created for a while: its name is taken."""
        key = attempt.trial.id, attempt.attempt
        self._blocked[key] = _longer(self._blocked.get(key), problem, self.clock())

    def unblock(self, attempt: Start) -> None:
        """The attempt's job was created."""
        self._blocked.pop((attempt.trial.id, attempt.attempt), None)

    def blocked(self) -> frozenset[tuple[str, int]]:
        """The attempts, by trial id and number, whose jobs are not to be created at present."""
        now = self.clock()
        return frozenset(attempt for attempt, hold in self._blocked.items() if hold.until > now)

    def hold(self, problem: Problem | None) -> None:
        """Keeps all jobs from being created for a while: the API server refuses them."""
        self._hold = _longer(self._hold, problem, self.clock())

    def release(self) -> None:
        """A job was created."""
        self._hold = None

    def held(self) -> bool:
        """Whether no job is to be created at present."""
        return self._hold is not None and self._hold.until > self.clock()

    def problem(self) -> Problem | None:
        """What keeps jobs from being created, if a user should know it."""
        holds = [self._hold, *(self._blocked[attempt] for attempt in sorted(self._blocked))]
        return next((hold.problem for hold in holds if hold is not None and hold.problem is not None), None)

    def until_unblocked(self) -> float | None:
        """Seconds until a job that could not be created may be tried again; None when there is none."""
        holds = [*self._blocked.values(), *([self._hold] if self._hold is not None else [])]
        now = self.clock()
        return min((hold.until - now for hold in holds if hold.until > now), default=None)

    def deletes(self, uid: str) -> None:
        """Notes that an object's deletion was asked for."""
        now = self.clock()
        self._deleted = {each: when for each, when in self._deleted.items() if when > now - _DELETION_SECONDS}
        self._deleted[uid] = now

    def deleted(self, uid: str) -> bool:
        """Whether an object's deletion was asked for a short while ago, and may not have been seen yet."""
        return self._deleted.get(uid, _NEVER) > self.clock() - _DELETION_SECONDS


def _longer(before: _Hold | None, problem: Problem | None, now: float) -> _Hold:
    seconds = min(_MAX_HOLD_SECONDS, 2 * before.seconds) if before is not None else _FIRST_HOLD_SECONDS
    return _Hold(now + seconds, seconds, problem)


class Memories:
    """The memories of all experiments."""

    def __init__(self, kube: Kube, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._clock = clock
        self._memories: dict[Key, Memory] = {}

    def of(self, seen: ExperimentObject) -> Memory:
        """The memory of this experiment, a new one if it is not the one that had this name before."""
        memory = self._memories.get(seen.key)
        if memory is None or memory.uid != seen.uid:
            memory = self._memories[seen.key] = Memory(
                seen.uid,
                Book(self._kube, seen.key, seen.uid),
                Measurements(self._kube, seen.key, seen.uid),
                self._clock,
            )
        return memory

    def forget(self, key: Key) -> None:
        """The experiment is gone."""
        self._memories.pop(key, None)

    def expire(self, there: Iterable[Key]) -> None:
        """Has the books of unfinished experiments compared with the cluster again; forgets all that are not `there`.

        A LIST may find out that one was deleted before a watch tells, and then no look follows on it.
        """
        self._memories = {key: memory for key in there if (memory := self._memories.get(key)) is not None}
        for memory in self._memories.values():
            memory.fresh = memory.fresh and memory.over
