"""Two scale tests beside each other: cell by cell, and the largest size that each side carried. Pure."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from trainer.experiment.outcome import Outcome
from trainer.experiment.record import OutcomeText, Record, Reported
from trainer.report.results import Results


class CellFigures(Reported):
    """A cell on one side, its repeats together: it succeeded if all did. None is what was not measured."""

    outcome: OutcomeText
    seconds: float | None
    samples_per_second: float | None
    peak_bytes: int | None


class Cell(Reported):
    """A size and a worker count; a side that has not run it, or doesn't have it, is None."""

    multiplier: int
    workers: int
    a: CellFigures | None
    b: CellFigures | None


class Frontier(Reported):
    """The largest size that each side carried with so many workers; None where it carried none of its cells."""

    workers: int
    a: int | None
    b: int | None


def cells(a: Results, b: Results) -> tuple[Cell, ...]:
    """The cells of both by size and worker count, whatever else their trainings differ in."""
    ours, theirs = _measured(a), _measured(b)
    return tuple(
        Cell(multiplier=size, workers=workers, a=ours.get((workers, size)), b=theirs.get((workers, size)))
        for workers, size in sorted({**ours, **theirs})
    )


def frontier(grid: Sequence[Cell]) -> tuple[Frontier, ...]:
    """A line for each worker count."""
    rows = []
    for workers in sorted({cell.workers for cell in grid}):
        of = [cell for cell in grid if cell.workers == workers]
        a, b = _largest((cell.multiplier, cell.a) for cell in of), _largest((cell.multiplier, cell.b) for cell in of)
        rows.append(Frontier(workers=workers, a=a, b=b))
    return tuple(rows)


def only_one_carries(grid: Sequence[Cell]) -> list[Cell]:
    """The cells that both sides tried and one of them alone succeeded in."""
    return [
        cell
        for cell in grid
        if cell.a is not None
        and cell.b is not None
        and (cell.a.outcome is Outcome.SUCCEEDED) is not (cell.b.outcome is Outcome.SUCCEEDED)
    ]


def _largest(sizes: Iterable[tuple[int, CellFigures | None]]) -> int | None:
    carried = (size for size, cell in sizes if cell is not None and cell.outcome is Outcome.SUCCEEDED)
    return max(carried, default=None)


def _measured(results: Results) -> dict[tuple[int, int], CellFigures]:
    groups: dict[tuple[int, int], list[Record]] = {}
    for trial in results.trials:
        if trial.id in results.records:
            key = (trial.workers, trial.multiplier)
            groups.setdefault(key, []).append(results.records[trial.id])
    return {key: _cell(records) for key, records in groups.items()}


def _cell(records: Sequence[Record]) -> CellFigures:
    failed = [record for record in records if record.outcome is not Outcome.SUCCEEDED]
    told = failed or records
    rates = [
        record.samples * record.epochs / record.seconds.train
        for record in told
        if record.outcome is Outcome.SUCCEEDED and record.seconds.train > 0
    ]
    peaks = [rank.counted_peak for record in told for rank in record.memory if rank is not None]
    ran = [record.seconds.total for record in told if record.outcome is not Outcome.SKIPPED]
    return CellFigures(
        outcome=told[0].outcome,
        seconds=fmean(ran) if ran else None,
        samples_per_second=fmean(rates) if rates else None,
        peak_bytes=max(peaks, default=None),
    )
