"""What running trials at once bought over a baseline, and whether the two may be compared at all. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from trainer.experiment.outcome import Outcome
from trainer.experiment.record import CODE, DATA, INPUTS, PACKED_WITH, VALIDATION, Record, Reported, RunFigures
from trainer.experiment.spec import Scalar
from trainer.experiment.timing import TimeShares, Timing


class Comparison(Reported):
    """What running in parallel bought. Speedup and efficiency are None unless comparable.

    Efficiency is the speedup for each slot that there was more of: `slots` here for `baseline_slots` there.
    """

    baseline_wall: float = Field(description="The baseline's wall seconds.")
    elapsed_ratio: float = Field(description="The baseline's wall seconds divided by ours.")
    differences: Annotated[tuple[str, ...], Field(max_length=32)] = Field(
        description="In what the two differ, a sentence each; empty means that they can be compared."
    )
    slots: int = Field(description="The most trials that ran at once, times their workers.")
    baseline_slots: int = Field(description="The same of the baseline; 1 for one that was measured.")
    speedup: float | None = Field(description="The same as elapsedRatio; null unless the two can be compared.")
    efficiency: float | None = Field(
        description="Speedup by slots, both sides' counted; null unless the two can be compared."
    )
    train_ratio: float | None = Field(
        description="Our training seconds by the baseline's; above 1, trials slowed each other down. Null where the "
        "baseline has not trained."
    )
    same_best: bool | None = Field(
        description="Whether both have the same best trial; null where one has none, or ran other trials."
    )
    baseline_cost: float | None = Field(
        description="What the baseline's pod cost, by spec.prices; null without prices or without resources."
    )


def compare(
    ours: RunFigures, theirs: RunFigures, worker_hour: float | None = None, data: Sequence[str] = ()
) -> Comparison | None:
    """The comparison with a baseline's figures; `worker_hour` is what a worker's pod costs in an hour.

    `data` are sentences of `differing_data` or, where one side's records aren't at hand, of `differing_digests`.
    """
    if ours.wall == 0:
        return None
    differences = (*data, *_differences(ours, theirs))
    slots, baseline_slots = ours.most_at_once * ours.workers, theirs.most_at_once * theirs.workers
    ratio = theirs.wall / ours.wall
    pods = theirs.pod_seconds if theirs.pod_seconds is not None else theirs.wall * baseline_slots
    return Comparison(
        baseline_wall=theirs.wall,
        elapsed_ratio=ratio,
        differences=differences,
        slots=slots,
        baseline_slots=baseline_slots,
        speedup=None if differences else ratio,
        efficiency=None if differences else ratio * baseline_slots / slots,
        train_ratio=ours.seconds.train / theirs.seconds.train if theirs.seconds.train else None,
        same_best=_same_best(ours, theirs),
        baseline_cost=None if worker_hour is None else worker_hour * pods / 3600,
    )


_RESTS_ON = (
    (DATA, "data: {} trained on"),
    (INPUTS, "data: {} read"),
    (VALIDATION, "data: {} were validated on"),
    (CODE, "code: {} ran"),
)


def differing_digests(ours: Mapping[str, Scalar], theirs: Mapping[str, Scalar]) -> Iterator[str]:
    """Sentences on two runs of the same trials, by what `baseline.rests_on` tells of each."""
    for key, what in _RESTS_ON:
        if key in ours and key in theirs and ours[key] != theirs[key]:
            yield f"{what.format('trials')} something else, {ours[key]} here, {theirs[key]} there"
    if (PACKED_WITH in ours) != (PACKED_WITH in theirs):
        yield _packing("trials", here=PACKED_WITH in ours)


def differing_data(pairs: Iterable[tuple[Record, Record]]) -> Iterator[str]:
    """Sentences on trials that trained or were validated on something else; of each pair the baseline's is first."""
    both = [
        (theirs.evidence, ours.evidence)
        for theirs, ours in pairs
        if theirs.outcome is ours.outcome is Outcome.SUCCEEDED
    ]
    for key, what in _RESTS_ON:
        told = [(theirs[key], ours[key]) for theirs, ours in both if key in theirs and key in ours]
        other = [pair for pair in told if pair[0] != pair[1]]
        if other:
            there, here = other[0]
            many = f"{len(other)} of {len(told)} trials"
            yield f"{what.format(many)} something else, the first {here} here, {there} there"
    packed = [(PACKED_WITH in theirs, PACKED_WITH in ours) for theirs, ours in both]
    if differ := [pair for pair in packed if pair[0] != pair[1]]:
        yield _packing(f"{len(differ)} of {len(both)} trials", here=differ[0][1])


def _packing(which: str, *, here: bool) -> str:
    where, elsewhere = ("here", "there") if here else ("there", "here")
    return f"packing: {which} trained together with others {where}, where times are shares, and alone {elsewhere}"


def _same_best(ours: RunFigures, theirs: RunFigures) -> bool | None:
    if ours.best_id is None or theirs.best_id is None or ours.digest != theirs.digest:
        return None
    return ours.best_id == theirs.best_id


def remark(timing: Timing | None, comparison: Comparison | None, *, on_cluster: bool) -> str | None:
    """A sentence about what ate the gain, with the measured figures; None where nothing did."""
    if timing is None or timing.split is None:
        return None
    split, parts = timing.split, shares(timing, timing.split)
    if comparison is not None and comparison.elapsed_ratio < 1:
        slower = f"The search took {timing.wall:.1f} s, the baseline {comparison.baseline_wall:.1f} s: "
        return f"{slower}running trials at once bought nothing. {parts}. {_advice(timing, on_cluster=on_cluster)}"
    if split.start > split.train:
        return f"Starting trials took more than training them. {parts}. {_advice(timing, on_cluster=on_cluster)}"
    return None


def _advice(timing: Timing, *, on_cluster: bool) -> str:
    if timing.slots > timing.most_at_once:
        return "Fewer workers, or trials that train longer, gain more."
    if not on_cluster:
        return "Trials that train longer gain more."
    return "Such short trials run faster on one machine, with `python -m trainer run`; on a cluster train longer."


def shares(timing: Timing, split: TimeShares) -> str:
    """A sentence without its full stop: what the slots did."""
    parts = {"waiting": split.queue, "starting": split.start, "data": split.data, "training": split.train}
    listed = ", ".join(f"{share:.0%} {word}" for word, share in parts.items())
    room = f"{timing.slots * timing.wall:.1f} s that the slots had ({timing.slots} x {timing.wall:.1f} s)"
    return f"Of the {room}: {listed}"


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


def _differences(ours: RunFigures, theirs: RunFigures) -> Iterable[str]:
    """Sentences, one for each thing in which two runs differ so that their times can't be compared."""
    if ours.seeds != theirs.seeds:
        yield f"seeds: {_span(ours.seeds)} here, {_span(theirs.seeds)} there"
    if ours.trials != theirs.trials:
        yield f"trials: {ours.trials} here, {theirs.trials} there"
    elif ours.digest != theirs.digest and ours.seeds == theirs.seeds:
        steps = ", or not to the same steps" if str(Outcome.STOPPED) in ours.outcomes else ""
        yield f"trials: {ours.trials} on both sides, but not the same ones{steps}"
    if ours.outcomes != theirs.outcomes:
        yield f"outcomes: {_counts(ours.outcomes)} here, {_counts(theirs.outcomes)} there"
    if theirs.most_at_once > 1:
        yield f"baseline: ran {theirs.most_at_once} trials at once, a baseline runs one"
    for words, name in _CONDITIONS.items():
        here = {_told(getattr(each, name)) for each in ours.environments} or {"unknown"}
        there = {_told(getattr(each, name)) for each in theirs.environments} or {"unknown"}
        if here != there:
            yield f"{words}: {_few(here)} here, {_few(there)} there"


def _span(seeds: tuple[int, int]) -> str:
    first, last = seeds
    return str(first) if first == last else f"{first} to {last}"


def _counts(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {version}" for name, version in sorted(value.items())) or "unknown"
    return {None: "none", "": "unknown"}.get(value, str(value))


def _few(values: set[str]) -> str:
    first, more = sorted(values)[:3], len(values) - 3
    return " and ".join(first) if more <= 0 else f"{', '.join(first)} and {more} more"
