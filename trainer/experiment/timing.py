"""Where a run's time went: from first to last, how much ran at once, and what the slots did meanwhile. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from trainer.experiment.outcome import Outcome
from trainer.experiment.record import PACK, PACKED_WITH, Record, Reported, Seconds
from trainer.experiment.spec import Scalar


class TimeShares(Reported):
    """What the slots did, as shares of their time (slots times wall seconds). The four add up to 1."""

    queue: float = Field(description="Nothing: before a trial had its node, between two, and at the end.")
    start: float = Field(description="Pulling images, starting containers and processes, waiting for other ranks.")
    data: float = Field(description="Preparing and opening data sets.")
    train: float = Field(description="Training, and writing what it leaves.")


class Timing(Reported):
    """Seconds; pauses between runs of the same folder are left out of `wall`.

    `wall`, `most_at_once`, `slots` and `split` are of all attempts, `trials` and `mean_trial` of those that count.
    """

    wall: float = Field(description="From acceptance to the last record, pauses left out.")
    trials: float = Field(description="All trials' seconds added up.")
    mean_trial: float = Field(description="The mean trial's seconds.")
    most_at_once: int = Field(description="The most trials that ran at the same moment; a pack counts as one.")
    slots: int = Field(description="The most trials that ran at once, times their workers.")
    split: TimeShares | None = Field(
        description="What the slots did, as shares of their time (slots times wall seconds) that add up to 1; null "
        "when no time has passed."
    )
    packed: int = Field(
        0, description="How many trials trained together with others; their seconds are shares of their pack's."
    )


def timing(attempts: Sequence[Record], counted: Mapping[str, Record]) -> Timing | None:
    """The times of a run's attempts, of which `counted` are the trials' latest; None when none ran."""
    ran = [record for record in attempts if record.outcome is not Outcome.SKIPPED]
    counts = [record.seconds.total for record in counted.values() if record.outcome is not Outcome.SKIPPED]
    if not counts:
        return None
    seconds, wall, most = math.fsum(counts), wall_seconds(ran), most_at_once(ran)
    slots = most * max(record.workers for record in ran)
    return Timing(
        wall=wall,
        trials=seconds,
        mean_trial=seconds / len(counts),
        most_at_once=most,
        slots=slots,
        split=_split(spent(ran), slots * wall),
        packed=sum(PACKED_WITH in record.evidence for record in counted.values()),
    )


def spent(records: Iterable[Record]) -> Seconds:
    """What the workers of all these attempts did together. Where one left no report, its time counts as training."""
    start, data, total = [], [], []
    for record in records:
        start.append(record.workers * record.seconds.start)
        data.append(record.workers * record.seconds.data)
        total.append(record.workers * record.seconds.total)
    sums = math.fsum(start), math.fsum(data), math.fsum(total)
    return Seconds(start=sums[0], data=sums[1], train=max(0.0, sums[2] - sums[0] - sums[1]), total=sums[2])


def _split(sums: Seconds, room: float) -> TimeShares | None:
    if room <= 0:
        return None
    start, data, train = (min(1.0, part / room) for part in (sums.start, sums.data, sums.train))
    return TimeShares(queue=max(0.0, 1 - start - data - train), start=start, data=data, train=train)


def most_at_once(records: Iterable[Record]) -> int:
    """The most trials that ran at the same moment, a pack for one. Whoever starts as another ends is alone."""
    starts, ends = list[int](), list[int]()
    packs: dict[tuple[Scalar, int], tuple[int, int]] = {}
    for record in records:
        if record.outcome is Outcome.SKIPPED:
            continue
        start, end = record.started_at, max(record.finished_at, record.started_at + 1)
        if PACK in record.evidence:
            pack = record.evidence[PACK], record.accepted_at
            first, last = packs.get(pack, (start, end))
            packs[pack] = min(start, first), max(end, last)
        else:
            starts.append(start)
            ends.append(end)
    starts = sorted([*starts, *(first for first, _ in packs.values())])
    ends = sorted([*ends, *(last for _, last in packs.values())])
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
