"""Creates and deletes what a plan says. Whatever it meets on the way, doing it again does no harm."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from trainer.scheduling.decide import Start
from trainer.scheduling.workload import BASELINE, Workload
from trialrun_operator import observe
from trialrun_operator.conditions import creation_refused, name_conflict
from trialrun_operator.kube import IN_FLIGHT, ApiFailure, Document, Kube, Refused
from trialrun_operator.manifests import pytorch_job
from trialrun_operator.memory import Memory
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import JOBS, job_name
from trialrun_operator.plan import Delete
from trialrun_operator.store import ExperimentObject, Store

_log = logging.getLogger(__name__)
# A look that creates for longer would hold up the next beat; the rest follows at the next look.
CREATING_SECONDS = 0.7
DELETED_AT_ONCE = 100


class Applier:
    """Carries out creations and deletions, and puts what comes of them into the store. `clock` is in seconds."""

    def __init__(self, kube: Kube, store: Store, metrics: Metrics, image: str, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._store = store
        self._metrics = metrics
        self._image = image
        self._clock = clock

    async def find(self, seen: ExperimentObject, memory: Memory) -> None:
        """Asks for the jobs whose creation had no answer: they count as running before any watch tells of them.

        Raises:
            ApiFailure: it is still not known of some.
        """
        await asyncio.gather(*(self._find(seen, memory, name) for name in tuple(memory.unanswered)))

    async def _find(self, seen: ExperimentObject, memory: Memory, name: str) -> None:
        try:
            self._take_in(await self._kube.get(JOBS.path(seen.key.namespace, name)))
        except Refused as refused:
            if refused.code != 404:
                raise
        memory.unanswered.discard(name)

    async def create(self, seen: ExperimentObject, memory: Memory, work: Workload, creates: Sequence[Start]) -> None:
        """Creates the first of the jobs.

        Raises:
            ApiFailure: some could not be created, and it is not known why; the others were.
        """
        if not creates or memory.held():
            return
        left = iter(creates)
        until = self._clock() + CREATING_SECONDS

        async def some() -> int:
            made = 0
            for each in left:
                made += await self._create(seen, memory, work, each)
                if self._clock() > until:
                    break
            return made

        results = await asyncio.gather(*(some() for _ in range(IN_FLIGHT)), return_exceptions=True)
        created = sum(result for result in results if isinstance(result, int))
        if created:
            self._metrics.jobs_created.labels(seen.key.kind).inc(created)
            parallel = work.parallel_trials
            if creates[0].trial.id == BASELINE:
                _log.info("%s: created its baseline's job", seen.key)
            else:
                _log.info(
                    "%s: created %d of %d trials (parallelTrials %d)", seen.key, created, len(creates), parallel
                )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _create(self, seen: ExperimentObject, memory: Memory, work: Workload, wanted: Start) -> bool:
        """Whether the job was created now; it may exist already, or be impossible at present."""
        if memory.held():  # another of this look was refused
            return False
        key = seen.key
        name = job_name(key.name, wanted.trial.id, wanted.attempt)
        body = pytorch_job(work, key, seen.uid, wanted.trial, wanted.attempt, self._image, wanted.memory)
        try:
            made = await self._kube.create(JOBS.path(key.namespace), body)
        except ApiFailure as failure:
            if not isinstance(failure, Refused) or not failure.final:
                memory.unanswered.add(name)
                raise
            if failure.code == 409:
                await self._meet(seen, memory, wanted, name)
            elif not memory.held():
                _log.warning("%s: job %s was refused: %s", key, name, failure.message)
                memory.hold(creation_refused(name, failure.message))
            return False
        self._take_in(made)
        memory.unblock(wanted)
        memory.release()
        return True

    async def _meet(self, seen: ExperimentObject, memory: Memory, wanted: Start, name: str) -> None:
        """A job of this name exists: ours is welcome, a dying one is waited for, any other is a conflict."""
        try:
            document = await self._kube.get(JOBS.path(seen.key.namespace, name))
        except Refused as refused:
            if refused.code != 404:
                raise
            return
        theirs = observe.job(document)
        dying = "deletionTimestamp" in document["metadata"]
        if theirs is not None and theirs.experiment_uid == seen.uid and not dying:
            self._store.put(theirs)
            memory.unblock(wanted)
            return
        # The job of an experiment of this name that was deleted goes with it, a moment later.
        inherited = theirs is not None and theirs.key == seen.key
        if dying or inherited:
            _log.info("%s: waiting for an earlier job %s to go", seen.key, name)
            memory.block(wanted, None)
        else:
            _log.warning("%s: job %s exists and belongs to something else", seen.key, name)
            memory.block(wanted, name_conflict(name))

    async def delete(self, seen: ExperimentObject, memory: Memory, deletes: Sequence[Delete]) -> None:
        """Deletes the first of the jobs and pods, each if it still is the one that was meant."""
        due = [each for each in deletes if not memory.deleted(each.uid)][:DELETED_AT_ONCE]
        results = await asyncio.gather(*(self._delete(seen, memory, each) for each in due), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _delete(self, seen: ExperimentObject, memory: Memory, each: Delete) -> None:
        try:
            await self._kube.delete(each.resource.path(seen.key.namespace, each.name), each.uid)
        except ApiFailure:
            _log.warning("%s: could not delete %s %s", seen.key, each.resource.kind, each.name)
            raise
        memory.deletes(each.uid)
        _log.info("%s: deleted %s %s, because %s", seen.key, each.resource.kind, each.name, each.why)
        if each.resource is JOBS:
            self._metrics.jobs_deleted.labels(seen.key.kind).inc()

    def _take_in(self, made: Document) -> None:
        if (job := observe.job(made)) is not None:
            self._store.put(job)
