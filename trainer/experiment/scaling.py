"""What a scale test's ledger says: each cell's figures, how far each worker count came, and how time scales. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Environment, Record, Reported


class CellFigures(Reported):
    """One size with one worker count, over its repeats. What was not measured is null."""

    multiplier: int = Field(description="The size of its training set, as a multiple of the base set.")
    workers: int = Field(description="How many ranks trained together.")
    outcome: str = Field(description="Succeeded if all repeats did, else how the first of them ended that did not.")
    error: str = Field("", description="The error of the one that did not succeed.")
    seconds: float | None = Field(None, description="From the start of training to its end, or to the failure.")
    samples_per_second: float | None = Field(
        None, description="Training samples in a second of training, over all ranks."
    )
    peak_bytes: Annotated[tuple[int, ...], Field(max_length=64)] = Field(
        (), description="The peak of each rank, as its limit counts it."
    )
    floor_bytes: int | None = Field(None, description="What a rank had before it held a sample.")
    limit_bytes: int | None = Field(None, description="The memory that a rank could use.")
    dataset_bytes: int = Field(0, description="The size of the whole training set.")


class Reach(Reported):
    """The largest size that passed with a worker count; null where none did."""

    workers: int = Field(description="The worker count.")
    multiplier: int | None = Field(description="The largest size that passed; null where none did.")
    dataset_bytes: int | None = Field(description="Its training set's bytes.")


class Scaling(Reported):
    """How a cell's time compares. Speedup and efficiency are against one worker at the same size."""

    multiplier: int = Field(description="The size of its training set, as a multiple of the base set.")
    workers: int = Field(description="How many ranks trained together.")
    seconds_per_sample: float = Field(description="Training time divided by the samples trained on.")
    growth: float | None = Field(
        None, description="Time per sample divided by that of the next smaller size with as many workers."
    )
    speedup: float | None = Field(None, description="Against one worker at the same size.")
    efficiency: float | None = Field(None, description="The speedup divided by the workers.")
    withheld: str = Field("", description="Why there is no speedup.")


class ScaleFigures(Reported):
    """Everything that is computed of a scale test's cells."""

    cells: Annotated[tuple[CellFigures, ...], Field(max_length=1024)] = Field(
        description="Each size with each worker count that is done with, over its repeats."
    )
    frontier: Annotated[tuple[Reach, ...], Field(max_length=16)] = Field(
        description="The largest size that passed with each worker count."
    )
    scaling: Annotated[tuple[Scaling, ...], Field(max_length=1024)] = Field(
        description="How the time of each cell that passed compares with others."
    )


Place = tuple[int, int]  # workers and multiplier


def scale_figures(trials: Sequence[Trial], counted: Mapping[str, Record]) -> ScaleFigures:
    """The figures of the cells in `trials`, from the record that counts of each; those without one are not in it."""
    places: dict[Place, list[Record | None]] = {}
    for trial in trials:
        record = counted.get(trial.id)
        place = trial.workers, trial.multiplier
        places.setdefault(place, []).append(record if record is not None and record.final else None)
    ended = {place: [record for record in found if record] for place, found in places.items() if all(found)}
    passed = {
        place: records
        for place, records in ended.items()
        if all(record.outcome is Outcome.SUCCEEDED for record in records)
    }
    # A trainer need not report its samples; then nothing can be said about the time of one.
    timed = {place: records for place, records in passed.items() if _trained(records)}
    return ScaleFigures(
        cells=tuple(_cell(place, records) for place, records in ended.items()),
        frontier=tuple(_reach(workers, passed) for workers in dict.fromkeys(workers for workers, _ in places)),
        scaling=tuple(_scaling(place, timed) for place in sorted(timed)),
    )


def seconds_per_sample(records: Sequence[Record]) -> float:
    """The mean time of a sample, from all its repeats' training seconds."""
    return math.fsum(record.seconds.train for record in records) / _trained(records)


def _cell(place: Place, records: Sequence[Record]) -> CellFigures:
    first = next((record for record in records if record.outcome is not Outcome.SUCCEEDED), None)
    shown = first or records[0]
    ran = [record for record in records if record.outcome is not Outcome.SKIPPED]
    memory = [rank for rank in shown.memory if rank is not None]
    train = math.fsum(record.seconds.train for record in records)
    return CellFigures(
        multiplier=place[1],
        workers=place[0],
        outcome=str(shown.outcome),
        error=shown.error,
        seconds=math.fsum(record.seconds.total - record.seconds.start for record in ran) / len(ran) if ran else None,
        samples_per_second=_trained(records) / train if first is None and train > 0 else None,
        peak_bytes=tuple(rank.counted_peak for rank in memory),
        floor_bytes=max((floor for rank in memory if (floor := rank.counted_floor) is not None), default=None),
        limit_bytes=next((rank.limit.bytes for rank in memory if rank.limit is not None), None),
        dataset_bytes=shown.dataset_bytes,
    )


def _reach(workers: int, passed: Mapping[Place, Sequence[Record]]) -> Reach:
    largest = max((size for count, size in passed if count == workers), default=None)
    dataset = None if largest is None else passed[workers, largest][0].dataset_bytes
    return Reach(workers=workers, multiplier=largest, dataset_bytes=dataset)


def _scaling(place: Place, passed: Mapping[Place, Sequence[Record]]) -> Scaling:
    workers, size = place
    here = seconds_per_sample(passed[place])
    smaller = max((other for count, other in passed if count == workers and other < size), default=None)
    before = None if smaller is None else seconds_per_sample(passed[workers, smaller])
    figures = Scaling(
        multiplier=size, workers=workers, seconds_per_sample=here, growth=here / before if before else None
    )
    if workers == 1:
        return figures
    alone = passed.get((1, size))
    if (reason := _incomparable(passed[place], alone)) or alone is None or not here:
        return figures.model_copy(update={"withheld": reason})
    speedup = seconds_per_sample(alone) / here
    return figures.model_copy(update={"speedup": speedup, "efficiency": speedup / workers})


def _incomparable(records: Sequence[Record], alone: Sequence[Record] | None) -> str:
    """Why the times of some records say nothing about those of one worker; empty where they do."""
    if any(record.oversubscribed for record in (*records, *(alone or ()))):
        return "oversubscribed: there were more threads than cores"
    if alone is None:
        return "one worker did not pass this size"
    if {_hardware(record.environment) for record in records} != {_hardware(record.environment) for record in alone}:
        return "one worker ran on other hardware or software"
    return ""


def _hardware(environment: Environment) -> tuple[str, str, int, str]:
    packages = " ".join(f"{name} {version}" for name, version in sorted(environment.packages.items()))
    return environment.cpu, environment.device, environment.threads, packages


def _trained(records: Sequence[Record]) -> int:
    """The samples that were trained on, each as often as an epoch took it."""
    return sum(record.samples * record.epochs for record in records)
