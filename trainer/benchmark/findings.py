"""What the runs of all treatments say: each treatment by itself, their ranking, and pair by pair."""

import itertools
from collections.abc import Sequence

from pydantic import Field

from trainer.benchmark import intervals
from trainer.benchmark.box_plot import BoxPlot, box_plot
from trainer.benchmark.intervals import CONFIDENCE, SIGNIFICANCE, Estimate, Magnitude
from trainer.experiment import moments
from trainer.experiment.metrics import Direction
from trainer.experiment.record import Reported
from trainer.experiment.spec import Scalar

MOST_COMPARED = 24
_MOST_LISTED_IN_FULL = 8  # treatments; of more, only pairs with the best are listed
_COUNTED = frozenset({"s", "bytes", "messages/s", "MB/s"})


class LeftOut(Reported):
    """A run without a value, and why it has none."""

    run: str
    reason: str


class Sample(Reported):
    """The independent runs of a treatment. The ranks of a run share one value: they waited for each other."""

    treatment: str = Field(min_length=1)
    parameters: dict[str, Scalar] = Field(default_factory=dict, description="What the treatment is, by path.")
    values: tuple[float, ...] = Field((), description="One per run, in the order in which they were added.")
    left_out: tuple[LeftOut, ...] = ()


class Quantity(Reported):
    """What the values of all samples measure."""

    name: str
    unit: str = ""
    better: Direction = "Minimize"

    @property
    def least(self) -> float | None:
        """Zero for what a clock or a counter measured; None for what may be below."""
        return 0.0 if self.unit in _COUNTED else None

    @property
    def titled(self) -> str:
        """The name with its unit, where it has one."""
        return f"{self.name} in {self.unit}" if self.unit else self.name


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


class Treatment(Reported):
    """A treatment's figures; `box` and `mean` are null where no run left a value.

    `rank` counts from 1 by the mean, and is null where runs are missing: those that failed might have been the worst.
    """

    sample: Sample
    rank: int | None
    box: BoxPlot | None
    mean: Estimate | None
    ratio: Estimate | None = Field(description="The mean divided by the best's; null unless all is above zero.")
    differs: bool | None = Field(description="Whether it was told apart from the best; null where not compared.")

    @property
    def name(self) -> str:
        """What the treatment is called."""
        return self.sample.treatment


class Method(Reported):
    """How the figures come about, for whoever reads them elsewhere."""

    confidence: float = CONFIDENCE
    quartiles: str = "linear between sorted values (type 7 of Hyndman and Fan)"
    means: str = "Student's t; differences by Welch's, ratios by Welch's on logarithms of the means"
    medians: str = "percentile bootstrap"
    resamples: int = intervals.RESAMPLES
    seed: int = intervals.SEED
    tests: str = "means by the same t, ranks by Mann-Whitney U; both two-sided"
    correction: str = "Holm"
    significance: float = SIGNIFICANCE


class Findings(Reported):
    """Everything that is computed of the samples; the best treatment comes first."""

    quantity: Quantity
    method: Method = Method()
    treatments: tuple[Treatment, ...]
    comparison: Comparison

    @property
    def compared(self) -> tuple[Treatment, ...]:
        """The treatments that are drawn and compared: the first of them, if there are many."""
        return tuple(treatment for treatment in self.treatments if treatment.box is not None)[:MOST_COMPARED]


def analyse(quantity: Quantity, samples: Sequence[Sample]) -> tuple[Treatment, ...]:
    """Each treatment by itself, the best first: by the mean, those with runs missing after all others.

    Raises:
        PackageMissing: a library that computes statistics is not installed.
    """
    return _treatments(quantity, _order(quantity, samples), Comparison(tested=0, pairs=()))


def find(quantity: Quantity, samples: Sequence[Sample]) -> Findings:
    """The whole of it. Of many treatments only the 24 best are compared.

    Raises:
        PackageMissing: a library that computes statistics is not installed.
    """
    ordered = _order(quantity, samples)
    comparison = compare([sample for sample in ordered if sample.values][:MOST_COMPARED])
    return Findings(quantity=quantity, treatments=_treatments(quantity, ordered, comparison), comparison=comparison)


def _order(quantity: Quantity, samples: Sequence[Sample]) -> list[Sample]:
    """As `best` orders points: by the mean of those that are complete. Without a value they come last."""
    sign = 1 if quantity.better == "Minimize" else -1

    def key(sample: Sample) -> tuple[bool, bool, float]:
        mean = moments.mean(sample.values) if sample.values else 0.0
        return not sample.values, bool(sample.left_out), sign * mean

    return sorted(samples, key=key)


def _treatments(quantity: Quantity, ordered: Sequence[Sample], comparison: Comparison) -> tuple[Treatment, ...]:
    found = []
    for place, sample in enumerate(ordered):
        values, best = sample.values, ordered[0]
        pair = comparison.between(sample.treatment, best.treatment)
        compared = bool(values) and place < MOST_COMPARED
        found.append(
            Treatment(
                sample=sample,
                rank=place + 1 if values and not sample.left_out else None,
                box=box_plot(values) if values else None,
                mean=intervals.mean(values, quantity.least) if compared else None,
                ratio=intervals.ratio(values, best.values) if compared and place else None,
                differs=None if pair is None else pair.differs,
            )
        )
    return tuple(found)


def compare(ranked: Sequence[Sample]) -> Comparison:
    """Every pair of samples with two values or more, which come best first.

    Of more than eight treatments all pairs are tested, and those with the best are listed.
    """
    able = [sample for sample in ranked if len(sample.values) > 1]
    pairs = list(itertools.combinations(able, 2))
    if not pairs:
        return Comparison(tested=0, pairs=())
    ranks = [intervals.by_ranks(a.values, b.values) for b, a in pairs]
    means = [intervals.by_means(a.values, b.values) for b, a in pairs]
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
        for each, holm in zip(p, intervals.corrected(p), strict=True)
    ]


def _pair(a: Sample, b: Sample, means: Chance, ranks: Chance, u: float) -> Pair:
    delta = intervals.cliffs_delta(u, len(a.values), len(b.values))
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
        magnitude=intervals.magnitude(delta),
        hedges_g=intervals.hedges_g(a.values, b.values),
    )
