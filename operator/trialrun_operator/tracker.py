"""Hands what ledgers hold to the process that tells MLflow, a few records at a time. A look never waits for it.

A look says that an experiment has changed, and goes on. What MLflow was told is remembered to save requests: after a
restart every record is handed over again, and the process finds out from MLflow which of them it has.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

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
    """What was told of an experiment: the attempt of each trial, and how it ended."""

    tracked: Tracked
    told: dict[str, tuple[int, int]] = field(default_factory=dict)
    told_over: Mapping[str, Any] | None = None
    begun: bool = False
    untold: int = 0
    failure: str = ""  # why it was not told last, and was said so

    def missing(self) -> list[Record]:
        """The latest records of trials that MLflow was not told."""
        by_id = self.tracked.work.by_id
        return [
            records[-1]
            for identity, records in self.tracked.records.items()
            if records
            and self.told.get(identity) != _which(records[-1])
            and (trial := by_id.get(identity)) is not None
            and trial.kind is Kind.TRIAL
        ]


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
        return sum(each.untold for each in self._experiments.values())

    # --- what looks call; neither waits

    def changed(self, key: Key, tracked: Tracked) -> None:
        """An experiment may have records that MLflow was not told, or has ended."""
        known = self._experiments.get(key)
        if known is None or known.tracked.uid != tracked.uid:
            self._experiments[key] = _Experiment(tracked)
        else:
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
        tracked, missing = experiment.tracked, experiment.missing()
        experiment.untold = len(missing)
        batch = missing[:_BATCH]
        if not batch and experiment.begun and experiment.told_over == tracked.over:
            return
        last = len(batch) == len(missing)
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
        experiment.told.update({each.id: _which(each) for each in batch})
        for trial in answer["lacking"]:
            experiment.told.pop(trial, None)
        experiment.begun, experiment.told_over = True, tracked.over
        experiment.untold -= len(batch)
        if (answer["lacking"] or not last) and self._experiments.get(key) is experiment:
            self._due[key] = None

    def _forget_told(self) -> None:
        """The process knows nothing any more of what it has told."""
        for key, each in self._experiments.items():
            each.told.clear()
            each.begun = False
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
