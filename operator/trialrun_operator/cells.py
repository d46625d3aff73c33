"""What a scale test's cells need that trials of a search don't: a memory limit, and to be skipped. Pure.

The limit follows from the floor, which is what a worker has before it holds a sample. It is measured before the first
cell runs, and stands in the ledger like any attempt, so that whoever comes later finds the same limit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trainer.experiment.cells import memory_limit, reason_to_skip, skipped
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.record import Record
from trainer.experiment.spec import ScaleTest
from trialrun_operator import conditions as c
from trialrun_operator.names import MAX_ATTEMPT
from trialrun_operator.workload import Workload


@dataclass(frozen=True)
class Limits:
    """The memory that a worker may use who is alone, or has peers, as a quantity; None for as much as there is.

    `problem` says why no cell can run.
    """

    alone: str | None = None
    with_peers: str | None = None
    problem: c.Problem | None = None

    def of(self, trial: Trial) -> str | None:
        """The limit of each worker of a trial."""
        return self.with_peers if trial.workers > 1 else self.alone


def limits(work: Workload, ledger: Mapping[str, Sequence[Record]], settled: Mapping[str, Record]) -> Limits | None:
    """The limits that follow from what the ledger says of the floors; None while one is still to be measured.

    `settled` are the records of what is done with. A floor that was measured stays, whatever is run again.
    """
    if not isinstance(work.experiment, ScaleTest) or not work.floors:
        return Limits()
    cell = work.experiment.spec.cell
    found: dict[bool, str | None] = {}
    for trial in work.floors:
        floor = next(filter(None, map(_floor, ledger.get(trial.id, ()))), None)
        if floor is None and trial.id not in settled:
            return None
        if floor is None and cell.memory_limit is None:
            record = settled[trial.id]
            return Limits(problem=c.floor_unknown(trial.workers, record.outcome, record.error))
        try:
            size = None if floor is None else memory_limit(cell, floor)
        except UserError as error:
            return Limits(problem=c.Problem(c.LIMIT_BELOW_FLOOR, f"{error}."))
        # A figure of the user's is handed on as it was written.
        found[trial.workers > 1] = cell.memory_limit or str(size)
    return Limits(found.get(False), found.get(True))


def _floor(record: Record) -> int | None:
    """The floor that an attempt tells of, however it ended: its largest rank's."""
    told = (rank.counted_floor for rank in record.memory if rank is not None)
    return max((floor for floor in told if floor is not None), default=None)


def untold(work: Workload, records: Sequence[Record], accepted: int) -> bool:
    """Whether these, of one trial, should have told a floor, and another attempt since the latest `rerun` may yet."""
    if not isinstance(work.experiment, ScaleTest) or work.experiment.spec.cell.memory_limit is not None:
        return False
    latest = records[-1]
    again = latest.accepted_at < accepted and latest.attempt < MAX_ATTEMPT
    return again and latest.id in {trial.id for trial in work.floors} and not any(map(_floor, records))


def too_large(
    work: Workload,
    waiting: Iterable[Trial],
    ended: Sequence[Record],
    ledger: Mapping[str, Sequence[Record]],
    *,
    accepted: int,
    now: int,
) -> list[Record]:
    """The records of the cells that need not run, of those that are `waiting`, after the ones that have `ended`."""
    if not isinstance(work.experiment, ScaleTest) or not ended:
        return []
    return [
        skipped(trial, attempt=next_attempt(ledger, trial), reason=reason, accepted=accepted, now=now)
        for trial in waiting
        if (reason := reason_to_skip(work.experiment, trial, ended)) is not None
    ]


def next_attempt(ledger: Mapping[str, Sequence[Record]], trial: Trial) -> int:
    """The number of a trial's next attempt. Only what is written counts: it follows on what no crash can lose."""
    return ledger[trial.id][-1].attempt + 1 if ledger.get(trial.id) else 1
