"""What a ledger says: counts, best, time, and what a baseline makes of it. Pure; status and report both show it.

Only what was measured is computed. Anything that can't be is None, never a guess.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
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
        timing=_timing(attempts),
        comparison=_compare(attempts, others),
    )


def objective_value(record: Record, metric: str) -> float | None:
    """The objective of a trial, None unless it succeeded and the figure is finite."""
    if record.outcome is not Outcome.SUCCEEDED:
        return None
    if metric in OBJECTIVES and OBJECTIVES[metric].part == "seconds":
        value: float | None = getattr(record.seconds, metric.removesuffix("Seconds"))
    else:
        value = record.metrics.get(metric)
    return value if value is not None and math.isfinite(value) else None


def direction(objective: Objective) -> Direction:
    """Which way the objective improves: as the user says, else as the metric is."""
    return objective.direction or OBJECTIVES[objective.metric].better


def most_at_once(records: Iterable[Record]) -> int:
    """The most trials that ran at the same moment; one that starts as another ends does not overlap it."""
    moments = sorted(
        event
        for record in records
        if record.outcome is not Outcome.SKIPPED
        for event in ((record.started_at, 1), (max(record.finished_at, record.started_at + 1), -1))
    )
    running = most = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    return most


def wall_seconds(records: Sequence[Record]) -> float:
    """From acceptance to the last record, added up over the runs that were accepted apart."""
    last: dict[int, int] = {}
    for record in records:
        last[record.accepted_at] = max(last.get(record.accepted_at, 0), record.finished_at)
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
    outcomes = Counter(str(record.outcome) for record in final)
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
    points: dict[int, list[Trial]] = {}
    for trial in trials:
        points.setdefault(trial.point, []).append(trial)
    best: Best | None = None
    for point in points.values():
        records = [counted[trial.id] for trial in point if trial.id in counted]
        values = [v for record in records if (v := objective_value(record, objective.metric)) is not None]
        if len(values) < len(point):
            continue
        mean = math.fsum(values) / len(values)
        # Strictly better: of equals, the one listed first stays.
        if best is None or sign * mean < sign * best.value:
            spread = None
            if len(values) > 1:
                spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
            best = Best(
                index=point[0].index,
                id=point[0].id,
                parameters=point[0].parameters,
                metric=objective.metric,
                direction=better,
                value=mean,
                deviation=spread,
                repeats=len(values),
            )
    return best


def _timing(attempts: Sequence[Record]) -> Timing | None:
    ran = [record for record in attempts if record.outcome is not Outcome.SKIPPED]
    counted = [record for record in latest(attempts).values() if record.outcome is not Outcome.SKIPPED]
    if not counted:
        return None
    seconds = math.fsum(record.seconds.total for record in counted)
    return Timing(
        wall=wall_seconds(ran), trials=seconds, mean_trial=seconds / len(counted), most_at_once=most_at_once(ran)
    )


def _compare(attempts: Sequence[Record], baseline: Sequence[Record]) -> Comparison | None:
    ours, theirs = _timing(attempts), _timing(baseline)
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
