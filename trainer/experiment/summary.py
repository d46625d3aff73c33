"""What a ledger says: counts, best, time, and what a baseline makes of it. Pure; status and report both show it.

Only what was measured is computed. Anything that can't be is None, never a guess.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from trainer.experiment.expand import Point, Trial
from trainer.experiment.metrics import OBJECTIVES, Direction
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, Reported, latest
from trainer.experiment.spec import Experiment, HyperparamSearch, Objective


class Counts(Reported):
    """How many trials. `done` = succeeded + failed + skipped; a trial that will be tried again is in none of them."""

    total: int
    done: int
    succeeded: int
    failed: int
    skipped: int
    outcomes: dict[str, int]


class Best(Reported):
    """The point with the best objective: the mean over its repeats, all of which must have succeeded."""

    index: int
    id: str
    parameters: Point
    metric: str
    direction: Direction
    value: float
    deviation: float | None
    repeats: int


class Timing(Reported):
    """Seconds. `wall` runs from acceptance to the last record, pauses between runs of the same folder left out.

    `wall` and `most_at_once` are of all attempts, `trials` and `mean_trial` of those that count.
    """

    wall: float
    trials: float
    mean_trial: float
    most_at_once: int


class Comparison(Reported):
    """What running in parallel bought. Speedup and efficiency are None unless comparable."""

    baseline_wall: float
    elapsed_ratio: float
    differences: tuple[str, ...]
    slots: int
    speedup: float | None
    efficiency: float | None


class Summary(Reported):
    """Everything that is computed from the records of one experiment."""

    experiment: str
    kind: str
    state: Literal["Incomplete", "Succeeded", "Failed"]
    counts: Counts
    success_rate: float | None
    best: Best | None
    timing: Timing | None
    comparison: Comparison | None


def summarize(
    experiment: Experiment, trials: Sequence[Trial], records: Iterable[Record], baseline: Iterable[Record] = ()
) -> Summary:
    """The summary of `records`, of which only those of `trials` count; `baseline` are those of another run."""
    attempts, others = _of(trials, records), _of(trials, baseline)
    counted = latest(attempts)
    counts = _counts(trials, counted)
    ended = counts.succeeded + counts.failed
    return Summary(
        experiment=experiment.name,
        kind=experiment.kind,
        state=_state(experiment, counts),
        counts=counts,
        success_rate=counts.succeeded / ended if ended else None,
        best=_best(experiment.spec.objective, trials, counted) if isinstance(experiment, HyperparamSearch) else None,
        timing=_timing(attempts, counted),
        comparison=_compare(attempts, others) if others else None,
    )


def objective_value(record: Record, metric: str) -> float | None:
    """The objective of a trial, None unless it succeeded and the figure is finite."""
    return objective_reader(metric)(record)


def objective_reader(metric: str) -> Callable[[Record], float | None]:
    """`objective_value` of this metric, for many records."""
    known = OBJECTIVES.get(metric)
    seconds = metric.removesuffix("Seconds") if known is not None and known.part == "seconds" else None

    def read(record: Record) -> float | None:
        if record.outcome is not Outcome.SUCCEEDED:
            return None
        value: float | None = record.metrics.get(metric) if seconds is None else getattr(record.seconds, seconds)
        return value if value is not None and math.isfinite(value) else None

    return read


def direction(objective: Objective) -> Direction:
    """Which way the objective improves: as the user says, else as the metric is."""
    return objective.direction or OBJECTIVES[objective.metric].better


def most_at_once(records: Iterable[Record]) -> int:
    """The most trials that ran at the same moment; one that starts as another ends does not overlap it."""
    ran = [record for record in records if record.outcome is not Outcome.SKIPPED]
    starts = sorted([record.started_at for record in ran])
    ends = sorted([max(record.finished_at, record.started_at + 1) for record in ran])
    most = ended = 0
    for started, moment in enumerate(starts, 1):
        while ends[ended] <= moment:
            ended += 1
        if started - ended > most:
            most = started - ended
    return most


def wall_seconds(records: Sequence[Record]) -> float:
    """From acceptance to the last record, added up over the runs that were accepted apart."""
    last: dict[int, int] = {}
    for record in records:
        if record.finished_at > last.get(record.accepted_at, -1):
            last[record.accepted_at] = record.finished_at
    total, until = 0, 0
    for accepted, finished in sorted(last.items()):
        total += max(0, finished - max(accepted, until))
        until = max(until, finished)
    return total / 1000


def _of(trials: Sequence[Trial], records: Iterable[Record]) -> list[Record]:
    wanted = {trial.id for trial in trials}
    return [record for record in records if record.id in wanted]


def _counts(trials: Sequence[Trial], counted: dict[str, Record]) -> Counts:
    final = [record for record in counted.values() if record.final]
    outcomes = Counter([str(record.outcome) for record in final])
    succeeded, skipped = outcomes[Outcome.SUCCEEDED], outcomes[Outcome.SKIPPED]
    return Counts(
        total=len(trials),
        done=len(final),
        succeeded=succeeded,
        failed=len(final) - succeeded - skipped,
        skipped=skipped,
        outcomes=dict(sorted(outcomes.items())),
    )


def _state(experiment: Experiment, counts: Counts) -> Literal["Incomplete", "Succeeded", "Failed"]:
    # A scale test is there to find where trials fail; a search has a budget for it.
    if isinstance(experiment, HyperparamSearch) and counts.failed > experiment.spec.max_failed_trials:
        return "Failed"
    if counts.done < counts.total:
        return "Incomplete"
    return "Succeeded" if counts.succeeded else "Failed"


def _best(objective: Objective, trials: Sequence[Trial], counted: dict[str, Record]) -> Best | None:
    better = direction(objective)
    sign = 1 if better == "Minimize" else -1
    read = objective_reader(objective.metric)
    sizes = Counter([trial.point for trial in trials])
    values: dict[int, list[float]] = {}
    for trial in trials:
        record = counted.get(trial.id)
        if record is not None and (value := read(record)) is not None:
            values.setdefault(trial.point, []).append(value)
    means = {
        point: of_point[0] if len(of_point) == 1 else math.fsum(of_point) / len(of_point)
        for point, of_point in values.items()
        if len(of_point) == sizes[point]
    }
    if not means:
        return None
    best = min(means, key=lambda point: sign * means[point])  # of equals, the one listed first
    first = next(trial for trial in trials if trial.point == best)
    return Best(
        index=first.index,
        id=first.id,
        parameters=first.parameters,
        metric=objective.metric,
        direction=better,
        value=means[best],
        deviation=_deviation(values[best], means[best]),
        repeats=sizes[best],
    )


def _deviation(values: Sequence[float], mean: float) -> float | None:
    if len(values) < 2:
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _timing(attempts: Sequence[Record], counted: Mapping[str, Record]) -> Timing | None:
    ran = [record for record in attempts if record.outcome is not Outcome.SKIPPED]
    counts = [record.seconds.total for record in counted.values() if record.outcome is not Outcome.SKIPPED]
    if not counts:
        return None
    seconds = math.fsum(counts)
    return Timing(
        wall=wall_seconds(ran), trials=seconds, mean_trial=seconds / len(counts), most_at_once=most_at_once(ran)
    )


def _compare(attempts: Sequence[Record], baseline: Sequence[Record]) -> Comparison | None:
    ours, theirs = _timing(attempts, latest(attempts)), _timing(baseline, latest(baseline))
    if ours is None or theirs is None or ours.wall == 0:
        return None
    differences = tuple(_differences(attempts, baseline))
    slots = ours.most_at_once * max(record.workers for record in attempts)
    ratio = theirs.wall / ours.wall
    comparable = not differences
    return Comparison(
        baseline_wall=theirs.wall,
        elapsed_ratio=ratio,
        differences=differences,
        slots=slots,
        speedup=ratio if comparable else None,
        efficiency=ratio / slots if comparable else None,
    )


# What must be the same on both sides, by the words that a sentence has for it.
_CONDITIONS = {
    "image": "image",
    "packages": "packages",
    "CPU": "cpu",
    "device": "device",
    "threads": "threads",
    "CPU limit": "cpus",
    "memory limit": "memory_limit_bytes",
}


def _differences(attempts: Sequence[Record], baseline: Sequence[Record]) -> Iterable[str]:
    """Sentences, one for each thing in which two runs differ so that their times can't be compared."""
    ours, theirs = latest(attempts), latest(baseline)
    if ours.keys() != theirs.keys():
        yield f"trials: {len(ours.keys() - theirs.keys())} only here, {len(theirs.keys() - ours.keys())} only there"
    failed = [r for r in (*ours.values(), *theirs.values()) if r.outcome is not Outcome.SUCCEEDED]
    if failed:
        yield f"outcomes: {len(failed)} trials did not succeed"
    if (most := most_at_once(baseline)) > 1:
        yield f"baseline: ran {most} trials at once, a baseline runs one"
    for words, name in _CONDITIONS.items():
        here = {_told(getattr(record.environment, name)) for record in ours.values()}
        there = {_told(getattr(record.environment, name)) for record in theirs.values()}
        if here != there:
            yield f"{words}: {_few(here)} here, {_few(there)} there"


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {version}" for name, version in sorted(value.items())) or "unknown"
    return {None: "none", "": "unknown"}.get(value, str(value))


def _few(values: set[str]) -> str:
    first, more = sorted(values)[:3], len(values) - 3
    return " and ".join(first) if more <= 0 else f"{', '.join(first)} and {more} more"
