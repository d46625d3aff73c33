"""One look at one experiment: observe, plan, apply, write the status. The ledger goes before any deletion.

It keeps nothing that the cluster does not have: what it remembers saves reads and bounds the rate of writes.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainer.experiment.errors import InvalidExperiment, UserError
from trainer.experiment.expand import Kind
from trainer.experiment.record import CODE, Record
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.decide import Start
from trainer.scheduling.lessons import Lesson
from trainer.scheduling.workload import Workload
from trialrun_operator import baseline_status, code_copy, conditions, events, kueue, observe, status
from trialrun_operator.apply import Applier
from trialrun_operator.backends import BACKENDS, choose
from trialrun_operator.backends.backend import Backend
from trialrun_operator.conditions import Problem
from trialrun_operator.kube import Kube, Refused, all_of
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import EVENTS, PODS, TRIAL_LABEL, UID_LABEL, Key, code_name
from trialrun_operator.observe import Attempt, Job, Pod
from trialrun_operator.permits import not_permitted
from trialrun_operator.plan import Plan, plan
from trialrun_operator.pod_outcome import refusal_of
from trialrun_operator.queue import Queue
from trialrun_operator.state import ExperimentState, ExperimentStates, first_told
from trialrun_operator.status_model import Status
from trialrun_operator.store import ExperimentObject, Store, experiment_object
from trialrun_operator.suggester import Question, Suggester
from trialrun_operator.tracker import Tracked, Tracker
from trialrun_operator.warm_start import earlier_lessons
from trialrun_operator.workload import warm_start_of

_log = logging.getLogger(__name__)
_NAMED = 100  # trials whose pods are asked for by name, in place of all pods; a selector has its length
_CODE_SECONDS = 10.0  # between looks for code that is not there
_QUEUE_SECONDS = 3.0  # after a job was created, its queue knows of it
_TRIES = 4  # at a plan that rests on nothing that has changed meanwhile


class Reconciler:
    """Brings experiments and the cluster together.

    `allowed` are the switches of `permits` that are on, `enabled` the kinds of job that may be made. `now` gives
    milliseconds since 1970, `clock` seconds since some moment, which are never set back.
    """

    def __init__(
        self,
        kube: Kube,
        store: Store,
        queue: Queue,
        metrics: Metrics,
        image: str,
        suggester: Suggester,
        tracker: Tracker | None = None,
        *,
        allowed: Collection[str] = (),
        enabled: Collection[str] = BACKENDS,
        now: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._kube = kube
        self._store = store
        self._queue = queue
        self._metrics = metrics
        self._suggester = suggester
        self._tracker = tracker
        self._allowed = allowed
        self._enabled = enabled
        self._there: frozenset[str] = frozenset()  # kinds of job that the cluster has
        self._now = now
        self._states = ExperimentStates(kube, clock)
        self._applier = Applier(kube, store, metrics, image, clock)

    def resynced(self, there: Collection[Backend]) -> None:
        """Has each unfinished experiment's ledger compared with the cluster at the next look; deleted ones go.

        `there` are the backends that the cluster has.
        """
        self._there = frozenset(backend.jobs.kind for backend in there)
        self._states.expire(self._store.experiments())

    async def reconcile(self, key: Key) -> float:
        """Looks at an experiment once; gives the seconds of computing that this took.

        Raises:
            ApiFailure: something could not be done; the next look tries again.
        """
        seen = self._store.experiment(key)
        if seen is None or seen.deleting:
            self._states.forget(key)
            self._suggester.forget(key)
            if self._tracker is not None:
                self._tracker.forget(key)
            return 0.0
        state = self._states.of(seen)
        try:
            work = await state.workload(seen)
        except InvalidExperiment as invalid:
            if self._may_write(seen, state):
                await self._write_status(seen, self._invalid(seen, invalid.mistakes))
            return 0.0
        accepted = accepted_at(seen, work)
        if accepted is not None:
            return await self._carry_on(seen, state, work, accepted)
        if not self._may_write(seen, state):
            return 0.0
        doubts = () if status.was_taken(seen.status) else work.doubts
        if mistakes := (*not_permitted(work.experiment, self._allowed), *doubts):
            await self._write_status(seen, self._invalid(seen, mistakes))
        else:
            await self._accept(seen, state, work)
        return 0.0

    async def _carry_on(self, seen: ExperimentObject, state: ExperimentState, work: Workload, accepted: int) -> float:
        """A look at an experiment that was accepted."""
        backend = self._backend(seen, work)
        missing = None if backend else conditions.backend_missing(self._kept(seen, work), self._enabled)
        if backend is not None:
            await self._applier.find(seen, state, backend)
        crowded = state.crowded
        found, computed = await self._plan(seen, state, work, accepted)
        lacking = await self._lacking(seen, state, work) if found.creates else None
        if lacking is not None:
            found = replace(found, creates=())
        writes, due = state.may_write(), bool(found.records or found.measured)
        if not writes:
            self._queue.add(seen.key, state.until_write())
            found = replace(found, records=(), measured=())
        # None of these waits for another: what is deleted was recorded before, and so was what an attempt follows on.
        recorded, created, _, suggested = await all_of(
            self._record(seen, state, work, found),
            self._create(seen, state, work, backend, found),
            self._applier.delete(seen, state, (*found.deletes, *found.room)),
            self._suggest(seen, state, work, found),
        )
        imports = work.imports_baseline and (state.imported is None or state.imported.figures is None)
        state.idle = found.idle and not imports
        if found.room:
            state.made_room()
        became_crowded = state.crowded and not crowded
        pending = len(found.records) + len(found.measured)
        unable = await self._ask(seen, state, work, found, suggested) if writes or not due else None
        held = await self._queued(seen, state)
        if writes and len(recorded) == pending:  # otherwise another operator was first, with another record perhaps
            began = time.thread_time()
            running = found.running | {each.trial.id for each in created if each.trial.kind is not Kind.BASELINE}
            problem = missing or state.problem() or unable
            problem = lacking or (None if became_crowded or found.waits_for_room else problem)
            made = self._status(seen, state, work, found, running, accepted, problem, held)
            took = time.thread_time() - began
            state.status_took(took)
            computed += took
            if self._tracker is not None:
                self._tracker.changed(seen.key, _tracked(seen, state, work, accepted, made))
            await self._write_status(seen, made)
        again = bool(pending or created or suggested) or became_crowded
        all_created = backend is None or state.backing_off() or len(created) == len(found.creates)
        if lacking is not None:
            self._queue.add(seen.key, _CODE_SECONDS)
        all_deleted = all(state.deleted(each.uid) for each in (*found.deletes, *found.room))
        self._schedule(seen.key, state, found, again=again or not (all_created and all_deleted))
        return computed

    async def _plan(
        self, seen: ExperimentObject, state: ExperimentState, work: Workload, accepted: int
    ) -> tuple[Plan, float]:
        """The plan, and the seconds of computing that it took. What it rests on is compared with the cluster.

        The jobs are taken first and the ledger is compared after them: a job that another operator has recorded and
        deleted since is missing from neither.
        """
        computed = 0.0
        for _ in range(_TRIES):
            attempts = self._store.attempts(seen.key, seen.uid)
            began, now, blocked = time.thread_time(), self._now(), state.blocked()
            found = plan(
                work,
                state.ledger.records,
                attempts,
                accepted=accepted,
                now=now,
                blocked=blocked,
                crowded=state.crowded,
            )
            computed += time.thread_time() - began
            if found.relists:
                await self._relist(found.relists, attempts)
            elif found.podless and state.may_ask(EVENTS):
                await self._ask_why(found.podless)
            elif not await self._refresh(seen, state, work, found):
                return found, computed
        self._queue.add(seen.key)  # it keeps changing: nothing is created now
        return replace(found, creates=(), wanted=0), computed

    async def _create(
        self, seen: ExperimentObject, state: ExperimentState, work: Workload, backend: Backend | None, found: Plan
    ) -> list[Start]:
        return [] if backend is None else await self._applier.create(seen, state, work, backend, found.creates)

    def _kept(self, seen: ExperimentObject, work: Workload) -> str:
        """What trials run as: what was settled, else what jobs there are, else what the experiment asks for.

        An operator of version 0.1 writes a status without it.
        """
        if "backend" in seen.status:
            return str(seen.status["backend"])
        jobs = (each.job for each in self._store.attempts(seen.key, seen.uid) if each.job is not None)
        return next((job.resource.kind for job in jobs), work.experiment.spec.backend)

    def _backend(self, seen: ExperimentObject, work: Workload) -> Backend | None:
        """What its trials run as, None where the cluster has no such thing."""
        return choose(self._kept(seen, work), self._there)

    async def _refresh(self, seen: ExperimentObject, state: ExperimentState, work: Workload, found: Plan) -> bool:
        """Whether the ledger is another than a plan was made of by which jobs are created, or deleted for others."""
        news = found.unknown - state.unknown  # another operator has suggested them
        asks = bool(found.creates) or not state.fresh or bool(found.room) or (state.idle and bool(found.deletes))
        if not asks and not news:
            return False
        differed = await state.refresh(self._kube, seen.key, work, () if news else found.creates)
        state.unknown = found.unknown
        return differed

    async def _record(
        self, seen: ExperimentObject, state: ExperimentState, work: Workload, found: Plan
    ) -> list[Record]:
        """Writes what a plan has to record into the ledger, and tells of it."""
        written = await state.ledger.add((*found.records, *found.measured))
        await events.recorded(self._kube, self._metrics, seen, work, written, self._now())
        return written

    async def _suggest(self, seen: ExperimentObject, state: ExperimentState, work: Workload, found: Plan) -> int:
        """Writes the points that were suggested into the ledger, as many as are wanted; gives how many.

        The next look starts them, and what another operator has suggested meanwhile.
        """
        ready = self._suggester.suggested(seen.key, seen.uid, len(work.by_point), found.wanted)
        if not ready or not state.may_suggest():
            if ready:
                self._queue.add(seen.key, state.until_suggest())
            return 0
        before = len(work.by_point)
        count = await state.ledger.suggest(ready)
        if count < len(ready):  # the ledger was another than it was known to be, so others are due
            self._suggester.drop(seen.key)
            self._queue.add(seen.key)
        else:
            self._suggester.written(seen.key, count)
        state.grow(work)
        if count:
            self._metrics.suggestions.inc(count)
            _log.info("%s: suggested %d points (%d so far)", seen.key, count, len(work.by_point))
        return len(work.by_point) - before

    async def _ask(
        self, seen: ExperimentObject, state: ExperimentState, work: Workload, found: Plan, suggested: int
    ) -> conditions.Problem | None:
        """Asks for the points that a learning search still wants; gives what keeps it from being given any.

        All that has ended is in the ledger by now: the next points are learnt from it.
        """
        search, number = work.experiment, len(work.by_point)
        if work.points is None or not isinstance(search, HyperparamSearch):
            return None
        if found.over:
            self._suggester.forget(seen.key)
            return None
        if found.wanted <= suggested:
            self._suggester.drop(seen.key)
            return None
        if state.ledger.unreadable:
            return conditions.unreadable_ledger(state.ledger.unreadable[0])
        if self._suggester.is_exhausted(seen.key, seen.uid, number):
            work.points = number
            self._queue.add(seen.key)
            return None
        try:
            earlier = await self._earlier(seen, state, search)
        except UserError as error:
            return conditions.cannot_suggest(str(error))
        lessons = state.lessons.of(work, state.ledger.records)
        self._suggester.ask(seen.key, seen.uid, Question(search, earlier, lessons, found.wanted - suggested))
        said = self._suggester.problem(seen.key)
        return None if said is None else conditions.cannot_suggest(said)

    async def _earlier(
        self, seen: ExperimentObject, state: ExperimentState, search: HyperparamSearch
    ) -> Sequence[Lesson]:
        """What a search begins with that another has come to; that is written down once.

        Raises:
            UserError: it can't begin with that.
        """
        if warm_start_of(search) is None:
            return ()
        if state.ledger.warm_start is None:
            await state.ledger.begin_with(await earlier_lessons(self._kube, seen.key, search))
        return state.ledger.warm_start or ()

    def _schedule(self, key: Key, state: ExperimentState, found: Plan, *, again: bool) -> None:
        """When to look again without news: `again` as soon as may be, and whenever time may change the plan."""
        if again:
            self._queue.add(key)
        if found.wake is not None:
            self._queue.add(key, max(0.0, (found.wake - self._now()) / 1000))
        if found.podless:
            self._queue.add(key, state.until_ask(EVENTS))
        if (wait := state.until_retry()) is not None:
            self._queue.add(key, wait)

    async def _accept(self, seen: ExperimentObject, state: ExperimentState, work: Workload) -> None:
        """Takes an experiment, or its rerun, up by writing down when. Trials start at the next look."""
        backend = self._backend(seen, work)
        problem = None if backend else conditions.backend_missing(self._kept(seen, work), self._enabled)
        if backend is not None and len(seen.key.name) > backend.longest_name:
            await self._write_status(seen, self._invalid(seen, [conditions.name_too_long(seen.key.name, backend)]))
            return
        await state.refresh(self._kube, seen.key, work)
        if "acceptedAt" in seen.status:
            await self._conclude(seen, state, work, observe.milliseconds(seen.status["acceptedAt"]))
        if problem is None and not work.experiment.spec.suspend:
            problem = await self._take_code(seen, state, work)
        accepted = None if work.experiment.spec.suspend or problem else self._now()
        if accepted is not None and isinstance(work.experiment, HyperparamSearch):
            try:
                await self._earlier(seen, state, work.experiment)
            except UserError as error:
                await self._write_status(seen, self._invalid(seen, str(error).splitlines()))
                return
        made = self._status(seen, state, work, None, frozenset(), accepted, problem)
        if accepted is None:  # only acting on `rerun` changes it
            made = status.taken_up_as(made, seen.status)
        await self._write_status(seen, made)
        if accepted is not None:
            trials = len(work.trials) + work.missing * work.experiment.spec.repeats
            _log.info("%s: accepted, %d trials (rerun %d)", seen.key, trials, work.experiment.spec.rerun)
            self._queue.add(seen.key)

    async def _take_code(self, seen: ExperimentObject, state: ExperimentState, work: Workload) -> Problem | None:
        """Settles which code a program's trials run from now on; gives why there is none."""
        program = work.experiment.spec.program
        if program is None or program.config_map is None:
            return None
        proven = first_told(work, state.ledger.records, CODE)
        try:
            state.code = await code_copy.take(self._kube, seen.key, seen.uid, program.config_map, proven)
        except code_copy.CodeUnavailable as unavailable:
            self._queue.add(seen.key, _CODE_SECONDS)
            return unavailable.problem
        return None

    async def _lacking(self, seen: ExperimentObject, state: ExperimentState, work: Workload) -> Problem | None:
        """Why no job can be created now, but for what the API server or a backend says; None where nothing lacks."""
        if sentences := not_permitted(work.experiment, self._allowed):
            return conditions.not_permitted(sentences)
        return await self._find_code(seen, state, work)

    async def _find_code(self, seen: ExperimentObject, state: ExperimentState, work: Workload) -> Problem | None:
        """Sees to it that the code is known that trials have run since they were taken up; gives why it is not."""
        if not code_copy.is_needed(work.experiment):
            return None
        digest = self._code_taken(seen, work)
        if digest is None:
            return await self._take_code(seen, state, work) if state.code is None else None
        if state.code is None or state.code.digest != digest:
            state.code = await code_copy.find(self._kube, seen.key, seen.uid, digest)
        return conditions.code_gone(code_name(seen.key, seen.uid, digest)) if state.code is None else None

    def _code_taken(self, seen: ExperimentObject, work: Workload) -> str | None:
        """The hash of the code that trials run: of the last job's where version 0.1 has written a status without."""
        if not code_copy.is_needed(work.experiment):
            return None
        if "code" in seen.status:
            return str(seen.status["code"])
        jobs = [each.job for each in self._store.attempts(seen.key, seen.uid) if each.job is not None]
        return max(jobs, key=lambda job: job.created).program if jobs else None

    async def _conclude(self, seen: ExperimentObject, state: ExperimentState, work: Workload, before: int) -> None:
        """Writes down what has ended since the acceptance `before`: as a failure of the rerun it would not run again.

        There is much of it when no operator ran meanwhile, or when it is suspended with its rerun raised.
        """
        found, _ = await self._plan(seen, state, work, before)
        await self._record(seen, state, work, found)
        if found.wake is not None:
            self._queue.add(seen.key, max(0.0, (found.wake - self._now()) / 1000))

    def _may_write(self, seen: ExperimentObject, state: ExperimentState) -> bool:
        """Whether something may be written now; otherwise there is another look when it may."""
        if state.may_write():
            return True
        self._queue.add(seen.key, state.until_write())
        return False

    def _invalid(self, seen: ExperimentObject, mistakes: Sequence[str]) -> Status:
        return status.invalid(tuple(mistakes), seen.generation, seen.status, self._now())

    def _status(
        self,
        seen: ExperimentObject,
        state: ExperimentState,
        work: Workload,
        found: Plan | None,
        running: frozenset[str],
        accepted: int | None,
        problem: conditions.Problem | None,
        queued: int = 0,
    ) -> Status:
        baseline = baseline_status.NONE
        if work.imports_baseline and state.imported is not None:
            baseline = state.imported
        elif work.measures_baseline:
            ledger = state.ledger
            baseline = baseline_status.measured(work, found, ledger.records, ledger.figures, problem)
        code = self._code_taken(seen, work)
        if state.code is not None and (found is None or code is None):
            code = state.code.digest  # as it was settled just now
        return status.status(
            work,
            seen.key,
            seen.uid,
            seen.generation,
            ledger=state.ledger.records,
            plan=found,
            running=running,
            baseline=baseline,
            accepted=accepted,
            problem=problem,
            makes_room=state.makes_room,
            code=code,
            backend=None if (backend := self._backend(seen, work)) is None else backend.jobs.kind,
            learnt=_learnt(state, work),
            queued=(queued, state.queue_words),
            old=seen.status,
            now=self._now(),
        )

    async def _write_status(self, seen: ExperimentObject, made: Status) -> None:
        """Writes the status if it says something new, under the condition that the experiment is as it was seen."""
        written = made.written()
        if status.same(written, seen.status):
            return
        try:
            document = await self._kube.replace_status(seen.key.path, str(seen.version), written)
        except Refused as refused:
            if refused.code not in (404, 409):
                raise
            await self._look_again(seen)
            return
        self._store.put(experiment_object(document))
        await events.changed(self._kube, seen, written, self._now())

    async def _look_again(self, seen: ExperimentObject) -> None:
        """The experiment has changed or is gone: reads it, so that the next look sees it as it is."""
        try:
            self._store.put(experiment_object(await self._kube.get(seen.key.path)))
        except Refused as refused:
            if refused.code != 404:
                raise
            self._store.remove(seen.uid)
        self._queue.add(seen.key)

    async def _ask_why(self, jobs: Sequence[Job]) -> None:
        """LISTs the Events in which a controller says that it could not make a job's pods."""
        said: dict[str, str] = {}
        backend, named = BACKENDS[jobs[0].resource.kind], {job.name: job for job in jobs}
        for complaint in backend.complaints:
            fields = f"reason={complaint.reason},involvedObject.kind={complaint.kind}"
            try:
                async for page, _ in self._kube.pages(EVENTS, jobs[0].key.namespace, fields=fields):
                    for event in sorted(page, key=_happened):
                        job = named.get(event["involvedObject"]["name"].removesuffix(complaint.suffix))
                        if job is not None and _is_about(event, job):
                            said[job.uid] = event.get("message") or ""
            except Refused as refused:
                if refused.code != 403:  # a role of version 0.1
                    raise
        for job in jobs:
            self._store.asked(job, self._now(), refusal_of(said[job.uid]) if job.uid in said else None)

    async def _queued(self, seen: ExperimentObject, state: ExperimentState) -> int:
        """How many jobs a queue holds back; why, in its words, is asked now and then."""
        jobs = kueue.waiting(self._store.attempts(seen.key, seen.uid))
        if not jobs:
            state.queue_words = ""
            return 0
        known = (jobs[0].created - self._now()) / 1000 + _QUEUE_SECONDS
        if known <= 0 and state.may_ask(kueue.WORKLOADS):
            try:
                state.queue_words = await self._words_of_queue(seen.key.namespace, jobs)
            except Refused as refused:
                if refused.code in (403, 404):
                    state.queue_words = conditions.queue_unknown(refused.code)
                elif refused.code < 500 or refused.retry_after is not None:
                    raise
        self._queue.add(seen.key, max(known, state.until_ask(kueue.WORKLOADS)))
        return len(jobs)

    async def _words_of_queue(self, namespace: str, jobs: Sequence[Job]) -> str:
        """Why jobs wait, as the first Workload tells of which it is known; empty where none tells anything."""
        for some, selector in kueue.asked(jobs):
            workloads: list[Mapping[str, Any]] = []
            async for page, _ in self._kube.pages(kueue.WORKLOADS, namespace, selector):
                workloads += page
            if not workloads:
                return conditions.NO_WORKLOAD
            if words := kueue.words(some, workloads):
                return words
        return ""

    async def _relist(self, jobs: Sequence[Job], attempts: Sequence[Attempt]) -> None:
        """Reads some jobs and their pods, before an end is believed that rests on what was not seen."""
        told = {each.job for each in attempts if any(pod.withdrawn for pod in each.pods)}
        await all_of(*(self._applier.read(job) for job in jobs if job in told))
        selector = f"{UID_LABEL}={jobs[0].experiment_uid}"
        if len(jobs) <= _NAMED:
            selector += f",{TRIAL_LABEL} in ({','.join(sorted({job.trial for job in jobs}))})"
        listed: list[Pod] = []
        version = 0
        async for page, moment in self._kube.pages(PODS, jobs[0].key.namespace, selector):
            listed += (pod for document in page if (pod := observe.pod(document)) is not None)
            version = moment
        links = {job.link for job in jobs}
        self._store.replace(listed, version, lambda value: isinstance(value, Pod) and value.link in links)
        for job in jobs:
            self._store.confirm(job, self._now())


def _learnt(state: ExperimentState, work: Workload) -> str:
    """What a search began with, in a sentence; empty where that is nothing."""
    search, lessons = work.experiment, state.ledger.warm_start
    if not isinstance(search, HyperparamSearch) or lessons is None:
        return ""
    return conditions.begun_with(len(lessons), str(search.spec.warm_start))


def _tracked(seen: ExperimentObject, state: ExperimentState, work: Workload, accepted: int, made: Status) -> Tracked:
    """The experiment as MLflow is told of it."""
    over: dict[str, Any] | None = None
    if made.summary is not None and made.finished_at is not None:
        best = None if made.summary.best is None else made.summary.best.document()
        ended, done = observe.milliseconds(made.finished_at), made.summary.counts.done
        over = {"state": made.summary.state, "ended": ended, "done": done, "best": best}
    return Tracked(seen.uid, work, state.ledger.records, accepted, over)


def accepted_at(seen: ExperimentObject, work: Workload) -> int | None:
    """When the experiment, as its `rerun` says now, was taken up; None if it was not yet."""
    if seen.status.get("rerun", -1) < work.experiment.spec.rerun or "acceptedAt" not in seen.status:
        return None
    return observe.milliseconds(seen.status["acceptedAt"])


def _happened(event: Mapping[str, Any]) -> str:
    """When an Event was last told: events of the newer API have another field for it."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _is_about(event: Mapping[str, Any], job: Job) -> bool:
    """Whether an Event is about a job or what was made for it, not about a namesake that was deleted before."""
    about, when = event["involvedObject"], _happened(event)
    if about["kind"] == job.resource.kind:
        return bool(about.get("uid") == job.uid)
    return bool(when) and observe.milliseconds(when) >= job.created
