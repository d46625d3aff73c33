"""What stopping trials early saved: the steps that they did not run, and what those would have taken. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from trainer.experiment import moments
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import STEP, STEP_SECONDS, Record, Reported
from trainer.experiment.rung import RungEntry


class Saved(Reported):
    """What stopped trials left to do, had they gone on as far as the longest trial that succeeded."""

    steps: int = Field(description="The steps, of Trialrun's trainer epochs, that stopped trials did not run.")
    of_steps: int = Field(description="Of how many that stopped and succeeded trials would have run together.")
    seconds: float | None = Field(
        description="What those would have taken, at the pace of each trial or, of one that told of a single step, "
        "at the mean pace of the others; null where none is known."
    )
    cost: float | None = Field(
        description="What they would have cost, by spec.prices; null as `cost` and seconds are."
    )


def saved(
    trials: Sequence[Trial], counted: Mapping[str, Record], rungs: Iterable[RungEntry], worker_hour: float | None
) -> Saved | None:
    """What the records that count come to, None where no trial was stopped, or none tells how far trials go.

    Of a stopped trial that does not tell its last step the last rung entry does. `worker_hour` is the price.
    """
    last = {entry.trial: entry.step for entry in rungs}
    done = [(trial, record) for trial in trials if (record := counted.get(trial.id)) is not None and record.final]
    stopped = [(trial, record) for trial, record in done if record.outcome is Outcome.STOPPED]
    succeeded = [_steps(record) for _, record in done if record.outcome is Outcome.SUCCEEDED]
    most = max(succeeded, default=0)
    if not stopped or not most:
        return None
    reached = [_steps(record) or last.get(trial.id, 0) for trial, record in stopped]
    full = [max(steps, _at_most(trial, most)) for (trial, _), steps in zip(stopped, reached, strict=True)]
    paces = [pace for _, record in done if (pace := _step_seconds(record)) is not None]
    usual = moments.mean(paces) if paces else None
    left = [
        ((whole - steps) * pace, record.workers)
        for (_, record), steps, whole in zip(stopped, reached, full, strict=True)
        if (pace := _step_seconds(record) or usual) is not None
    ]
    worker_seconds = math.fsum(each * workers for each, workers in left)
    return Saved(
        steps=sum(full) - sum(reached),
        of_steps=sum(full) + sum(succeeded),
        seconds=math.fsum(each for each, _ in left) if paces else None,
        cost=worker_hour * worker_seconds / 3600 if paces and worker_hour is not None else None,
    )


def _steps(record: Record) -> int:
    """The last step that a trial told of, 0 where it tells none."""
    told = record.evidence.get(STEP)
    return told if isinstance(told, int) else record.epochs


def _at_most(trial: Trial, most: int) -> int:
    """How far a trial would have gone; our trainer's tell their epochs, which may vary."""
    return most if trial.epochs is None else min(most, trial.epochs)


def _step_seconds(record: Record) -> float | None:
    """What a step took it: between its reports or, of Trialrun's trainer, as it measured it."""
    told = record.evidence.get(STEP_SECONDS)
    if isinstance(told, float):
        return told
    ran = record.epochs - record.resumed_from
    return record.seconds.train / ran if ran > 0 and record.seconds.train > 0 else None
