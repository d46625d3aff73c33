"""Compares treatments two at a time: how far apart they are, and whether chance alone would do that."""

import itertools
import math
from collections.abc import Sequence

from pydantic import Field

from trainer.benchmark import intervals
from trainer.benchmark.effects import Magnitude, cliffs_delta, hedges_g, magnitude
from trainer.benchmark.intervals import Estimate
from trainer.benchmark.libraries import multitest, scipy_stats
from trainer.benchmark.sample import Sample
from trainer.experiment.record import Reported

SIGNIFICANCE = 0.05
_MOST_DEALS = 1000  # ways to deal values to two treatments, up to which equal values are tested by all of them
_MOST_LISTED_IN_FULL = 8  # treatments; of more, only pairs with the best are listed


class Pair(Reported):
    """Two treatments; `b` is the one further up in the ranking, and `a` is measured by it.

    `p` is that of Mann and Whitney's test, exact for few values, and `corrected` by Holm's method over all pairs.
    """

    a: str
    b: str
    difference: Estimate = Field(description="The mean of a minus that of b.")
    ratio: Estimate | None = Field(description="The mean of a divided by that of b; null unless all is above zero.")
    ratio_of_medians: Estimate | None
    u: float = Field(description="How often a value of a exceeds one of b; equal ones count half.")
    p: float
    corrected: float
    differs: bool = Field(description="Whether the corrected p is below 0.05.")
    cliffs_delta: float
    magnitude: Magnitude
    hedges_g: float | None


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
    tests = [_test(a.values, b.values) for b, a in pairs]
    corrected = multitest().multipletests([p for _, p in tests], method="holm")[1]
    listed = len(pairs) if len(able) <= _MOST_LISTED_IN_FULL else len(able) - 1  # those with the best come first
    found = zip(pairs, tests, map(float, corrected), strict=True)
    return Comparison(
        tested=len(pairs),
        pairs=tuple(_pair(a, b, u, p, holm) for (b, a), (u, p), holm in itertools.islice(found, listed)),
    )


def least_p(n: int, m: int) -> float:
    """The smallest p that Mann and Whitney's test knows for n and m values: that of samples which don't overlap."""
    return 2 / math.comb(n + m, n)


def _test(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Mann and Whitney's U of `a`, and its two-sided p: exact, or of the normal distribution for many values."""
    together = {*a, *b}
    if len(together) == 1:  # scipy would divide by a spread of zero
        return len(a) * len(b) / 2, 1.0
    stats = scipy_stats()
    method = "auto"
    if len(together) < len(a) + len(b) and math.comb(len(a) + len(b), len(a)) <= _MOST_DEALS:
        # Where values are equal scipy takes the normal distribution, whose p is too small for so few.
        method = stats.PermutationMethod(n_resamples=_MOST_DEALS)
    found = stats.mannwhitneyu(a, b, alternative="two-sided", method=method)
    return float(found.statistic), float(found.pvalue)


def _pair(a: Sample, b: Sample, u: float, p: float, corrected: float) -> Pair:
    delta = cliffs_delta(u, len(a.values), len(b.values))
    return Pair(
        a=a.treatment,
        b=b.treatment,
        difference=intervals.difference(a.values, b.values),
        ratio=intervals.ratio(a.values, b.values),
        ratio_of_medians=intervals.ratio_of_medians(a.values, b.values),
        u=u,
        p=p,
        corrected=corrected,
        differs=corrected < SIGNIFICANCE,
        cliffs_delta=delta,
        magnitude=magnitude(delta),
        hedges_g=hedges_g(a.values, b.values),
    )
