"""Which runs start, and which need not run: the one answer for this machine and for a cluster. Pure.

Deciding again after a decision was carried out starts nothing; in which order things are given makes no difference.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from trainer.experiment.expand import Trial
from trainer.experiment.outcome import OUT_OF_MEMORY, Outcome
from trainer.experiment.record import Record
from trainer.experiment.spec import ScaleTest
from trainer.scheduling.history import History, is_done, is_failure
from trainer.scheduling.workload import Workload


@dataclass(frozen=True)
class Start:
    """An attempt that should run. `memory` is the limit that each worker is to run under, None for none of ours."""

    trial: Trial
    attempt: int
    memory: str | None = None


@dataclass(frozen=True)
class Decision:
    """What to do. `skipped` are records of what need not run. `over` says that nothing runs and nothing will.

    `worthwhile` says that it is over and went well enough for a baseline to be measured.
    """

    starts: tuple[Start, ...]
    skipped: tuple[Record, ...]
    over: bool
    worthwhile: bool


def decide(
    work: Workload,
    history: History,
    live: Collection[str],
    ended: Sequence[Record] = (),
    *,
    free: int,
    now: int,
    unclear: Collection[str] = (),
    blocked: Collection[tuple[str, int]] = (),
) -> Decision:
    """The decision at `now` (milliseconds since 1970), when `free` more attempts may run; 0 where it is suspended.

    `live` are the runs of which an attempt goes on, `ended` records that the history has not taken in yet. Of the
    runs that are `unclear` it is not known whether they have ended; `blocked` attempts can't be started at present.
    """
    busy = {*live, *unclear}
    skips = _skips(work, history, busy, ended, now)
    done = {record.id: record for record in (*ended, *skips) if is_done(work, record, history.accepted)}
    failed = len(history.failed) - len(history.failed & {record.id for record in ended})
    failed += sum(is_failure(record) for record in done.values())
    exhausted = work.max_failed_trials is not None and failed > work.max_failed_trials
    starts: list[Start] = []
    for trial in history.left if not exhausted else ():
        if len(starts) >= free:
            break
        attempt = history.next_attempt(trial)
        if not (trial.id in busy or trial.id in done or (trial.id, attempt) in blocked):
            starts.append(Start(trial, attempt, None if history.limits is None else history.limits.of(trial)))
    nothing_left = history.limits is not None and all(trial.id in done for trial in history.left)
    over = not busy and not starts and (exhausted or nothing_left)
    return Decision(tuple(starts), tuple(skips), over, over and not exhausted and failed < len(work.trials))


def reason_to_skip(test: ScaleTest, trial: Trial, ended: Iterable[Record]) -> str | None:
    """Why a cell need not run after those that have `ended`: a smaller one with as many workers ran out of memory."""
    if test.spec.cell.after_out_of_memory == "Run":
        return None
    size = trial.training.data.multiplier
    for record in ended:
        smaller = _size(record) < size and record.workers == trial.workers
        if smaller and record.outcome in OUT_OF_MEMORY:
            workers = "1 worker" if trial.workers == 1 else f"{trial.workers} workers"
            return f"{_size(record)}x with {workers} ended as {record.outcome}"
    return None


def skipped(trial: Trial, *, attempt: int, reason: str, accepted: int, now: int) -> Record:
    """The record of a cell that did not run; times are milliseconds since 1970."""
    return Record(
        id=trial.id,
        index=trial.index,
        parameters=trial.parameters,
        repeat=trial.repeat,
        workers=trial.workers,
        seed=trial.training.train.seed,
        attempt=attempt,
        outcome=Outcome.SKIPPED,
        error=reason,
        accepted_at=accepted,
        started_at=now,
        finished_at=now,
    )


def _skips(
    work: Workload, history: History, busy: Collection[str], ended: Sequence[Record], now: int
) -> list[Record]:
    """The records of cells that need not run, because a smaller one ran out of memory."""
    passed = [*history.out_of_memory, *ended]
    if not isinstance(work.experiment, ScaleTest) or not passed:
        return []
    return [
        skipped(trial, attempt=history.next_attempt(trial), reason=reason, accepted=history.accepted, now=now)
        for trial in history.left
        if trial.id not in busy and (reason := reason_to_skip(work.experiment, trial, passed)) is not None
    ]


def _size(record: Record) -> int:
    """The size of a cell's training set, as a multiple of the base set."""
    return int(record.parameters.get("data.multiplier", 1))
