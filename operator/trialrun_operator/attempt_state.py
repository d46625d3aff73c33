"""Whether an attempt is over, and with which record: the rules of waiting, of deadlines and of evidence. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.experiment.expand import Kind, Trial
from trainer.experiment.judge import RankExit, Times, make_record
from trainer.experiment.outcome import RETRIED, Outcome
from trainer.experiment.record import RankReport, Record
from trainer.scheduling.workload import Workload
from trialrun_operator.observe import Attempt, Job, Pod
from trialrun_operator.pod_outcome import StartFailure

# How long the other ranks are waited for once a job, or a rank of it, has ended badly.
GRACE_MILLISECONDS = 30_000
# The kubelet ends a pod at its deadline; when this much later it has not, the operator does.
BACKSTOP_MILLISECONDS = 30_000
# A LIST of an attempt's pods settles a doubt for so long; the watch of pods may stand still.
CONFIRMED_MILLISECONDS = 30_000
# An API server's times have whole seconds, cut off; a report's clock, in milliseconds, is believed within this.
_CLOCK_MILLISECONDS = 2_000
# When a job has had no pod for so long, its Events are asked why; and how often.
PODLESS_MILLISECONDS = 10_000
ASKED_MILLISECONDS = 30_000


@dataclass(frozen=True)
class Finished:
    """The attempt is over; this is its record."""

    record: Record


@dataclass(frozen=True)
class Pending:
    """The attempt goes on; without news the next look is due at `until` (milliseconds since 1970)."""

    until: int | None = None


@dataclass(frozen=True)
class NeedsRelist:
    """A pod, its end or its report was not seen, or was told to end: this job and its pods must be read first."""

    job: Job


@dataclass(frozen=True)
class NeedsReason:
    """A rank of this job has no pod; the job's Events may say why, and that it never will."""

    job: Job


AttemptState = Finished | Pending | NeedsRelist | NeedsReason


def attempt_state(
    attempt: Attempt, trial: Trial, work: Workload, *, accepted: int, retries_left: bool, now: int
) -> AttemptState:
    """The state of an attempt that has no record yet."""
    ranks, job = attempt.ranks, attempt.job
    exits = [pod.exit for pod in ranks.values() if pod.exit is not None]

    def finished(exits: list[RankExit]) -> Finished | NeedsRelist:
        record = _record(attempt, trial, work, exits, accepted=accepted, retries_left=retries_left, now=now)
        return _confirmed(attempt, trial, record, now)

    withdrawn = job is None or job.deleting
    if len(exits) == trial.workers and not (withdrawn and any(each.platform in RETRIED for each in exits)):
        return finished(exits)
    if job is None or job.deleting:  # deleted by hand: what it leaves is waited for, then the trial is run again
        return Pending()
    if (since := _ended_badly(job, ranks)) is not None:
        if now < since + GRACE_MILLISECONDS and ranks:
            return Pending(since + GRACE_MILLISECONDS)
        return finished(exits or [_lost(job, ranks)])
    due, late = _deadline(attempt, job, trial, work, now)
    if late is not None:
        return finished([late, *(each for each in exits if each.rank != late.rank)])
    if not job.suspended and any(rank not in ranks for rank in range(trial.workers)):
        asks = max(job.released + PODLESS_MILLISECONDS, attempt.asked + ASKED_MILLISECONDS if attempt.asked else 0)
        if now >= asks:
            return NeedsReason(job)
        due = asks if due is None else min(due, asks)
    return Pending(due)


def _lost(job: Job, ranks: Mapping[int, Pod]) -> RankExit:
    """What is put down of a job that has ended and of which no pod tells anything."""
    said = f"; the job says: {job.message}" if job.message else ""
    what = "its pods have not ended" if ranks else "its pods are gone"
    return RankExit(0, platform=Outcome.NODE_LOST, error=f"{what}{said}")


def _ended_badly(job: Job, ranks: dict[int, Pod]) -> int | None:
    """Since when the ranks that are left can make no difference: the job has ended, or a rank has failed."""
    moments = [_noticed(pod) for pod in ranks.values() if pod.exit is not None and not _succeeded(pod.exit)]
    return min((moment for moment in (job.ended, *moments) if moment is not None), default=None)


def _noticed(pod: Pod) -> int | None:
    """When a pod was seen to have ended: its node's clock may be minutes off."""
    return pod.ended if pod.noticed is None else pod.noticed


def _succeeded(rank: RankExit) -> bool:
    return rank.platform is None and rank.exit_code == 0


def _deadline(
    attempt: Attempt, job: Job, trial: Trial, work: Workload, now: int
) -> tuple[int | None, RankExit | None]:
    """When the next deadline of an attempt that goes on is; else what is put down of the rank that has missed one."""
    ranks = attempt.ranks
    missing = [rank for rank in range(trial.workers) if rank not in ranks or _waits(ranks[rank])]
    failures = {rank: ranks[rank].start_failure if rank in ranks else attempt.refusal for rank in missing}
    due: list[int] = []
    for rank, failure in failures.items():
        if failure is not None and failure.final:
            return None, RankExit(rank, platform=failure.outcome, error=failure.error)
    if missing and not job.suspended:
        seconds = work.experiment.spec.pending_deadline_seconds
        due.append(job.released + 1000 * seconds)
        if now >= due[-1]:
            return None, _not_started(failures, ranks, seconds)
    for rank, pod in ranks.items():
        if pod.began is not None and pod.exit is None:
            due.append(pod.began + 1000 * work.deadline_of(trial) + BACKSTOP_MILLISECONDS)
            if now >= due[-1]:
                error = f"still ran after its deadline of {work.deadline_of(trial)} s; the operator ended it"
                return None, RankExit(rank, platform=Outcome.TIMED_OUT, error=error)
    return min(due, default=None), None


def _waits(pod: Pod) -> bool:
    return pod.started is None and pod.exit is None


def _not_started(failures: Mapping[int, StartFailure | None], ranks: Mapping[int, Pod], seconds: int) -> RankExit:
    """What is put down of a rank that waited too long: one of which it is known why, if there is one."""
    waited = f"not started within pendingDeadlineSeconds ({seconds})"
    for rank, failure in failures.items():
        if failure is not None:
            return RankExit(rank, platform=failure.outcome, error=f"{waited}: {failure.error}")
    rank = min(failures)
    why = "its container was never made" if rank in ranks else "no pod was made for it; describe the job to see why"
    return RankExit(rank, platform=Outcome.UNSCHEDULABLE, error=f"{waited}: {why}")


def _record(
    attempt: Attempt,
    trial: Trial,
    work: Workload,
    exits: list[RankExit],
    *,
    accepted: int,
    retries_left: bool,
    now: int,
) -> Record:
    record = make_record(
        trial,
        attempt=attempt.identity[1],
        exits=exits,
        metric=work.metric_of(trial),
        times=_times(attempt, exits, accepted, now),
        retries_left=retries_left,
    )
    if record.outcome is Outcome.TIMED_OUT:
        ran = record.seconds.total - record.seconds.start
        limit = "what its trials may take together," if trial.kind is Kind.BASELINE else "deadlineSeconds"
        trained = f" It trained for {ran:.0f} s of {limit} {work.deadline_of(trial)}."
        record = record.model_copy(update={"error": record.error + trained})
    if (lead := attempt.ranks.get(0)) is not None and lead.image:
        environment = record.environment.model_copy(update={"image": lead.image})
        record = record.model_copy(update={"environment": environment})
    return record


def _confirmed(attempt: Attempt, trial: Trial, record: Record, now: int) -> Finished | NeedsRelist:
    """The record, but only once its job and pods were read, where it rests on one not seen, or told to end.

    A queue that takes pods back suspends their job first, and that may not have been seen.
    """
    unseen = sum(pod.exit is not None for pod in attempt.ranks.values()) < trial.workers
    told = any(pod.withdrawn for pod in attempt.ranks.values())
    doubtful = unseen or told or record.outcome is Outcome.METRICS_MISSING
    listed = attempt.confirmed is not None and now < attempt.confirmed + CONFIRMED_MILLISECONDS
    if doubtful and attempt.job is not None and not listed:
        return NeedsRelist(attempt.job)
    return Finished(record)


def _times(attempt: Attempt, exits: list[RankExit], accepted: int, now: int) -> Times:
    """An attempt starts when its first pod has a node, and ends with its last container."""
    pods = list(attempt.ranks.values())
    job = attempt.job
    ended = [pod.ended for pod in pods if pod.ended is not None]
    all_known = len(ended) == len(exits)
    finished = max(ended) if ended and all_known else (job.ended if job is not None else None) or now
    lead = next((each.report for each in exits if each.rank == 0), None)
    if lead is not None and abs(lead.clock - finished) <= _CLOCK_MILLISECONDS:
        finished = lead.clock
    first = attempt.ranks.get(0)
    container = first.started if first is not None else None
    process = _process_began(container, lead)
    placed = [pod.placed for pod in pods if pod.placed is not None]
    if placed:
        # Never before it was: the trial whose place it takes has ended, perhaps within the second that is cut off.
        started = min(placed) + 999
        started = started if process is None else min(started, process)
    else:
        started = job.released if job is not None and not pods else finished
    return Times(accepted, started, max(started, finished), process if process is not None else container)


def _process_began(container: int | None, lead: RankReport | None) -> int | None:
    """When rank 0's process began, by its own clock, if that fits the start of its container."""
    if container is None or lead is None or not lead.seconds.total:
        return None
    began = lead.clock - round(1000 * lead.seconds.total)
    return began if abs(began - container) <= _CLOCK_MILLISECONDS else None
