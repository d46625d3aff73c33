"""What to do about a search's baseline: measure it once the search is over, never beside it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, Reported, RunFigures
from trainer.scheduling.decide import Start
from trainer.scheduling.history import is_done
from trainer.scheduling.workload import BASELINE, Workload
from trialrun_operator.manifests import baseline_document
from trialrun_operator.names import JOBS
from trialrun_operator.observe import Attempt
from trialrun_operator.plan import Delete, Plan, look, tidy

# The kernel takes no environment variable of more than 128 KiB.
MAX_ORDER_BYTES = 120_000


class Measured(Reported):
    """An attempt at measuring a baseline: how it ended, and the figures of its run if it came to that."""

    record: Record
    figures: RunFigures | None = None


@dataclass(frozen=True)
class BaselinePlan:
    """How the measuring goes on. `over` says that nothing runs and, as things are, nothing will.

    `measured` is to be written down; `running` is the live attempt.
    """

    measured: tuple[Measured, ...] = ()
    running: int | None = None
    over: bool = True


def encode(measured: Measured) -> str:
    """The line of an attempt."""
    return measured.model_dump_json(by_alias=True)


def decode(line: str) -> Measured:
    """The attempt that a line holds.

    Raises:
        ValueError: it holds none.
    """
    return Measured.model_validate_json(line)


def with_baseline(
    work: Workload,
    search: Plan,
    known: Sequence[Measured],
    attempts: Iterable[Attempt],
    *,
    accepted: int,
    now: int,
    blocked: frozenset[tuple[str, int]] = frozenset(),
) -> tuple[Plan, BaselinePlan]:
    """The search's plan with what its baseline needs, and how the measuring of that goes on.

    `known` are the attempts that were written down, in their order.
    """
    ours = sorted((each for each in attempts if each.identity[0] == BASELINE), key=lambda each: each.identity[1])
    # The search goes first: one that is run again waits only until the baseline's pod is gone.
    wanted = work.measures_baseline and search.worthwhile and not search.records
    if not ours and not wanted:
        return search, BaselinePlan()
    live = [each for each in ours if each.live]
    unwanted = [] if wanted else [each.job for each in live if each.job is not None and not each.job.deleting]
    ledger = {BASELINE: [measured.record for measured in known]}
    wakes: list[int] = []
    looked = ours if wanted else [each for each in ours if not each.live]
    records, doubts, waiting = look(work, ledger, looked, accepted, now, wakes)
    deletes = tidy(work, ledger, looked, now, wakes)
    deletes += [Delete(JOBS, job.name, job.uid, "its search runs again, or wants no baseline") for job in unwanted]
    creates: list[Start] = []
    settled = bool(known) and is_done(work, known[-1].record, accepted)
    if wanted and not (live or waiting or settled or work.experiment.spec.suspend or too_long(work)):
        attempt = known[-1].record.attempt + 1 if known else 1
        if (BASELINE, attempt) not in blocked:
            creates.append(Start(work.baseline, attempt))
    wake = min((moment for moment in (search.wake, *wakes) if moment is not None), default=None)
    return (
        replace(
            search,
            doubts=(*search.doubts, *doubts),
            creates=(*(() if live else search.creates), *creates),
            deletes=(*search.deletes, *deletes),
            wake=wake,
        ),
        BaselinePlan(
            measured=tuple(_measured(record, ours) for record in records),
            running=live[-1].identity[1] if live else None,
            over=not (live or waiting or creates or records) and (settled or not wanted),
        ),
    )


def too_long(work: Workload) -> int | None:
    """The bytes of the order that a baseline's pod would get, if they are too many for it."""
    size = len(baseline_document(work, "", 0).encode())
    return size if size > MAX_ORDER_BYTES else None


def _measured(record: Record, attempts: Sequence[Attempt]) -> Measured:
    """An attempt's record with what its pod reported; its image and how long it ran only the operator knows."""
    pods = [each.ranks[0] for each in attempts if each.identity[1] == record.attempt and 0 in each.ranks]
    reports = [pod.ending.report for pod in pods if pod.ending is not None and pod.ending.report is not None]
    found = next((report.run for report in reports), None)
    if record.outcome is not Outcome.SUCCEEDED:
        return Measured(record=record)
    if found is None:
        missing = {"outcome": Outcome.METRICS_MISSING, "error": "the baseline's pod reported no figures of a run"}
        return Measured(record=record.model_copy(update=missing))
    image = {"image": record.environment.image}
    environments = tuple(each.model_copy(update=image) for each in found.environments)
    return Measured(
        record=record,
        figures=found.model_copy(update={"environments": environments, "pod_seconds": record.seconds.total}),
    )
