"""Compares treatments two at a time: how far apart they are, and whether chance alone would do that."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from trainer.benchmark import intervals
from trainer.benchmark.intervals import Estimate, Welch, scipy_stats
from trainer.benchmark.sample import Sample
from trainer.experiment import moments
from trainer.experiment.record import Reported
from trainer.packages import load

Magnitude = Literal["negligible", "small", "medium", "large"]

SIGNIFICANCE = 0.05
_MOST_DEALS = 1000  # ways to deal values to two treatments, up to which equal values are tested by all of them
_MOST_LISTED_IN_FULL = 8  # treatments; of more, only pairs with the best are listed
# Romano et al. (2006), "Appropriate statistics for ordinal level data", by the absolute value.
_MAGNITUDES: tuple[tuple[float, Magnitude], ...] = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"))


class Chance(Reported):
    """How often chance alone would set two equal treatments at least as far apart."""

    p: float
    corrected: float = Field(description="By Holm's method, for all pairs that were tested.")
    differs: bool = Field(description="Whether the corrected p is below 0.05.")


class Pair(Reported):
    """Two treatments; `b` is the one further up in the ranking, and `a` is measured by it."""

    a: str
    b: str
    difference: Estimate | None = Field(description="The mean of a minus that of b; null where it has no float.")
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

    @property
    def contradicts(self) -> bool:
        """Whether the means say the opposite of what most values do."""
        return self.difference is not None and self.difference.value * self.cliffs_delta < 0


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
    ranks = [by_ranks(a.values, b.values) for b, a in pairs]
    means = [by_means(a.values, b.values) for b, a in pairs]
    of_ranks = _chances([p for _, p in ranks])
    of_means = _chances([p if p is not None else instead for p, (_, instead) in zip(means, ranks, strict=True)])
    listed = len(pairs) if len(able) <= _MOST_LISTED_IN_FULL else len(able) - 1  # those with the best come first
    found = zip(pairs, of_means, of_ranks, ranks, strict=True)
    return Comparison(
        tested=len(pairs),
        pairs=tuple(
            _pair(a, b, by_mean, by_rank, u) for (b, a), by_mean, by_rank, (u, _) in itertools.islice(found, listed)
        ),
    )


def _chances(p: Sequence[float]) -> list[Chance]:
    return [
        Chance(p=each, corrected=holm, differs=holm < SIGNIFICANCE)
        for each, holm in zip(p, corrected(p), strict=True)
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


def by_means(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The p that goes with the pair's interval: of the ratio of means, or of their difference where there is none.

    None where nothing varies.
    """
    return (Welch.logarithm_of_ratio(a, b) if min(*a, *b) > 0 else Welch.difference(a, b)).p()


def by_ranks(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
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


def corrected(p: Sequence[float]) -> list[float]:
    """Each p by Holm's method: of equal treatments, any is below 0.05 in at most 5 of 100 experiments."""
    multitest = load("statsmodels.stats.multitest", "comparing treatments")
    return [float(value) for value in multitest.multipletests(p, method="holm")[1]]


def least_by_ranks(n: int, m: int) -> float:
    """The smallest p that ranks can have of n and m values: that of samples which don't overlap."""
    return 2 / math.comb(n + m, n)


def cliffs_delta(u: float, n: int, m: int) -> float:
    """How often a value of the first sample exceeds one of the second, less how often it falls short: -1 to 1.

    `u` is Mann and Whitney's statistic of the first sample, which counts just that; n and m are the samples' sizes.
    """
    return 2 * u / (n * m) - 1


def magnitude(delta: float) -> Magnitude:
    """A word for a Cliff's delta."""
    return next((word for limit, word in _MAGNITUDES if abs(delta) < limit), "large")


def hedges_g(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The difference of the means in pooled standard deviations, by Hedges' (1981) exact factor for few values.

    None where no value differs from the others of its sample, and where it has no float.
    """
    freedom = len(a) + len(b) - 2
    apart = moments.exact_mean(a) - moments.exact_mean(b)
    pooled = ((len(a) - 1) * moments.exact_variance(a) + (len(b) - 1) * moments.exact_variance(b)) / freedom
    deviations = None if pooled == 0 else moments.root(apart**2 / pooled)
    if deviations is None:
        return None
    factor = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return factor * (-deviations if apart < 0 else deviations)
