"""Pairs of ledgers to compare: a search of four trials one and two at a time, and two scale tests."""

from collections.abc import Sequence
from typing import Any

from trainer.experiment.entries import Entries
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Memory, Record
from trainer.experiment.spec import Experiment
from trainer.report.compare import Pair, side
from unit.builders import a_record, an_experiment, four, ran

OOM = Outcome.HOST_OOM


def pair_of(a: Sequence[Record], b: Sequence[Record], ours: Experiment | None = None) -> Pair:
    """A search of four trials in A, and in B the same or `ours`."""
    return Pair(side("there", four(), Entries(a)), side("here", ours or four(), Entries(b)))


def one_at_a_time(**fields: Any) -> list[Record]:
    return [ran(3 * n, 3 * n + 3, trial=n, **fields) for n in range(4)]


def two_at_a_time(**fields: Any) -> list[Record]:
    return [ran(3 * (n // 2), 3 * (n // 2) + 3, trial=n, **fields) for n in range(4)]


def a_scale_test(**outcomes: Outcome) -> tuple[Experiment, Entries]:
    """1x, 10x and 50x by 1 and 2 workers; `outcomes` by worker count and size, as in w2x50."""
    experiment = an_experiment(kind="ScaleTest", name="sizes", axes={"multipliers": [1, 10, 50], "workers": [1, 2]})
    records = [
        a_record(
            trial,
            seconds=4.0,
            samples=800 * size,
            epochs=2,
            outcome=outcomes.get(f"w{trial.workers}x{size}", Outcome.SUCCEEDED),
            memory=(Memory(peak_bytes=size * 2**20, mean_bytes=2**19), None)[: trial.workers],
        )
        for trial in expand(experiment)
        for size in (trial.training.data.multiplier,)
    ]
    return experiment, Entries(records)


def two_scale_tests() -> Pair:
    return Pair(side("there", *a_scale_test(w1x50=OOM, w2x50=OOM)), side("here", *a_scale_test(w1x10=OOM, w1x50=OOM)))
