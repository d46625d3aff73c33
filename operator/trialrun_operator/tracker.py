"""Hands what ledgers hold to the process that tells MLflow, a few records at a time. A look never waits for it.

A look says that an experiment has changed, and goes on. What MLflow was told is remembered to save requests: after a
restart every record is handed over again, and the process finds out from MLflow which of them it has.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from trainer.experiment.expand import Kind
from trainer.experiment.record import Record, cut_error, encode
from trainer.scheduling.history import Ledger
from trainer.scheduling.workload import Workload
from trialrun_operator.child_process import ProcessEnded
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import Key
from trialrun_operator.suggester import Answers

_log = logging.getLogger(__name__)
PROGRAM = ("-P", "-m", "trainer.tracking", "0", "1")
PROCESS = "the process that tells MLflow"
_BATCH = 25  # records to a request
_FIRST_BACKOFF_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 60.0
_NEVER = float("-inf")


@dataclass(frozen=True)
class Tracked:
    """An experiment as a look has seen it. `records` are its ledger's, which grows; `over` says how it ended."""

    uid: str
    work: Workload
    records: Ledger
    accepted: int
    over: Mapping[str, Any] | None


@dataclass
class _Experiment:
    """What was told of an experiment, the attempt of each trial and how it ended, and what is to be told.

    A turn costs what is new. A run that the ledger takes in, or reads again, comes last in it. One that is in it gets
    another record only if it is `open`, or else once the experiment is accepted anew.
    """

    tracked: Tracked
    told: dict[str, tuple[int, int]] = field(default_factory=dict)
    due: dict[str, None] = field(default_factory=dict)  # trials that MLflow was not told, in the order of their turns
    open: set[str] = field(default_factory=set)  # told and to be tried again, or not among the trials so far
    seen: int = 0  # runs with which the ledger begins and that were looked through
    last: Sequence[Record] | None = None  # the records of the last of them
    told_over: Mapping[str, Any] | None = None
    begun: bool = False
    failure: str = ""  # why it was not told last, and was said so

    def look_through(self) -> None:
        """Finds out which trials MLflow was not told, in the runs whose records may be others than before."""
        by_id, records = self.tracked.work.by_id, self.tracked.records
        for identity in self._news():
            of_run, trial = records[identity], by_id.get(identity)
            self.open.discard(identity)
            if not of_run or (trial is not None and trial.kind is not Kind.TRIAL):
                continue
            if trial is not None and self.told.get(identity) != _which(of_run[-1]):
                self.due[identity] = None
            elif trial is None or not of_run[-1].final:
                self.open.add(identity)

    def _news(self) -> list[str]:
        records = cast(dict[str, Sequence[Record]], self.tracked.records)
        backwards = reversed(records)
        added = list(islice(backwards, max(0, len(records) - self.seen)))
        before = next(backwards, None)
        grown = before is not None and records[before] is self.last and len(records) >= self.seen
        latest = added[0] if added else before
        self.seen, self.last = len(records), None if latest is None else records[latest]
        if grown:  # what was seen is all there
            return [*self.open, *reversed(added)]
        self.due.clear()
        self.open.clear()
        return list(records)

    def was_told(self, batch: Sequence[Record], lacking: Iterable[str]) -> None:
        """MLflow was told these records, and lacks trials that it was told before."""
        for record in batch:
            self.told[record.id] = _which(record)
            self.due.pop(record.id, None)
            if not record.final:
                self.open.add(record.id)
        for trial in lacking:
            self.told.pop(trial, None)
            if trial in self.tracked.records:
                self.due[trial] = None

    def forget_told(self) -> None:
        """Nobody knows any more what was told."""
        self.told.clear()
        self.begun, self.last = False, None


class Tracker:
    """Experiments by key. `clock` gives seconds that never go back."""

    def __init__(self, process: Answers, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._process = process
        self._metrics = metrics
        self._clock = clock
        self._experiments: dict[Key, _Experiment] = {}
        self._due: dict[Key, None] = {}  # in the order of their turns
        self._news = asyncio.Event()
        self._until = _NEVER  # when it may be tried again
        self._backoff = _FIRST_BACKOFF_SECONDS
        metrics.trials_untold.set_function(lambda: float(self.untold))

    @property
    def untold(self) -> int:
        """How many trials MLflow was not told of when their experiments were looked through last."""
        return sum(len(each.due) for each in self._experiments.values())

    # --- what looks call; neither waits

    def changed(self, key: Key, tracked: Tracked) -> None:
        """An experiment may have records that MLflow was not told, or has ended."""
        known = self._experiments.get(key)
        if known is None or known.tracked.uid != tracked.uid:
            self._experiments[key] = _Experiment(tracked)
        else:
            if known.tracked.work is not tracked.work or known.tracked.accepted != tracked.accepted:
                known.last = None
            known.tracked = tracked
        self._due[key] = None
        self._news.set()

    def forget(self, key: Key) -> None:
        """The experiment is gone; in MLflow it stays."""
        self._experiments.pop(key, None)
        self._due.pop(key, None)

    # --- telling

    async def run(self) -> None:
        """Tells whatever is new, for ever."""
        try:
            while True:
                await self.work_off()
                wait = max(0.0, self._until - self._clock()) if self._due else None
                self._news.clear()
                if wait is not None:
                    await asyncio.sleep(wait)
                else:
                    await self._news.wait()
        finally:
            await self._process.end()

    async def work_off(self) -> None:
        """Tells until there is nothing new, or MLflow does not take it."""
        while self._due and self._until <= self._clock():
            key = next(iter(self._due))
            del self._due[key]
            experiment = self._experiments[key]
            try:
                await self._turn(key, experiment)
            except ProcessEnded as ended:
                self._forget_told()
                self._failed(key, str(ended))
            except Exception as error:  # whatever it is, it concerns MLflow only
                _log.exception("%s: telling MLflow went wrong", key)
                await self._process.end()
                self._forget_told()
                self._failed(key, repr(error))

    async def _turn(self, key: Key, experiment: _Experiment) -> None:
        """Tells some of what is new of an experiment; the others come first with the rest."""
        tracked = experiment.tracked
        experiment.look_through()
        batch = [tracked.records[identity][-1] for identity in islice(experiment.due, _BATCH)]
        if not batch and experiment.begun and experiment.told_over == tracked.over:
            return
        last = len(batch) == len(experiment.due)
        await self._process.tell(
            {
                "do": "tell",
                "run": tracked.uid,
                "name": f"{key.namespace}/{key.name}",
                "experiment": tracked.work.experiment.document(sparse=True),
                "began": tracked.accepted,
                "over": tracked.over,
                "records": [encode(each) for each in batch],
                "last": last,
            }
        )
        answer = await self._process.hear()
        if answer["event"] != "told":
            self._failed(key, str(answer["why"]), float(answer["after"]))
            return
        if experiment.failure:
            _log.info("%s: MLflow is told again", key)
        self._until, self._backoff, experiment.failure = _NEVER, _FIRST_BACKOFF_SECONDS, ""
        for trial, why in answer["refused"].items():
            _log.warning("%s: MLflow refuses trial %s, which is not told again: %s", key, trial, cut_error(why))
        experiment.was_told(batch, answer["lacking"])
        experiment.begun, experiment.told_over = True, tracked.over
        if (answer["lacking"] or not last) and self._experiments.get(key) is experiment:
            self._due[key] = None

    def _forget_told(self) -> None:
        """The process knows nothing any more of what it has told."""
        for key, each in self._experiments.items():
            each.forget_told()
            self._due[key] = None

    def _failed(self, key: Key, why: str, after: float = 0.0) -> None:
        """Nothing is told for a while, of any experiment: they have one MLflow. Others come first after that."""
        self._until = self._clock() + max(self._backoff, after)
        self._backoff = min(2 * self._backoff, _MAX_BACKOFF_SECONDS)
        self._metrics.tracking_failures.inc()
        if (experiment := self._experiments.get(key)) is None:
            return  # it was deleted meanwhile
        self._due[key] = None
        why = cut_error(why)
        if why != experiment.failure:  # once, however often it is tried
            _log.warning("%s: MLflow was not told: %s; experiments go on, and it is tried again", key, why)
        experiment.failure = why


def _which(record: Record) -> tuple[int, int]:
    """What tells a trial's record from another of it."""
    return record.attempt, record.finished_at
