"""The memory limits of a scale test's cells. Pure.

A limit follows from the floor, which is what a worker has before it holds a sample. It is measured before the first
cell runs, and stands in the ledger like any attempt, so that whoever comes later finds the same limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainer.experiment.cost import quantity
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.experiment.spec import Cell, ScaleTest
from trainer.scheduling.workload import Workload


@dataclass(frozen=True)
class FloorUnknown:
    """The floor that limits count from could not be measured: how the attempt ended that should have told it."""

    workers: int
    outcome: Outcome
    error: str


@dataclass(frozen=True)
class LimitBelowFloor:
    """The file's limit is so small that no worker could start; a sentence."""

    error: str


@dataclass(frozen=True)
class Limits:
    """The memory that a worker may use who is alone, or has peers, as a quantity; None for as much as there is.

    `problem` says why no cell can run.
    """

    alone: str | None = None
    with_peers: str | None = None
    problem: FloorUnknown | LimitBelowFloor | None = None

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
            return Limits(problem=FloorUnknown(trial.workers, record.outcome, record.error))
        try:
            size = None if floor is None else memory_limit(cell, floor)
        except UserError as error:
            return Limits(problem=LimitBelowFloor(f"{error}."))
        # A figure of the user's is handed on as it was written.
        found[trial.workers > 1] = cell.memory_limit or str(size)
    return Limits(found.get(False), found.get(True))


def memory_limit(cell: Cell, floor: int) -> int | None:
    """The bytes that a worker may use, whose floor was measured; None where the file sets no limit.

    Raises:
        UserError: it could not even start.
    """
    if cell.memory_above_floor is not None:
        above = int(quantity(cell.memory_above_floor))
        if above < 1:
            raise UserError(f"spec.cell.memoryAboveFloor: must be at least one byte, got {cell.memory_above_floor}")
        return floor + above
    if cell.memory_limit is None:
        return None
    limit = int(quantity(cell.memory_limit))
    if limit <= floor:
        raise UserError(
            f"spec.cell.memoryLimit: must be more than the {_mib(floor)} that a worker was measured to need "
            f"here before it holds a sample, got {cell.memory_limit}; raise it, or give memoryAboveFloor in its place"
        )
    return limit


def tells_floor(records: Sequence[Record]) -> bool:
    """Whether any of these attempts tells a floor."""
    return any(map(_floor, records))


def _floor(record: Record) -> int | None:
    """The floor that an attempt tells of, however it ended: its largest rank's."""
    told = (rank.counted_floor for rank in record.memory if rank is not None)
    return max((floor for floor in told if floor is not None), default=None)


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
