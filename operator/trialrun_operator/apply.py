"""Creates and deletes what a plan says. Whatever it meets on the way, doing it again does no harm."""

import logging
import secrets
from collections.abc import Callable, Sequence

from trainer.experiment.expand import Kind
from trainer.scheduling.decide import Start
from trainer.scheduling.workload import Workload
from trialrun_operator import observe
from trialrun_operator.backends import BACKENDS
from trialrun_operator.backends.backend import Backend, controller
from trialrun_operator.conditions import creation_refused, name_conflict
from trialrun_operator.kube import IN_FLIGHT, ApiFailure, Document, Kube, Refused, all_of
from trialrun_operator.manifests import config_map, job_parts
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import CONFIG_MAPS, PODS, Resource, job_name
from trialrun_operator.observe import Job
from trialrun_operator.plan import Delete
from trialrun_operator.state import ExperimentState
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

    async def find(self, seen: ExperimentObject, state: ExperimentState, backend: Backend) -> None:
        """Asks for the jobs whose creation had no answer: they count as running before any watch tells of them.

        Raises:
            ApiFailure: it is still not known of some.
        """
        await all_of(*(self._find(seen, state, backend, name) for name in tuple(state.unanswered)))

    async def _find(self, seen: ExperimentObject, state: ExperimentState, backend: Backend, name: str) -> None:
        await self._read(backend, seen.key.namespace, name)
        state.unanswered.discard(name)

    async def read(self, job: Job) -> None:
        """Asks for a job as it is now; one that is gone is left to the watches."""
        await self._read(BACKENDS[job.resource.kind], job.key.namespace, job.name)

    async def _read(self, backend: Backend, namespace: str, name: str) -> None:
        try:
            self._take_in(backend, await self._kube.get(backend.jobs.path(namespace, name)))
        except Refused as refused:
            if refused.code != 404:
                raise

    async def create(
        self,
        seen: ExperimentObject,
        state: ExperimentState,
        work: Workload,
        backend: Backend,
        starts: Sequence[Start],
    ) -> list[Start]:
        """Creates the first of the jobs; gives those that it created.

        Raises:
            ApiFailure: some could not be created, and it is not known why; the others were.
        """
        created: list[Start] = []
        left = iter(starts if not state.backing_off() else ())
        until = self._clock() + CREATING_SECONDS

        async def some() -> None:
            for each in left:
                if await self._create(seen, state, work, backend, each):
                    created.append(each)
                if self._clock() > until:
                    break

        try:
            await all_of(*(some() for _ in range(min(IN_FLIGHT, len(starts)))))
        finally:
            if created:
                self._metrics.jobs_created.labels(seen.key.kind).inc(len(created))
                if created[0].trial.kind is Kind.BASELINE:
                    _log.info("%s: created its baseline's job", seen.key)
                else:
                    parallel = work.parallel_trials
                    _log.info(
                        "%s: created %d of %d trials (parallelTrials %d)",
                        seen.key,
                        len(created),
                        len(starts),
                        parallel,
                    )
        return created

    async def _create(
        self, seen: ExperimentObject, state: ExperimentState, work: Workload, backend: Backend, start: Start
    ) -> bool:
        """Whether the job was created now; it may exist already, or be impossible at present."""
        if state.backing_off():  # another of this look was refused
            return False
        key, trial, attempt = seen.key, start.trial, start.attempt
        name = job_name(key.name, trial.id, attempt)
        known = state.known(work)
        files = config_map(work, key, seen.uid, trial, attempt, known)
        if files is not None and not await self._provide(seen, state, start, CONFIG_MAPS, files):
            return False
        link = secrets.token_hex(8)
        parts = job_parts(work, key, seen.uid, trial, attempt, backend, self._image, link, start.memory, known)
        document, shared = backend.make(parts)
        if shared is not None and not await self._provide(seen, state, start, *shared):
            return False
        try:
            made = await self._kube.create(backend.jobs.path(key.namespace), document)
        except ApiFailure as failure:
            if not isinstance(failure, Refused) or not failure.final:
                state.unanswered.add(name)
                raise
            if failure.code == 409:
                await self._meet(seen, state, start, backend, name)
            elif not state.backing_off():
                _log.warning("%s: job %s was refused: %s", key, name, failure.message)
                early = shared is not None and backend.is_early(failure.message)
                state.back_off(None if early else creation_refused(name, failure.message, backend.jobs))
                state.crowded = state.crowded or backend.counted(failure.message)
                state.provided.clear()  # somebody may have deleted what it needs
            return False
        self._take_in(backend, made)
        state.unblock(start)
        state.created()
        return True

    async def _provide(
        self, seen: ExperimentObject, state: ExperimentState, start: Start, kind: Resource, wanted: Document
    ) -> bool:
        """Whether an object is there that a job needs, as it never changes: made now or before."""
        async with state.providing:
            name = wanted["metadata"]["name"]
            if name not in state.provided and await self._make(seen, state, start, kind, wanted):
                state.provided.add(name)
            return name in state.provided

    async def _make(
        self, seen: ExperimentObject, state: ExperimentState, start: Start, kind: Resource, wanted: Document
    ) -> bool:
        name = wanted["metadata"]["name"]
        try:
            await self._kube.create(kind.path(seen.key.namespace), wanted)
        except Refused as refused:
            if not refused.final:
                raise
            if refused.code != 409:
                _log.warning("%s: %s %s was refused: %s", seen.key, kind.kind, name, refused.message)
                state.back_off(creation_refused(name, refused.message, kind))
                return False
            found = await self._kube.get(kind.path(seen.key.namespace, name))
            owner = controller(found["metadata"])
            ours = owner is not None and owner["uid"] == seen.uid
            if not ours or any(found.get(part) != wanted.get(part) for part in ("immutable", "data", "binaryData")):
                _log.warning("%s: %s %s exists and belongs to something else", seen.key, kind.kind, name)
                state.block(start, name_conflict(name, kind))
                return False
        return True

    async def _meet(
        self, seen: ExperimentObject, state: ExperimentState, start: Start, backend: Backend, name: str
    ) -> None:
        """A job of this name exists: ours is welcome, a dying one is waited for, any other is a conflict."""
        try:
            document = await self._kube.get(backend.jobs.path(seen.key.namespace, name))
        except Refused as refused:
            if refused.code != 404:
                raise
            return
        theirs = observe.job(backend, document)
        dying = "deletionTimestamp" in document["metadata"]
        if theirs is not None and theirs.experiment_uid == seen.uid and not dying:
            self._store.put(theirs)
            state.unblock(start)
            return
        # The job of an experiment of this name that was deleted goes with it, a moment later.
        inherited = theirs is not None and theirs.key == seen.key
        if dying or inherited:
            _log.info("%s: waiting for an earlier job %s to go", seen.key, name)
            state.block(start, None)
        else:
            _log.warning("%s: job %s exists and belongs to something else", seen.key, name)
            state.block(start, name_conflict(name, backend.jobs))

    async def delete(self, seen: ExperimentObject, state: ExperimentState, deletes: Sequence[Delete]) -> None:
        """Deletes the first of the jobs and pods, each if it still is the one that was meant."""
        due = [each for each in deletes if not state.deleted(each.uid)][:DELETED_AT_ONCE]
        await all_of(*(self._delete(seen, state, each) for each in due))

    async def _delete(self, seen: ExperimentObject, state: ExperimentState, each: Delete) -> None:
        try:
            await self._kube.delete(each.resource.path(seen.key.namespace, each.name), each.uid)
        except ApiFailure:
            _log.warning("%s: could not delete %s %s", seen.key, each.resource.kind, each.name)
            raise
        state.deletes(each.uid)
        _log.info("%s: deleted %s %s, because %s", seen.key, each.resource.kind, each.name, each.why)
        if each.resource is not PODS:
            self._metrics.jobs_deleted.labels(seen.key.kind).inc()

    def _take_in(self, backend: Backend, made: Document) -> None:
        if (job := observe.job(backend, made)) is not None:
            self._store.put(job)
