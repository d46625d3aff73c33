"""Which runs start, which stop and which need not run: the one answer for this machine and for a cluster. Pure.

Deciding again after a decision was carried out starts nothing; in which order things are given makes no difference.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainer.experiment.expand import Trial
from trainer.experiment.outcome import OUT_OF_MEMORY, Outcome
from trainer.experiment.program import MULTIPLIER
from trainer.experiment.record import RUNG, STEP, Record
from trainer.experiment.rung import why
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
    """What to do. `skipped` are records of what need not run, `stops` the runs whose attempt is no longer wanted.

    `wanted` is how many points a learning search should be given now. `over` says that no trial runs and none will,
    `worthwhile` that it went well enough for a baseline to be measured; both count on it that what has `ended` is
    written down. `idle` says that nothing is left to do, for a baseline neither.
    """

    starts: tuple[Start, ...]
    stops: tuple[str, ...]
    skipped: tuple[Record, ...]
    wanted: int
    over: bool
    worthwhile: bool
    idle: bool


def decide(
    work: Workload,
    history: History,
    live: Collection[str],
    ended: Sequence[Record] = (),
    *,
    free: int,
    now: int,
    busy_since: int | None = None,
    unclear: Collection[str] = (),
    blocked: Collection[tuple[str, int]] = (),
) -> Decision:
    """The decision at `now` (milliseconds since 1970), when `free` more attempts may start; 0 where none may.

    `live` are the runs of which an attempt goes on, the first of them since `busy_since`; `ended` are records that
    the history has not taken in yet. Of the runs that are `unclear` it is not known whether they have ended;
    `blocked` attempts can't be started at present.
    """
    busy = {*live, *unclear}
    baseline = work.baseline.id if work.baseline is not None else ""
    skips = [*_skips(work, history, busy, ended, now), *_stopped(work, history, busy, ended, now)]
    done = {record.id: record for record in (*ended, *skips) if is_done(work, record, history.accepted)}
    failed = len(history.failed - {record.id for record in ended})
    failed += sum(is_failure(record) for record in done.values() if record.id != baseline)
    exhausted = work.max_failed_trials is not None and failed > work.max_failed_trials
    closed = exhausted or history.ended(busy_since, now) is not None

    starts: list[Start] = []
    for trial in history.left if not closed and baseline not in busy else ():
        if len(starts) >= free:
            break
        if trial.id not in busy and trial.id not in done and (start := _start(history, trial, blocked)) is not None:
            starts.append(start)
    nothing_left = history.limits is not None and all(trial.id in done for trial in history.left) and not work.missing
    over = not busy - {baseline} and not starts and (closed or nothing_left)
    lacking = 0 if closed else max(0, math.ceil((free - len(starts)) / work.experiment.spec.repeats))
    worthwhile = over and not exhausted and failed < len(work.trials)

    # The search goes first, and all of it is written down: a baseline is measured after it, never beside it.
    wanted = work.measures_baseline and worthwhile and all(record.id == baseline for record in ended)
    to_measure = wanted and work.baseline is not None and not history.is_done(work.baseline) and baseline not in done
    if to_measure and baseline not in busy and free > 0 and work.baseline is not None:
        starts += filter(None, [_start(history, work.baseline, blocked)])
    return Decision(
        starts=tuple(starts),
        stops=(
            *((baseline,) if baseline in live and not wanted else ()),
            *(trial.id for trial in history.stopping if trial.id in live),
        ),
        skipped=tuple(skips),
        wanted=min(lacking, work.missing),
        over=over,
        worthwhile=worthwhile,
        idle=over and not to_measure and baseline not in busy and not ended and not skips,
    )


def reason_to_skip(test: ScaleTest, trial: Trial, ended: Iterable[Record]) -> str | None:
    """Why a cell need not run after those that have `ended`: a smaller one with as many workers ran out of memory."""
    if test.spec.cell.after_out_of_memory == "Run":
        return None
    size = trial.multiplier
    for record in ended:
        smaller = _size(record) < size and record.workers == trial.workers
        if smaller and record.outcome in OUT_OF_MEMORY:
            workers = "1 worker" if trial.workers == 1 else f"{trial.workers} workers"
            return f"{_size(record)}x with {workers} ended as {record.outcome}"
    return None


def _left_out(trial: Trial, outcome: Outcome, error: str, *, attempt: int, accepted: int, now: int) -> Record:
    """The record of a trial that need not run, or not on; times are milliseconds since 1970."""
    return Record(
        id=trial.id,
        index=trial.index,
        parameters=trial.parameters,
        repeat=trial.repeat,
        workers=trial.workers,
        seed=trial.seed,
        attempt=attempt,
        outcome=outcome,
        error=error,
        accepted_at=accepted,
        started_at=now,
        finished_at=now,
    )


def _stopped(
    work: Workload, history: History, busy: Collection[str], ended: Sequence[Record], now: int
) -> Iterator[Record]:
    """The records of trials that were to stop when whoever ran them died."""
    over = {*busy, *(record.id for record in ended)}
    for trial in history.stopping:
        if trial.id not in over and (entry := history.last_entry(trial)) is not None:
            attempt, because = max(entry.attempt, history.next_attempt(trial)), why(entry, work.metric or "")
            record = _left_out(trial, Outcome.STOPPED, because, attempt=attempt, accepted=history.accepted, now=now)
            told = {"metrics": entry.metrics, "evidence": {STEP: entry.step, RUNG: entry.rung}}
            yield record.model_copy(update=told)


def _skips(
    work: Workload, history: History, busy: Collection[str], ended: Sequence[Record], now: int
) -> list[Record]:
    """The records of cells that need not run, because a smaller one ran out of memory."""
    passed = [*history.out_of_memory, *ended]
    if not isinstance(work.experiment, ScaleTest) or not passed:
        return []
    return [
        _left_out(
            trial,
            Outcome.SKIPPED,
            reason,
            attempt=history.next_attempt(trial),
            accepted=history.accepted,
            now=now,
        )
        for trial in history.left
        if trial.id not in busy and (reason := reason_to_skip(work.experiment, trial, passed)) is not None
    ]


def _start(history: History, trial: Trial, blocked: Collection[tuple[str, int]]) -> Start | None:
    """Its next attempt, None while that can't be started."""
    attempt = history.next_attempt(trial)
    if (trial.id, attempt) in blocked:
        return None
    return Start(trial, attempt, None if history.limits is None else history.limits.of(trial))


def _size(record: Record) -> int:
    """The size of a cell's training set, as a multiple of the base set."""
    return int(record.parameters.get("data.multiplier", record.parameters.get(MULTIPLIER, 1)))
