"""Answers one question: what should exist now? From an experiment, its ledger, what was observed, and the time. Pure.

Planning again after a plan was carried out gives an empty plan; the order of observation makes no difference.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from trainer.experiment.bounds import Budget
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.decide import Start, decide
from trainer.scheduling.history import History, Ledger
from trainer.scheduling.limits import Limits
from trainer.scheduling.workload import Workload
from trialrun_operator.attempt_state import (
    GRACE_MILLISECONDS,
    Finished,
    NeedsReason,
    NeedsRelist,
    Pending,
    attempt_state,
)
from trialrun_operator.ledger_format import BaselineEntry
from trialrun_operator.names import MAX_ATTEMPT, PODS, Resource
from trialrun_operator.observe import Attempt, Job, Pod

MAX_ATTEMPTS = 3  # for each acceptance
# A finished job is kept at least so long: a create under way meets it, instead of running its trial again.
KEPT_MILLISECONDS = 10_000
# And no longer than this where the experiment doesn't say: the ledger has its record.
DAY_SECONDS = 86_400
# So long a job may have nodes for only some of its workers where an older one is in the same position.
HELD_MILLISECONDS = 30_000
_GIVES_WAY = "an older one waits for nodes, and it has not all of its own"


@dataclass(frozen=True)
class Delete:
    """A job or pod that should not exist any longer. `why` completes the sentence "deleted, because ..."."""

    resource: Resource
    name: str
    uid: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What to do. `running` are the trials and floors with a live attempt, `measuring` is that of the baseline.

    `measured` are attempts at the baseline to record beside `records`. Of the jobs `relists` pods must be listed
    before their end is believed, and the Events of `podless` may say why there are no pods. `room` are recorded jobs
    that go for others; none is created while it `waits_for_room`. With `some_nodes` a trial has had nodes for only
    some of its workers for a while. `wanted`, `over`, `worthwhile` and `idle` are the decision's, `ended` is why the
    search's budget ends it. `limits` are those of cells; None while what they count from is measured. `unknown` are
    trials that have jobs and of which the workload knows nothing. At `wake`, in milliseconds since 1970, time changes
    the plan.
    """

    records: tuple[Record, ...]
    measured: tuple[BaselineEntry, ...]
    relists: tuple[Job, ...]
    podless: tuple[Job, ...]
    creates: tuple[Start, ...]
    deletes: tuple[Delete, ...]
    running: frozenset[str]
    measuring: int | None
    room: tuple[Delete, ...]
    waits_for_room: bool
    some_nodes: bool
    wanted: int
    ended: str | None
    over: bool
    worthwhile: bool
    idle: bool
    unknown: frozenset[str]
    wake: int | None
    limits: Limits | None


def plan(
    work: Workload,
    ledger: Ledger,
    attempts: Iterable[Attempt],
    *,
    accepted: int,
    now: int,
    blocked: frozenset[tuple[str, int]] = frozenset(),
    crowded: bool = False,
) -> Plan:
    """The plan at `now`; `accepted` is when the experiment, or its rerun, was taken up (milliseconds since 1970).

    `blocked` are attempts whose jobs can't be created at present; `crowded` says that a quota takes no more jobs.
    """
    history = History(work, ledger, accepted)
    attempts, settled = _sorted_out(ledger, attempts)
    # A pod that was told to end and never does, its node being stuck, would hold up the search for ever.
    live = [each for each in attempts if each.live and not (each.dismissed and _recorded(ledger, *each.identity))]
    baseline = work.baseline.id if work.baseline is not None else ""
    trials = [each for each in live if each.identity[0] != baseline]
    measuring = [number for identity, number in (each.identity for each in live) if identity == baseline]
    running = [each.identity[0] for each in trials]

    waiting = _partly_placed(work, ledger, trials)
    busy_since = min((moment for each in trials if (moment := _began(each)) is not None), default=None)
    records, relists, podless, unclear, wakes = _judge(work, ledger, attempts, accepted, now)
    decision = decide(
        work,
        history,
        {each.identity[0] for each in live},
        records,
        # What starts while a trial waits for the rest of its nodes could take them.
        free=0 if work.experiment.spec.suspend or waiting else work.parallel_trials - len(running),
        now=now,
        busy_since=busy_since,
        unclear=unclear,
        blocked=blocked,
    )
    ended = history.ended(busy_since, now)
    stopped = [each.job for each in live if each.identity[0] in decision.stops]
    deletes = _tidy(work, ledger, attempts, now, wakes)
    finished = _finished(ledger, attempts, settled)
    deletes += _expired(work, finished, now, wakes)
    room = _room(work, ledger, finished) if crowded and decision.starts else []
    old = [job for job, moment in room if now >= moment + KEPT_MILLISECONDS][: len(decision.starts)]
    wakes += [moment + KEPT_MILLISECONDS for _, moment in room if now < moment + KEPT_MILLISECONDS]
    waits_for_room = bool(room) or (crowded and bool(records))
    # A search's budget may be used up by what has ended, which the decision doesn't know before it is written.
    waits = waits_for_room or (bool(records) and _has_budget(work))
    deletes += [
        _delete(job, "its search runs again, or wants no baseline") for job in stopped if job and not job.deleting
    ]
    holding = [job for job, since in waiting if now >= since + HELD_MILLISECONDS]
    wakes += [due for _, since in waiting if now < (due := since + HELD_MILLISECONDS)]
    deletes += [_delete(job, _GIVES_WAY) for job in holding if job is not waiting[0][0]]
    return Plan(
        records=(*(record for record in records if record.id != baseline), *decision.skipped),
        measured=tuple(_measured(record, attempts) for record in records if record.id == baseline),
        relists=tuple(relists),
        podless=tuple(podless),
        creates=() if waits else decision.starts,
        deletes=tuple(deletes),
        running=frozenset(running),
        measuring=max(measuring, default=None),
        room=tuple(_delete(job, "its trial is recorded, and a quota takes no more jobs") for job in old),
        waits_for_room=waits_for_room,
        some_nodes=bool(holding),
        wanted=0 if waits else decision.wanted,
        ended=None if ended is None else ended.sentence,
        over=decision.over,
        worthwhile=decision.worthwhile,
        idle=decision.idle,
        unknown=frozenset(each.identity[0] for each in attempts if each.identity[0] not in work.by_id),
        wake=min(wakes, default=None),
        limits=history.limits,
    )


def _began(attempt: Attempt) -> int | None:
    """When the first pod of an attempt had a node, from which on its record counts; None where none has."""
    return min((pod.placed for pod in attempt.pods if pod.placed is not None), default=None)


def _partly_placed(work: Workload, ledger: Ledger, live: Iterable[Attempt]) -> list[tuple[Job, int]]:
    """The jobs with nodes for some of their workers, while others wait; and since when they have those.

    Pods get nodes one by one. Of two jobs each can have what the other waits for, and then neither ever trains.
    """
    found: list[tuple[Job, int]] = []
    for attempt in live:
        job, trial = attempt.job, work.by_id.get(attempt.identity[0])
        if trial is None or job is None or job.deleting or job.suspended or job.ended is not None:
            continue
        ranks = attempt.ranks.values()
        if _recorded(ledger, *attempt.identity) or any(pod.exit is not None for pod in ranks):
            continue  # it has ended, or is about to be judged
        placed = [pod.placed for pod in ranks if pod.placed is not None]
        if 0 < len(placed) < trial.workers:
            found.append((job, max(placed)))
    return found


def _has_budget(work: Workload) -> bool:
    return isinstance(work.experiment, HyperparamSearch) and work.experiment.spec.budget != Budget()


def _sorted_out(ledger: Ledger, attempts: Iterable[Attempt]) -> tuple[list[Attempt], list[Attempt]]:
    """The attempts that may have to be acted on, the oldest first, and those that are over and recorded."""
    others: list[Attempt] = []
    settled: list[Attempt] = []  # most of thousands
    for each in attempts:
        (others if each.live or not _recorded(ledger, *each.identity) else settled).append(each)
    return sorted(others, key=_age), settled


def _judge(
    work: Workload, ledger: Ledger, attempts: Sequence[Attempt], accepted: int, now: int
) -> tuple[list[Record], list[Job], list[Job], set[str], list[int]]:
    """The records that are due, the jobs to list pods and Events of, what is not clear, and when to look again."""
    records: dict[tuple[str, int], Record] = {}
    relists: list[Job] = []
    podless: list[Job] = []
    unclear: set[str] = set()
    wakes: list[int] = []
    for attempt in attempts:
        identity, number = attempt.identity
        trial = work.by_id.get(identity)
        if trial is None or _recorded(ledger, identity, number):
            continue
        tries = sum(1 for record in ledger.get(identity, ()) if record.accepted_at >= accepted)
        retries_left = tries + 1 < MAX_ATTEMPTS and number < MAX_ATTEMPT
        found = attempt_state(attempt, trial, work, accepted=accepted, retries_left=retries_left, now=now)
        if isinstance(found, Finished):
            # Of two jobs of one attempt, the first having been deleted by hand, the earlier counts.
            records.setdefault((identity, number), found.record)
            continue
        if isinstance(found, NeedsRelist):
            relists.append(found.job)
        elif isinstance(found, NeedsReason):
            podless.append(found.job)
        elif isinstance(found, Pending) and found.until is not None:
            wakes.append(found.until)
        if attempt.job is not None:
            unclear.add(identity)
    latest = {record.id: record for _, record in sorted(records.items())}
    # The next attempt follows once this one is written down.
    unclear |= {identity for identity, record in latest.items() if not record.final}
    return list(records.values()), relists, podless, unclear, wakes


def _measured(record: Record, attempts: Sequence[Attempt]) -> BaselineEntry:
    """An attempt's record with what its pod reported; its image and how long it ran only the operator knows."""
    if record.outcome is not Outcome.SUCCEEDED:
        return BaselineEntry(record=record)
    pods = [each.ranks[0] for each in attempts if each.identity == (record.id, record.attempt) and 0 in each.ranks]
    reports = [pod.exit.report for pod in pods if pod.exit is not None and pod.exit.report is not None]
    found = next((report.run for report in reports), None)
    if found is None:
        missing = {"outcome": Outcome.METRICS_MISSING, "error": "the baseline's pod reported no figures of a run"}
        return BaselineEntry(record=record.model_copy(update=missing))
    image = {"image": record.environment.image}
    environments = tuple(each.model_copy(update=image) for each in found.environments)
    figures = found.model_copy(update={"environments": environments, "pod_seconds": record.seconds.total})
    return BaselineEntry(record=record, figures=figures)


def _tidy(work: Workload, ledger: Ledger, attempts: Sequence[Attempt], now: int, wakes: list[int]) -> list[Delete]:
    """What still runs of attempts whose record is in the ledger; when more may go is added to `wakes`."""
    deletes: list[Delete] = []
    for attempt in attempts:
        job = attempt.job
        if job is None or job.deleting or not _recorded(ledger, job.trial, job.attempt):
            continue
        staying = [pod for pod in attempt.pods if pod.stays and not pod.deleting]
        # What runs beside a trainer that has ended, such as a service mesh's proxy, may end by itself.
        patient = [due for pod in staying if pod.lingers and (due := _lingers_until(pod)) > now]
        if len(patient) == len(staying) > 0:
            wakes.append(min(patient))
            continue
        ranks = attempt.ranks.values()
        lost = [pod for pod in ranks if pod.exit is not None and pod.deleting]
        if job.ended is not None:
            deletes += [Delete(PODS, pod.name, pod.uid, "its job has ended without it") for pod in staying]
        elif staying or lost or len(ranks) < _workers(work, job):
            # Otherwise it would run on, or start pods anew. One whose pods all ended by themselves is about to end.
            deletes.append(_delete(job, "its trial is recorded and it has not ended"))
    return deletes


def _expired(work: Workload, ended: Sequence[tuple[Job, int]], now: int, wakes: list[int]) -> list[Delete]:
    """Recorded jobs that have been kept long enough; when the next has is added to `wakes`."""
    ttl = work.experiment.spec.ttl_seconds_after_finished
    kept, why = 1000 * DAY_SECONDS, "it ended a day ago"
    if ttl is not None:
        kept, why = max(1000 * ttl, KEPT_MILLISECONDS), f"it ended ttlSecondsAfterFinished ({ttl}) ago"
    due = [job for job, moment in ended if now >= moment + kept]
    if len(due) < len(ended):
        wakes.append(ended[len(due)][1] + kept)
    return [_delete(job, why) for job in due]


def _room(work: Workload, ledger: Ledger, ended: Sequence[tuple[Job, int]]) -> list[tuple[Job, int]]:
    """Recorded jobs that may go for others, and when they ended; the failed last, whose pods are looked at most."""
    if work.experiment.spec.ttl_seconds_after_finished is not None:  # they are kept as long as was asked for
        return []
    return sorted(ended, key=lambda one: (not _succeeded(ledger, one[0]), one[1]))


def _finished(ledger: Ledger, attempts: Iterable[Attempt], settled: Iterable[Attempt]) -> list[tuple[Job, int]]:
    """The jobs that have ended, when, and whose record is in the ledger, the first to end first."""
    recorded = (each for each in attempts if _recorded(ledger, *each.identity))
    jobs = (each.job for each in chain(settled, recorded))
    ended = [(job, job.ended) for job in jobs if job is not None and job.ended is not None and not job.deleting]
    return sorted(ended, key=lambda one: one[1])


def _succeeded(ledger: Ledger, job: Job) -> bool:
    return any(
        record.attempt == job.attempt and record.outcome is Outcome.SUCCEEDED for record in ledger.get(job.trial, ())
    )


def _workers(work: Workload, job: Job) -> int:
    """How many pods a job has; of one that the workload knows nothing of, one at least."""
    trial = work.by_id.get(job.trial)
    return 1 if trial is None else trial.workers


def _lingers_until(pod: Pod) -> int:
    return (pod.noticed or pod.ended or pod.created) + GRACE_MILLISECONDS


def _delete(job: Job, why: str) -> Delete:
    return Delete(job.resource, job.name, job.uid, why)


def _recorded(ledger: Ledger, identity: str, number: int) -> bool:
    of_trial = ledger.get(identity, ())
    return len(of_trial) > 0 and of_trial[-1].attempt >= number


def _age(attempt: Attempt) -> tuple[int, str]:
    first = attempt.job or attempt.pods[0]
    return first.created, first.uid
