"""What has to be known beside the figures of treatments: what is missing, and what they can't tell."""

from collections import Counter
from collections.abc import Iterator, Sequence

from trainer.benchmark.findings import Findings, Treatment
from trainer.benchmark.pairs import SIGNIFICANCE, least_p
from trainer.report.results import Results
from trainer.report.wording import count, listed, number

_FEW = 5  # repeats below which even the spread is hardly known
_MOST_NAMED = 6


def remarks(results: Results, findings: Findings) -> Iterator[str]:
    """Sentences, each a whole one."""
    yield from _left_out(findings.treatments)
    yield from _few(findings)
    yield from _not_compared(findings)
    yield from _contradictions(findings)
    if findings.quantity.unit:  # figures that depend on the machine, and on what else it did
        yield from _course(results)


def _left_out(treatments: Sequence[Treatment]) -> Iterator[str]:
    missing = [(treatment.name, run) for treatment in treatments for run in treatment.sample.left_out]
    if not missing:
        return
    named = [f"{run.run} of {name} ({run.reason})" for name, run in missing[:_MOST_NAMED]]
    if len(missing) > len(named):
        named.append(f"{len(missing) - len(named):,} more")
    touched = len({name for name, _ in missing})
    yield (
        f"{count(len(missing), 'run')} of {count(touched, 'treatment')} left no figure: {listed(named)}. "
        "The figures are of the others, and a treatment with a run missing has no rank."
    )


def _few(findings: Findings) -> Iterator[str]:
    sizes = [len(treatment.sample.values) for treatment in findings.compared]
    if not sizes:
        return
    least = min(sizes)
    if least < _FEW:
        yield (
            f"With {count(least, 'run')} of a treatment little is known of its spread, so that intervals are wide; "
            "ratios of medians have none."
        )
    tested, most = findings.comparison.tested, max(sizes)
    if tested and tested * least_p(most, most) >= SIGNIFICANCE:
        yield (
            f"With {count(most, 'run')} of each no pair could be told apart, however far they lie from each other: "
            f"runs that don't overlap at all have p = {number(least_p(most, most))} before the correction "
            f"for {count(tested, 'pair')}. {_enough(tested)} of each can tell them apart."
        )


def _enough(tested: int) -> str:
    """The fewest runs that can tell all pairs apart."""
    n = 2
    while tested * least_p(n, n) >= SIGNIFICANCE:
        n += 1
    return f"{n} runs"


def _not_compared(findings: Findings) -> Iterator[str]:
    measured = sum(1 for treatment in findings.treatments if treatment.box is not None)
    compared = len(findings.compared)
    if measured > compared:
        yield f"Of {measured:,} treatments the {compared} best are drawn and compared; statistics.json has them all."
    if findings.comparison.tested > len(findings.comparison.pairs):
        yield (
            f"Of {findings.comparison.tested} pairs, for all of which p is corrected, "
            "those with the best treatment are listed."
        )


def _contradictions(findings: Findings) -> Iterator[str]:
    """Pairs whose means say the opposite of most runs."""
    for pair in findings.comparison.pairs:
        if pair.differs and pair.difference.value * pair.cliffs_delta < 0:
            more = "more" if pair.cliffs_delta > 0 else "less"
            yield (
                f"{pair.a} has {more} than {pair.b} in most runs, but not in the mean: "
                "a few runs far from the others decide the mean, so look at the medians."
            )


def _course(results: Results) -> Iterator[str]:
    """How the runs came one after another, where that shows in what they took."""
    if results.experiment.spec.order == "Listed":
        yield (
            "The treatments ran one after another, as they are listed, so what changed on the machine meanwhile "
            "counts as a difference between them. `order: Shuffled` spreads it over all."
        )
    else:
        yield f"The runs were shuffled by seed {results.experiment.spec.seed}; results.jsonl has them as they ran."
    timing = results.summary.timing
    if timing is not None and timing.most_at_once > 1:
        yield f"Up to {timing.most_at_once} runs went on at the same time and may have slowed each other down."
    crowded = Counter(record.oversubscribed for _, record in results.ran)[True]
    if crowded:
        yield f"In {count(crowded, 'run')} threads outnumbered the cores, so ranks waited for each other."
