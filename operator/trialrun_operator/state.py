"""What is kept of an experiment between two looks, to save reads and bound writes. Losing it loses nothing."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from trainer.experiment.comparable import contents
from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.record import INPUTS
from trainer.experiment.suggestion import Suggestion
from trainer.scheduling.decide import Start
from trainer.scheduling.history import Ledger
from trainer.scheduling.workload import Workload
from trialrun_operator import baseline_status
from trialrun_operator.baseline_status import BaselineStatus
from trialrun_operator.conditions import Problem
from trialrun_operator.kube import Kube
from trialrun_operator.ledger_store import LedgerStore, imported_data
from trialrun_operator.lessons import Lessons
from trialrun_operator.names import Key, Resource
from trialrun_operator.orders import Code, Known
from trialrun_operator.store import ExperimentObject
from trialrun_operator.workload import differs, take_in, workload

# Ledger and status are written at most once in so long for an experiment, and so rarely that working out the status,
# which grows with the number of trials, takes a twentieth of the time.
WRITE_INTERVAL_SECONDS = 1.0
_STATUS_SHARE = 0.05
_FIRST_BACKOFF_SECONDS = 2.0
_MAX_BACKOFF_SECONDS = 60.0
_DELETION_SECONDS = 30.0
# Events and Workloads, of which a namespace may have thousands, are listed at most once in so long.
_ASK_INTERVAL_SECONDS = 10.0
_NEVER = float("-inf")


@dataclass
class _Backoff:
    until: float
    seconds: float
    problem: Problem | None


@dataclass
class ExperimentState:
    """Of one experiment, by UID. Times are those of `clock`, in seconds, which never goes back."""

    uid: str
    ledger: LedgerStore
    clock: Callable[[], float]
    fresh: bool = False  # whether ledger and baseline were compared with the cluster since the last resync
    imported: BaselineStatus | None = None
    idle: bool = False
    crowded: bool = False  # whether a quota has refused a job, and no room was made since
    makes_room: bool = False  # whether jobs were deleted for that
    # Jobs that may exist: it is not known whether they were created.
    unanswered: set[str] = field(default_factory=set)
    # What jobs share, by name, as far as it is known to be there; it is made by one at a time.
    provided: set[str] = field(default_factory=set)
    providing: asyncio.Lock = field(default_factory=asyncio.Lock)
    unknown: frozenset[str] = frozenset()  # trials that have jobs and that the ledger was asked for in vain
    lessons: Lessons = field(default_factory=Lessons)
    code: Code | None = None  # that a program's trials run, once it is known
    _inputs: str | None = None
    _generation: int = -1
    _taken_in: Sequence[Suggestion] = ()  # by the workload
    _workload: Workload | InvalidExperiment | None = None
    _last_write: float = _NEVER
    _last_suggestion: float = _NEVER
    _status_seconds: float = 0.0
    _last_asked: dict[Resource, float] = field(default_factory=dict)
    queue_words: str = ""  # why jobs wait in a queue, as it was told last
    _blocked: dict[tuple[str, int], _Backoff] = field(default_factory=dict)
    _backoff: _Backoff | None = None
    _deleted: dict[str, float] = field(default_factory=dict)

    async def workload(self, seen: ExperimentObject) -> Workload:
        """The experiment's workload, made once for each generation, with the points that its ledger is known to have.

        Raises:
            InvalidExperiment: with all mistakes.
        """
        suggestions = self.ledger.suggestions
        if self._workload is None or self._generation != seen.generation or self._differs(suggestions):
            try:
                # Thousands of trials take a while, and the watches must not wait.
                self._workload = await asyncio.to_thread(workload, seen.document, suggestions)
            except InvalidExperiment as invalid:
                self._workload = invalid
            self._generation, self._taken_in = seen.generation, suggestions
            self.lessons = Lessons()
            self.fresh, self.imported = False, None  # it may want another baseline now
        if isinstance(self._workload, InvalidExperiment):
            raise self._workload
        return self._workload

    def _differs(self, suggestions: Sequence[Suggestion]) -> bool:
        if suggestions is self._taken_in or not isinstance(self._workload, Workload):
            return False
        return differs(self._workload, suggestions)

    def grow(self, work: Workload) -> None:
        """Takes into a learning search's workload the points that its ledger has by now.

        Raises:
            InvalidExperiment: one makes no valid training.
        """
        if self.ledger.suggestions is self._taken_in:
            return
        self._taken_in = self.ledger.suggestions
        try:
            grown = take_in(work, self._taken_in)
        except InvalidExperiment as invalid:
            self._workload = invalid  # as the next look says
            raise
        if grown and work.imports_baseline:
            self.fresh, self.imported = False, None  # its figures are of the trials that there are

    async def refresh(self, kube: Kube, key: Key, work: Workload, starts: Sequence[Start] = ()) -> bool:
        """Compares the ledger, and a baseline to import, with the cluster; says whether the ledger differed.

        Once all was compared since the last resync, only what may speak against `starts` is.
        """
        if self.fresh and starts:
            differed = await self.ledger.refresh(starts)
            self.grow(work)
            return differed
        differed = await self.ledger.refresh()
        self.grow(work)
        if work.imports_baseline and (self.imported is None or self.imported.figures is None):
            data = await imported_data(kube, key)
            # Hundreds of records take a while, and the watches must not wait.
            self.imported = await asyncio.to_thread(baseline_status.imported, work, data)
        self.fresh = True
        return differed

    def known(self, work: Workload) -> Known:
        """What is known of the experiment beside its file."""
        program = work.experiment.spec.program
        if program is not None and program.inputs and self._inputs is None:
            self._inputs = first_told(work, self.ledger.records, INPUTS)
        return Known(self.ledger.records.keys(), self.code, self._inputs)

    def may_write(self) -> bool:
        """Whether ledger and status may be written now; if so, that is noted."""
        if self.until_write() > 0:
            return False
        self._last_write = self.clock()
        return True

    def until_write(self) -> float:
        """Seconds until ledger and status may be written again."""
        interval = max(WRITE_INTERVAL_SECONDS, self._status_seconds / _STATUS_SHARE)
        return max(0.0, self._last_write + interval - self.clock())

    def may_suggest(self) -> bool:
        """Whether suggestions may be written to the ledger now; if so, that is noted."""
        if self.until_suggest() > 0:
            return False
        self._last_suggestion = self.clock()
        return True

    def until_suggest(self) -> float:
        """Seconds until suggestions may be written again."""
        return max(0.0, self._last_suggestion + WRITE_INTERVAL_SECONDS - self.clock())

    def status_took(self, seconds: float) -> None:
        """Notes how long the status took to be worked out."""
        self._status_seconds = seconds

    def may_ask(self, kind: Resource) -> bool:
        """Whether what else happens, told by objects of this kind, may be listed now; if so, that is noted."""
        if self.until_ask(kind) > 0:
            return False
        self._last_asked[kind] = self.clock()
        return True

    def until_ask(self, kind: Resource) -> float:
        """Seconds until they may be listed again."""
        return max(0.0, self._last_asked.get(kind, _NEVER) + _ASK_INTERVAL_SECONDS - self.clock())

    def block(self, start: Start, problem: Problem | None) -> None:
        """Keeps an attempt's job from being created for a while: its name is taken."""
        key = start.trial.id, start.attempt
        self._blocked[key] = _longer(self._blocked.get(key), problem, self.clock())

    def unblock(self, start: Start) -> None:
        """The attempt's job was created."""
        self._blocked.pop((start.trial.id, start.attempt), None)

    def blocked(self) -> frozenset[tuple[str, int]]:
        """The attempts, by run and number, whose jobs are not to be created at present."""
        now = self.clock()
        return frozenset(attempt for attempt, backoff in self._blocked.items() if backoff.until > now)

    def back_off(self, problem: Problem | None) -> None:
        """Keeps all jobs from being created for a while: the API server refuses them."""
        self._backoff = _longer(self._backoff, problem, self.clock())

    def created(self) -> None:
        """A job was created, so others may be."""
        self._backoff, self.crowded = None, False

    def made_room(self) -> None:
        """Jobs were deleted for others. It takes a moment until a quota counts them no longer."""
        self.makes_room, self.crowded = True, False
        self._backoff = _longer(None, None, self.clock())

    def backing_off(self) -> bool:
        """Whether no job is to be created at present."""
        return self._backoff is not None and self._backoff.until > self.clock()

    def problem(self) -> Problem | None:
        """What keeps jobs from being created, if a user should know it."""
        backoffs = [self._backoff, *(self._blocked[attempt] for attempt in sorted(self._blocked))]
        return next((each.problem for each in backoffs if each is not None and each.problem is not None), None)

    def until_retry(self) -> float | None:
        """Seconds until a job that could not be created may be tried again; None when there is none."""
        backoffs = [*self._blocked.values(), *([self._backoff] if self._backoff is not None else [])]
        now = self.clock()
        return min((each.until - now for each in backoffs if each.until > now), default=None)

    def deletes(self, uid: str) -> None:
        """Notes that an object's deletion was asked for."""
        now = self.clock()
        self._deleted = {each: when for each, when in self._deleted.items() if when > now - _DELETION_SECONDS}
        self._deleted[uid] = now

    def deleted(self, uid: str) -> bool:
        """Whether an object's deletion was asked for a short while ago, and may not have been seen yet."""
        return self._deleted.get(uid, _NEVER) > self.clock() - _DELETION_SECONDS


def first_told(work: Workload, ledger: Ledger, key: str) -> str | None:
    """What the first of a program's trials that succeeded tells in its evidence under `key`; None where none does."""
    runs = ((work.by_id.get(identity), records) for identity, records in ledger.items())
    first = contents((trial, record) for trial, records in runs if trial is not None for record in records)
    return None if (found := first.get((key, ()))) is None else str(found)


def _longer(before: _Backoff | None, problem: Problem | None, now: float) -> _Backoff:
    seconds = min(_MAX_BACKOFF_SECONDS, 2 * before.seconds) if before is not None else _FIRST_BACKOFF_SECONDS
    return _Backoff(now + seconds, seconds, problem)


class ExperimentStates:
    """The states of all experiments."""

    def __init__(self, kube: Kube, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._clock = clock
        self._states: dict[Key, ExperimentState] = {}

    def of(self, seen: ExperimentObject) -> ExperimentState:
        """The state of this experiment, a new one if it is not the one that had this name before."""
        state = self._states.get(seen.key)
        if state is None or state.uid != seen.uid:
            ledger = LedgerStore(self._kube, seen.key, seen.uid)
            state = self._states[seen.key] = ExperimentState(seen.uid, ledger, self._clock)
        return state

    def forget(self, key: Key) -> None:
        """The experiment is gone."""
        self._states.pop(key, None)

    def expire(self, there: Iterable[Key]) -> None:
        """Has the ledgers of unfinished experiments compared with the cluster again; forgets what is not `there`.

        A LIST may find out that one was deleted before a watch tells, and then no look follows on it.
        """
        self._states = {key: state for key in there if (state := self._states.get(key)) is not None}
        for state in self._states.values():
            state.fresh = state.fresh and state.idle
