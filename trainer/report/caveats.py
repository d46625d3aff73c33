"""What has to be known beside the figures of treatments: what is missing, and what they can't tell."""

from collections import Counter
from collections.abc import Iterator, Sequence

from trainer.benchmark.findings import Findings, Treatment
from trainer.benchmark.pairs import SIGNIFICANCE, least_by_ranks
from trainer.report.results import Results
from trainer.report.wording import count, listed

NOT_RUN = "not run"
_FEW = 5  # repeats below which even the spread is hardly known
_MOST_NAMED = 6


def caveats(results: Results, findings: Findings) -> Iterator[str]:
    """Sentences, each a whole one."""
    yield from _left_out(findings.treatments)
    yield from _few(findings)
    yield from _not_compared(findings)
    yield from _contradictions(findings)
    if findings.quantity.unit:  # figures that depend on the machine, and on what else it did
        yield from _course(results)


def _left_out(treatments: Sequence[Treatment]) -> Iterator[str]:
    """The runs without a figure: how many have yet to run, and each that failed."""
    missing = [(treatment.name, run) for treatment in treatments for run in treatment.sample.left_out]
    failed = [f"{run.run} of {name} ({run.reason})" for name, run in missing if run.reason != NOT_RUN]
    if failed:
        named = failed[:_MOST_NAMED]
        if len(failed) > len(named):
            named.append(f"{len(failed) - len(named):,} more")
        yield f"{count(len(failed), 'run')} left no figure: {listed(named)}."
    if len(missing) > len(failed):
        total = sum(len(each.sample.values) + len(each.sample.left_out) for each in treatments)
        yield f"Yet to run: {len(missing) - len(failed):,} of {count(total, 'run')}."
    if missing:
        yield "A treatment with a run missing has no rank: that run may be its worst."


def _few(findings: Findings) -> Iterator[str]:
    sizes = [len(treatment.sample.values) for treatment in findings.compared]
    if not sizes:
        return
    least, most, tested = min(sizes), max(sizes), findings.comparison.tested
    if least < _FEW:
        yield (
            f"With {count(least, 'run')} of a treatment little is known of its spread, so that intervals are wide; "
            "ratios of medians have none."
        )
    if tested and tested * least_by_ranks(most, most) >= SIGNIFICANCE:
        yield (
            f"With {count(most, 'run')} of each, treatments are told apart only on the assumption that means vary as "
            f"Student's t does. Ranks, which assume nothing, need {_enough(tested)} of each to tell any of "
            f"{count(tested, 'pair')} apart, however far they lie from each other."
        )


def _enough(tested: int) -> str:
    """The fewest runs whose ranks can tell so many pairs apart."""
    n = 2
    while tested * least_by_ranks(n, n) >= SIGNIFICANCE:
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
    """Pairs that most runs tell apart, and means don't, or the other way round."""
    for pair in findings.comparison.pairs:
        if pair.ranks.differs and (pair.contradicts or not pair.means.differs):
            more = "more" if pair.cliffs_delta > 0 else "less"
            means = "but the means say the opposite" if pair.contradicts else "but the means can't tell them apart"
            yield (
                f"{pair.a} has {more} than {pair.b} by ranks, that is in most runs, {means}: "
                "a few runs far from the others decide a mean, so look at the medians."
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
