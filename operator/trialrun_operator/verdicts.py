"""Whether an attempt is over, and with which record: the rules of waiting, of deadlines and of evidence. Pure."""

import weakref
from dataclasses import dataclass

from trainer.experiment.expand import Trial
from trainer.experiment.judge import Ending, Times, make_record
from trainer.experiment.outcome import RETRIED, Outcome
from trainer.experiment.record import RankReport, Record
from trainer.scheduling.workload import BASELINE, Workload
from trialrun_operator.observe import Attempt, Job, Pod

# How long the other ranks are waited for once a job, or a rank of it, has ended badly.
GRACE_MILLISECONDS = 30_000
# The kubelet ends a pod at its deadline; when this much later it has not, the operator does.
BACKSTOP_MILLISECONDS = 30_000
# A LIST of an attempt's pods settles a doubt for so long; the watch of pods may stand still.
CONFIRMED_MILLISECONDS = 30_000
# An API server's times have whole seconds, cut off; a report's clock, in milliseconds, is believed within this.
_CLOCK_MILLISECONDS = 2_000


@dataclass(frozen=True)
class Over:
    """The attempt is over; this is its record."""

    record: Record


@dataclass(frozen=True)
class Waits:
    """The attempt goes on; without news the next look is due at `until` (milliseconds since 1970)."""

    until: int | None = None


@dataclass(frozen=True)
class Doubtful:
    """A pod, its end or its report was not seen; a LIST of this job's pods must confirm that first."""

    job: Job


def verdict(
    attempt: Attempt, trial: Trial, work: Workload, *, accepted: int, retries_left: bool, now: int
) -> Over | Waits | Doubtful:
    """What to make of an attempt that has no record yet. It is thought over again only when time may change it."""
    asked = (accepted, retries_left)
    said: _Said | None = attempt.said.get("verdict")
    if said is None or said.asked != asked or said.work() is not work or not said.holds(now):
        found = _think(attempt, trial, work, accepted, retries_left, now)
        said = attempt.said["verdict"] = _Said(weakref.ref(work), asked, now, found)
    return said.found


@dataclass(frozen=True, slots=True)
class _Said:
    """A verdict, with what it was asked for; it keeps no experiment alive that has been changed since."""

    work: weakref.ref[Workload]
    asked: tuple[int, bool]
    now: int
    found: Over | Waits | Doubtful

    def holds(self, now: int) -> bool:
        """Whether time has not changed it."""
        until = self.found.until if isinstance(self.found, Waits) else None
        return self.now <= now and (until is None or now < until)


def _think(
    attempt: Attempt, trial: Trial, work: Workload, accepted: int, retries_left: bool, now: int
) -> Over | Waits | Doubtful:
    ranks, job = attempt.ranks, attempt.job
    endings = [pod.ending for pod in ranks.values() if pod.ending is not None]
    withdrawn = job is None or job.deleting
    if len(endings) == trial.workers and not (withdrawn and any(ending.platform in RETRIED for ending in endings)):
        return _record(attempt, trial, work, endings, accepted, retries_left, now)
    if job is None or job.deleting:  # deleted by hand: what it leaves is waited for, then the trial is run again
        return Waits()
    if (since := _ended_badly(job, ranks)) is not None:
        if now < since + GRACE_MILLISECONDS and ranks:
            return Waits(since + GRACE_MILLISECONDS)
        if not endings:
            said = f"; the job says: {job.message}" if job.message else ""
            what = "its pods have not ended" if ranks else "its pods are gone"
            endings = [Ending(0, platform=Outcome.NODE_LOST, error=f"{what}{said}")]
        return _record(attempt, trial, work, endings, accepted, retries_left, now)
    due, late = _deadline(job, ranks, trial, work, now)
    if late is None:
        return Waits(due)
    return _record(
        attempt, trial, work, [late, *(e for e in endings if e.rank != late.rank)], accepted, retries_left, now
    )


def _ended_badly(job: Job, ranks: dict[int, Pod]) -> int | None:
    """Since when the ranks that are left can make no difference: the job has ended, or a rank has failed."""
    moments = [pod.ended for pod in ranks.values() if pod.ending is not None and not _succeeded(pod.ending)]
    return min((moment for moment in (job.ended, *moments) if moment is not None), default=None)


def _succeeded(ending: Ending) -> bool:
    return ending.platform is None and ending.exit_code == 0


def _deadline(
    job: Job, ranks: dict[int, Pod], trial: Trial, work: Workload, now: int
) -> tuple[int | None, Ending | None]:
    """When the next deadline of a running or waiting attempt is, and the ending of the rank that has missed one."""
    missing = [rank for rank in range(trial.workers) if rank not in ranks or _waits(ranks[rank])]
    due: list[int] = []
    for rank in missing:
        obstacle = ranks[rank].obstacle if rank in ranks else None
        if obstacle is not None and obstacle.hopeless:
            return None, Ending(rank, platform=obstacle.outcome, error=obstacle.error)
    if missing and not job.suspended:
        seconds = work.experiment.spec.pending_deadline_seconds
        due.append(job.released + 1000 * seconds)
        if now >= due[-1]:
            return None, _not_started(missing, ranks, seconds)
    for rank, pod in ranks.items():
        if pod.began is not None and pod.ending is None:
            due.append(pod.began + 1000 * work.deadline_of(trial) + BACKSTOP_MILLISECONDS)
            if now >= due[-1]:
                error = f"still ran after its deadline of {work.deadline_of(trial)} s; the operator ended it"
                return None, Ending(rank, platform=Outcome.TIMED_OUT, error=error)
    return min(due, default=None), None


def _waits(pod: Pod) -> bool:
    return pod.started is None and pod.ending is None


def _not_started(missing: list[int], ranks: dict[int, Pod], seconds: int) -> Ending:
    waited = f"not started within pendingDeadlineSeconds ({seconds})"
    for rank in missing:
        if rank in ranks and (obstacle := ranks[rank].obstacle) is not None:
            return Ending(rank, platform=obstacle.outcome, error=f"{waited}: {obstacle.error}")
    rank = missing[0]
    why = "its container was never made" if rank in ranks else "no pod was made for it; describe the job to see why"
    return Ending(rank, platform=Outcome.UNSCHEDULABLE, error=f"{waited}: {why}")


def _record(
    attempt: Attempt, trial: Trial, work: Workload, endings: list[Ending], accepted: int, retries_left: bool, now: int
) -> Over | Doubtful:
    record = make_record(
        trial,
        attempt=attempt.identity[1],
        endings=endings,
        metric=work.metric_of(trial),
        times=_times(attempt, endings, accepted, now),
        retries_left=retries_left,
    )
    unseen = sum(pod.ending is not None for pod in attempt.ranks.values()) < trial.workers
    doubtful = unseen or record.outcome is Outcome.METRICS_MISSING
    if doubtful and attempt.job is not None and not _is_confirmed(attempt, now):
        return Doubtful(attempt.job)
    if record.outcome is Outcome.TIMED_OUT:
        ran = record.seconds.total - record.seconds.start
        limit = "deadlineSeconds" if trial.id != BASELINE else "what its trials may take together,"
        trained = f" It trained for {ran:.0f} s of {limit} {work.deadline_of(trial)}."
        record = record.model_copy(update={"error": record.error + trained})
    if (lead := attempt.ranks.get(0)) is not None and lead.image:
        environment = record.environment.model_copy(update={"image": lead.image})
        record = record.model_copy(update={"environment": environment})
    return Over(record)


def _is_confirmed(attempt: Attempt, now: int) -> bool:
    return attempt.confirmed is not None and now < attempt.confirmed + CONFIRMED_MILLISECONDS


def _times(attempt: Attempt, endings: list[Ending], accepted: int, now: int) -> Times:
    """An attempt starts when its first pod has a node, and ends with its last container."""
    pods = list(attempt.ranks.values())
    job = attempt.job
    ended = [pod.ended for pod in pods if pod.ended is not None]
    all_known = len(ended) == len(endings)
    finished = max(ended) if ended and all_known else (job.ended if job is not None else None) or now
    lead = next((ending.report for ending in endings if ending.rank == 0), None)
    if lead is not None and abs(lead.clock - finished) <= _CLOCK_MILLISECONDS:
        finished = lead.clock
    first = attempt.ranks.get(0)
    container = first.started if first is not None else None
    process = _process_began(container, lead)
    bound = [moment for pod in pods if (moment := pod.bound or pod.began or pod.started) is not None]
    if bound:
        # Never before it was: the trial whose place it takes has ended, perhaps within the second that is cut off.
        started = min(bound) + 999
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
