"""One look at one experiment: observe, plan, then carry the plan out: ledger first, jobs next, status last.

It keeps nothing that the cluster does not have: what it remembers saves reads and bounds the rate of writes.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.record import Record
from trainer.scheduling.workload import Workload
from trialrun_operator import announce, conditions, observe, standing, status
from trialrun_operator.apply import Applier
from trialrun_operator.baseline import BaselinePlan, Measured, with_baseline
from trialrun_operator.kube import Kube, Refused
from trialrun_operator.memory import Memories, Memory
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import ATTEMPT_LABEL, PODS, TRIAL_LABEL, UID_LABEL, Key
from trialrun_operator.observe import Attempt, Job, Pod
from trialrun_operator.plan import Plan, is_done_with, plan
from trialrun_operator.queue import Queue
from trialrun_operator.store import ExperimentObject, Store, experiment_object

_log = logging.getLogger(__name__)
_TRIES = 3  # of a plan, as long as each finds something that must be confirmed first


class Reconciler:
    """Brings experiments and the cluster together.

    `now` gives milliseconds since 1970, `clock` seconds since some moment, which are never set back.
    """

    def __init__(
        self,
        kube: Kube,
        store: Store,
        queue: Queue,
        metrics: Metrics,
        image: str,
        *,
        now: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._kube = kube
        self._store = store
        self._queue = queue
        self._metrics = metrics
        self._now = now
        self._memories = Memories(kube, clock)
        self._applier = Applier(kube, store, metrics, image, clock)
        self.backend_missing = False

    def resynced(self) -> None:
        """Has each unfinished experiment's ledger compared with the cluster at the next look; deleted ones go."""
        self._memories.expire(self._store.experiments())

    async def reconcile(self, key: Key) -> float:
        """Looks at an experiment once; gives the seconds of computing that this took.

        Raises:
            ApiFailure: something could not be done; the next look tries again.
        """
        seen = self._store.experiment(key)
        if seen is None or seen.deleting:
            self._memories.forget(key)
            return 0.0
        memory = self._memories.of(seen)
        try:
            work = await memory.workload(seen)
        except InvalidExperiment as invalid:
            if self._beat(seen, memory):
                made = status.invalid(invalid.mistakes, seen.generation, seen.status, self._now())
                await self._write(seen, made)
            return 0.0
        accepted = accepted_at(seen, work)
        if accepted is not None:
            return await self._carry_out(seen, memory, work, accepted)
        if self._beat(seen, memory):
            if work.doubts and not status.was_taken(seen.status):
                made = status.invalid(work.doubts, seen.generation, seen.status, self._now())
                await self._write(seen, made)
            else:
                await self._accept(seen, memory, work)
        return 0.0

    def _beat(self, seen: ExperimentObject, memory: Memory) -> bool:
        """Whether something may be written now; otherwise there is another look when it may."""
        if memory.beat_due():
            return True
        self._queue.add(seen.key, memory.until_beat())
        return False

    async def _accept(self, seen: ExperimentObject, memory: Memory, work: Workload) -> None:
        """Takes an experiment, or its rerun, up by writing down when. Trials start at the next look."""
        problem = conditions.MISSING_BACKEND if self.backend_missing else None
        if await memory.refresh(self._kube, seen.key, work):
            self._store.bring_back(seen.key, seen.uid)
        if "acceptedAt" in seen.status:
            await self._conclude(seen, memory, work, observe.milliseconds(seen.status["acceptedAt"]))
        accepted = None if work.experiment.spec.suspend or problem else self._now()
        made = self._status(seen, memory, work, None, accepted, problem)
        if accepted is None and "acceptedAt" in seen.status:  # of the run before; only acting on `rerun` changes it
            made |= {name: seen.status[name] for name in ("acceptedAt", "rerun") if name in seen.status}
        await self._write(seen, made)
        if accepted is not None:
            _log.info("%s: accepted, %d trials (rerun %d)", seen.key, len(work.trials), work.experiment.spec.rerun)
            self._queue.add(seen.key)

    async def _conclude(self, seen: ExperimentObject, memory: Memory, work: Workload, before: int) -> None:
        """Writes down what has ended since the acceptance `before`: as a failure of the rerun it would not run again.

        There is much of it when no operator ran meanwhile, or when it is suspended with its rerun raised.
        """
        for _ in range(_TRIES):
            found, measuring, _seconds = self._plan(memory, work, self._store.attempts(seen.key, seen.uid), before)
            if not found.doubts:
                break
            await self._confirm(found.doubts)
        await self._record(seen, memory, found.records)
        await self._measured(seen, memory, measuring.measured)
        if found.wake is not None:
            self._queue.add(seen.key, max(0.0, (found.wake - self._now()) / 1000))

    async def _carry_out(self, seen: ExperimentObject, memory: Memory, work: Workload, accepted: int) -> float:
        computed = 0.0
        await self._applier.find(seen, memory)
        for _ in range(_TRIES):
            if not memory.fresh:  # the ledger, or what is asked for, may be another than when they were put aside
                self._store.bring_back(seen.key, seen.uid)
            # The jobs first, the ledger after them: a job that another operator has recorded and deleted since is
            # missing from neither.
            attempts = self._store.attempts(seen.key, seen.uid)
            found, measuring, seconds = self._plan(memory, work, attempts, accepted)
            computed += seconds
            asks = bool(found.creates) or not memory.fresh
            if asks and await memory.refresh(self._kube, seen.key, work, found.creates):
                self._store.bring_back(seen.key, seen.uid)
                found, measuring, seconds = self._plan(memory, work, attempts, accepted)
                computed += seconds
            if not found.doubts:
                break
            await self._confirm(found.doubts)
        beat = memory.beat_due()
        # None of these waits for another: what is deleted was recorded before, and so was what an attempt follows on.
        done = await asyncio.gather(
            self._record(seen, memory, found.records if beat else ()),
            self._measured(seen, memory, measuring.measured if beat else ()),
            self._applier.delete(seen, memory, found.deletes),
            self._applier.create(seen, memory, work, () if self.backend_missing else found.creates),
            return_exceptions=True,
        )
        for result in done:
            if isinstance(result, BaseException):
                raise result
        after = found
        if beat or found.creates or found.deletes:
            attempts = self._store.attempts(seen.key, seen.uid)
            after, measuring, seconds = self._plan(memory, work, attempts, accepted)
            computed += seconds
            ledger = memory.book.records
            self._store.put_aside(seen.key, seen.uid, [each for each in attempts if is_done_with(work, ledger, each)])
        imports = work.imports_baseline and (memory.imported is None or memory.imported.figures is None)
        memory.over = after.over and measuring.over and not imports
        if beat:
            start = time.thread_time()
            problem = conditions.MISSING_BACKEND if self.backend_missing else memory.problem()
            made = self._status(seen, memory, work, after, accepted, problem, measuring)
            computed += time.thread_time() - start
            await self._write(seen, made)
        self._schedule(seen.key, memory, after, beat, bool(measuring.measured))
        return computed

    async def _record(self, seen: ExperimentObject, memory: Memory, records: Sequence[Record]) -> None:
        """Writes records into the ledger, and tells of them."""
        written = await memory.book.add(records)
        await announce.records(self._kube, self._metrics, seen, written, self._now())

    async def _measured(self, seen: ExperimentObject, memory: Memory, measured: Sequence[Measured]) -> None:
        """Writes attempts at the baseline down, and tells of them."""
        written = await memory.measurements.add(measured)
        await announce.baseline(self._kube, seen, [each.record for each in written], self._now())

    def _plan(
        self, memory: Memory, work: Workload, attempts: list[Attempt], accepted: int
    ) -> tuple[Plan, BaselinePlan, float]:
        began, now, blocked = time.thread_time(), self._now(), memory.blocked()
        search = plan(
            work,
            memory.book.records,
            attempts,
            accepted=accepted,
            now=now,
            blocked=blocked,
            known=memory.history(work, accepted),
        )
        known = memory.measurements.known
        found, measuring = with_baseline(work, search, known, attempts, accepted=accepted, now=now, blocked=blocked)
        return found, measuring, time.thread_time() - began

    def _schedule(self, key: Key, memory: Memory, after: Plan, beat: bool, measured: bool) -> None:
        """When to look again without news."""
        if not beat or after.records or measured:
            self._queue.add(key, memory.until_beat())
        more = after.creates and not self.backend_missing and not memory.held()
        if more or any(not memory.deleted(each.uid) for each in after.deletes):
            self._queue.add(key)
        if after.wake is not None:
            self._queue.add(key, max(0.0, (after.wake - self._now()) / 1000))
        if (wait := memory.until_unblocked()) is not None:
            self._queue.add(key, wait)

    def _status(
        self,
        seen: ExperimentObject,
        memory: Memory,
        work: Workload,
        found: Plan | None,
        accepted: int | None,
        problem: conditions.Problem | None,
        measuring: BaselinePlan = BaselinePlan(),  # noqa: B008 - a frozen value
    ) -> dict[str, Any]:
        baseline = standing.NONE
        if work.imports_baseline and memory.imported is not None:
            baseline = memory.imported
        elif work.measures_baseline:
            baseline = standing.measuring(work, found, measuring, memory.measurements.known, problem)
        return status.status(
            work,
            seen.key,
            seen.uid,
            seen.generation,
            ledger=memory.book.records,
            plan=found,
            baseline=baseline,
            accepted=accepted,
            problem=problem,
            old=seen.status,
            now=self._now(),
        )

    async def _write(self, seen: ExperimentObject, made: Mapping[str, Any]) -> None:
        """Writes the status if it says something new, under the condition that the experiment is as it was seen."""
        if status.same(made, seen.status):
            return
        try:
            document = await self._kube.replace_status(seen.key.path, str(seen.version), dict(made))
        except Refused as refused:
            if refused.code not in (404, 409):
                raise
            await self._look_again(seen)
            return
        self._store.put(experiment_object(document))
        await announce.changes(self._kube, seen, made, self._now())

    async def _look_again(self, seen: ExperimentObject) -> None:
        """The experiment has changed or is gone: reads it, so that the next look sees it as it is."""
        try:
            self._store.put(experiment_object(await self._kube.get(seen.key.path)))
        except Refused as refused:
            if refused.code != 404:
                raise
            self._store.remove(seen.uid)
        self._queue.add(seen.key)

    async def _confirm(self, jobs: Sequence[Job]) -> None:
        """LISTs the pods of some jobs before something is believed that rests on a pod, or an end, not seen."""
        selector = f"{UID_LABEL}={jobs[0].experiment_uid}"
        if len(jobs) == 1:
            selector += f",{TRIAL_LABEL}={jobs[0].trial},{ATTEMPT_LABEL}={jobs[0].attempt}"
        listed: list[Pod] = []
        version = 0
        async for page, moment in self._kube.pages(PODS, jobs[0].key.namespace, selector):
            listed += (pod for document in page if (pod := observe.pod(document)) is not None)
            version = moment
        uids = {job.uid for job in jobs}
        self._store.replace(listed, version, lambda value: isinstance(value, Pod) and value.job_uid in uids)
        for job in jobs:
            self._store.confirm(job, self._now())


def accepted_at(seen: ExperimentObject, work: Workload) -> int | None:
    """When the experiment, as its `rerun` says now, was taken up; None if it was not yet."""
    if seen.status.get("rerun", -1) < work.experiment.spec.rerun or "acceptedAt" not in seen.status:
        return None
    return observe.milliseconds(seen.status["acceptedAt"])
