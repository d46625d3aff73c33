"""Answers one question: what should exist now? From an experiment, its ledger, what was observed, and the time. Pure.

Planning again after a plan was carried out gives an empty plan; the order of observation makes no difference.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trainer.experiment.record import Record
from trainer.scheduling.decide import Start, decide
from trainer.scheduling.history import History, Ledger
from trainer.scheduling.limits import Limits
from trainer.scheduling.workload import BASELINE, Workload
from trialrun_operator.names import JOBS, MAX_ATTEMPT, PODS, Resource
from trialrun_operator.observe import Attempt, Job
from trialrun_operator.verdicts import Doubtful, Over, Waits, verdict

MAX_ATTEMPTS = 3  # for each acceptance
# A finished job is kept at least so long: a create under way meets it, instead of running its trial again.
KEPT_MILLISECONDS = 10_000


@dataclass(frozen=True)
class Delete:
    """A job or pod that should not exist any longer. `why` completes the sentence "deleted, because ..."."""

    resource: Resource
    name: str
    uid: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What to do. `running` are the trials with a live attempt; `over` says that nothing runs and nothing will.

    `worthwhile` says that it is over and went well enough for a baseline to be measured. `limits` are those of cells;
    None while what they count from is measured.
    """

    records: tuple[Record, ...]
    doubts: tuple[Job, ...]
    creates: tuple[Start, ...]
    deletes: tuple[Delete, ...]
    running: frozenset[str]
    over: bool
    worthwhile: bool
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
    known: History | None = None,
) -> Plan:
    """The plan at `now`; `accepted` is when the experiment, or its rerun, was taken up (milliseconds since 1970).

    `blocked` are attempts whose jobs can't be created at present; `known` is the ledger's history, if at hand.
    """
    wakes: list[int] = []
    history = known or History(work, ledger, accepted)
    attempts = [each for each in attempts if each.identity[0] != BASELINE and not is_done_with(work, ledger, each)]
    attempts.sort(key=_age)
    # A pod that was told to end and never does, its node being stuck, would hold up the search for ever.
    running = [each for each in attempts if each.live and not (each.dismissed and _recorded(ledger, *each.identity))]
    live = frozenset(attempt.identity[0] for attempt in running)
    records, doubts, waiting = look(work, ledger, attempts, accepted, now, wakes)
    decision = decide(
        work,
        history,
        live,
        records,
        free=0 if work.experiment.spec.suspend else work.parallel_trials - len(running),
        now=now,
        unclear=waiting,
        blocked=blocked,
    )
    return Plan(
        records=(*records, *decision.skipped),
        doubts=tuple(doubts),
        creates=decision.starts,
        deletes=tuple(tidy(work, ledger, attempts, now, wakes)),
        running=live,
        over=decision.over,
        worthwhile=decision.worthwhile,
        wake=min(wakes, default=None),
        limits=history.limits,
    )


def is_done_with(work: Workload, ledger: Ledger, attempt: Attempt) -> bool:
    """Whether an attempt at a trial is over and recorded, and its job is not to be deleted in time.

    No plan has anything to do about it then, unless it changes.
    """
    if attempt.live or attempt.identity[0] == BASELINE or work.experiment.spec.ttl_seconds_after_finished is not None:
        return False
    return _recorded(ledger, *attempt.identity)


def look(
    work: Workload, ledger: Ledger, attempts: Sequence[Attempt], accepted: int, now: int, wakes: list[int]
) -> tuple[list[Record], list[Job], set[str]]:
    """The records that are due, the jobs whose pods must be listed first, and the trials that wait for either.

    When time changes that is added to `wakes`.
    """
    records: dict[tuple[str, int], Record] = {}
    doubts: list[Job] = []
    waiting: set[str] = set()
    for attempt in attempts:
        identity, number = attempt.identity
        trial = work.baseline if identity == BASELINE else work.by_id.get(identity)
        if trial is None or _recorded(ledger, identity, number):
            continue
        tries = sum(1 for record in ledger.get(identity, ()) if record.accepted_at >= accepted)
        found = verdict(attempt, trial, work, accepted=accepted, retries_left=_retries_left(tries, number), now=now)
        if isinstance(found, Over):
            # Of two jobs of one attempt, the first having been deleted by hand, the earlier counts.
            records.setdefault((identity, number), found.record)
        else:
            if isinstance(found, Doubtful):
                doubts.append(found.job)
            elif isinstance(found, Waits) and found.until is not None:
                wakes.append(found.until)
            if attempt.job is None:
                continue
        waiting.add(identity)
    return list(records.values()), doubts, waiting


def tidy(work: Workload, ledger: Ledger, attempts: Sequence[Attempt], now: int, wakes: list[int]) -> list[Delete]:
    """What may go, now that its record is in the ledger."""
    deletes: list[Delete] = []
    ttl = work.experiment.spec.ttl_seconds_after_finished
    for attempt in attempts:
        job = attempt.job
        if job is None or job.deleting or (ttl is None and not attempt.live and job.ended is not None):
            continue
        if not _recorded(ledger, job.trial, job.attempt):
            continue
        staying = [pod for pod in attempt.pods if pod.stays and not pod.deleting]
        lost = [pod for pod in attempt.pods if pod.ending is not None and pod.deleting]
        if job.ended is None:
            # All pods ended by themselves: the job is about to say so. Otherwise it would run on, or start pods anew.
            if staying or lost or not attempt.pods:
                deletes.append(Delete(JOBS, job.name, job.uid, "its trial is recorded and it has not ended"))
            continue
        deletes += [Delete(PODS, pod.name, pod.uid, "its job has ended without it") for pod in staying]
        if ttl is not None:
            due = job.ended + max(1000 * ttl, KEPT_MILLISECONDS)
            if now >= due:
                deletes.append(Delete(JOBS, job.name, job.uid, f"it ended ttlSecondsAfterFinished ({ttl}) ago"))
            else:
                wakes.append(due)
    return deletes


def _recorded(ledger: Ledger, identity: str, number: int) -> bool:
    of_trial = ledger.get(identity, ())
    return len(of_trial) > 0 and of_trial[-1].attempt >= number


def _retries_left(tries: int, number: int) -> bool:
    return tries + 1 < MAX_ATTEMPTS and number < MAX_ATTEMPT


def _age(attempt: Attempt) -> tuple[int, str]:
    first = attempt.job or attempt.pods[0]
    return first.created, first.uid
