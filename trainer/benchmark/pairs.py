"""Compares treatments two at a time: how far apart they are, and whether chance alone would do that."""

import itertools
from collections.abc import Sequence

from pydantic import Field

from trainer.benchmark import chance, intervals
from trainer.benchmark.chance import SIGNIFICANCE
from trainer.benchmark.effects import Magnitude, cliffs_delta, hedges_g, magnitude
from trainer.benchmark.intervals import Estimate
from trainer.benchmark.sample import Sample
from trainer.experiment.record import Reported

_MOST_LISTED_IN_FULL = 8  # treatments; of more, only pairs with the best are listed


class Chance(Reported):
    """How often chance alone would set two equal treatments at least as far apart."""

    p: float
    corrected: float = Field(description="By Holm's method, for all pairs that were tested.")
    differs: bool = Field(description="Whether the corrected p is below 0.05.")


class Pair(Reported):
    """Two treatments; `b` is the one further up in the ranking, and `a` is measured by it."""

    a: str
    b: str
    difference: Estimate = Field(description="The mean of a minus that of b.")
    ratio: Estimate | None = Field(description="The mean of a divided by that of b; null unless all is above zero.")
    ratio_of_medians: Estimate | None
    means: Chance = Field(description="By Welch's t, as the intervals are; where nothing varies by ranks.")
    ranks: Chance = Field(description="By Mann and Whitney's test, exact for few values.")
    u: float = Field(description="How often a value of a exceeds one of b; equal ones count half.")
    cliffs_delta: float
    magnitude: Magnitude
    hedges_g: float | None

    @property
    def differs(self) -> bool:
        """Whether the two were told apart: by their means, which the ranking is by."""
        return self.means.differs


class Comparison(Reported):
    """The pairs that are listed, and how many were tested: the correction is for all of those."""

    tested: int
    pairs: tuple[Pair, ...]

    def between(self, a: str, b: str) -> Pair | None:
        """The pair of these two; None where it is not listed."""
        return next((pair for pair in self.pairs if (pair.a, pair.b) == (a, b)), None)


def compare(ranked: Sequence[Sample]) -> Comparison:
    """Every pair of samples with two values or more, which come best first.

    Of more than eight treatments all pairs are tested, and those with the best are listed.
    """
    able = [sample for sample in ranked if len(sample.values) > 1]
    pairs = list(itertools.combinations(able, 2))
    if not pairs:
        return Comparison(tested=0, pairs=())
    ranks = [chance.by_ranks(a.values, b.values) for b, a in pairs]
    means = [chance.by_means(a.values, b.values) for b, a in pairs]
    by_ranks = _chances([p for _, p in ranks])
    by_means = _chances([p if p is not None else of_ranks for p, (_, of_ranks) in zip(means, ranks, strict=True)])
    listed = len(pairs) if len(able) <= _MOST_LISTED_IN_FULL else len(able) - 1  # those with the best come first
    found = zip(pairs, by_means, by_ranks, ranks, strict=True)
    return Comparison(
        tested=len(pairs),
        pairs=tuple(
            _pair(a, b, of_means, of_ranks, u)
            for (b, a), of_means, of_ranks, (u, _) in itertools.islice(found, listed)
        ),
    )


def _chances(p: Sequence[float]) -> list[Chance]:
    corrected = chance.corrected(p)
    return [
        Chance(p=each, corrected=holm, differs=holm < SIGNIFICANCE) for each, holm in zip(p, corrected, strict=True)
    ]


def _pair(a: Sample, b: Sample, means: Chance, ranks: Chance, u: float) -> Pair:
    delta = cliffs_delta(u, len(a.values), len(b.values))
    return Pair(
        a=a.treatment,
        b=b.treatment,
        difference=intervals.difference(a.values, b.values),
        ratio=intervals.ratio(a.values, b.values),
        ratio_of_medians=intervals.ratio_of_medians(a.values, b.values),
        means=means,
        ranks=ranks,
        u=u,
        cliffs_delta=delta,
        magnitude=magnitude(delta),
        hedges_g=hedges_g(a.values, b.values),
    )
