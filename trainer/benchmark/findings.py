"""What the runs of all treatments say: each treatment by itself, their ranking, and pair by pair."""

from collections.abc import Sequence

from pydantic import Field

from trainer.benchmark import intervals
from trainer.benchmark.box_plot import BoxPlot, box_plot
from trainer.benchmark.intervals import CONFIDENCE, Estimate
from trainer.benchmark.pairs import SIGNIFICANCE, Comparison, compare
from trainer.benchmark.sample import Quantity, Sample
from trainer.experiment import moments
from trainer.experiment.record import Reported

MOST_COMPARED = 24


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
