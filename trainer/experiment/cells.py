"""The rules of a scale test's cells: the memory limit that one runs under, and whether it need run at all. Pure."""

from collections.abc import Iterable

from trainer.experiment.cost import quantity
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import OUT_OF_MEMORY, Outcome
from trainer.experiment.record import Record
from trainer.experiment.spec import Cell, ScaleTest


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


def reason_to_skip(test: ScaleTest, trial: Trial, ended: Iterable[Record]) -> str | None:
    """Why a cell need not run after those that have `ended`: a smaller one with as many workers ran out of memory."""
    if test.spec.cell.after_out_of_memory == "Run":
        return None
    size = trial.training.data.multiplier
    for record in ended:
        smaller = multiplier(record) < size and record.workers == trial.workers
        if smaller and record.outcome in OUT_OF_MEMORY:
            workers = "1 worker" if trial.workers == 1 else f"{trial.workers} workers"
            return f"{multiplier(record)}x with {workers} ended as {record.outcome}"
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


def multiplier(record: Record) -> int:
    """The size of a cell's training set, as a multiple of the base set."""
    return int(record.parameters.get("data.multiplier", 1))


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
