"""What a search with repeats says of its treatments: its ledger as samples, and what is found in them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field

from trainer.benchmark import intervals
from trainer.benchmark.box_plot import BoxPlot, box_plot
from trainer.benchmark.findings import Findings, LeftOut, Quantity, Sample, Treatment, find
from trainer.benchmark.intervals import SIGNIFICANCE, Estimate, least_by_ranks
from trainer.benchmark.suite import Exported
from trainer.experiment import moments
from trainer.experiment.expand import Trial
from trainer.experiment.metrics import Direction
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Reported
from trainer.experiment.spec import Scalar
from trainer.report.results import Results
from trainer.report.wording import count, listed, setting

NAME = "statistics.json"
PICTURES = "statistics"  # a folder beside it
NOT_RUN = "not run"
_FEW = 5  # repeats below which even the spread is hardly known
_MOST_NAMED = 6
# What loading from a broker measures, as records name it, in the order in which it is shown.
LOADING = {
    "messages": "",
    "messagesPerSecond": "messages/s",
    "megabytesPerSecond": "MB/s",
    "setupSeconds": "s",
    "fetchSeconds": "s",
    "decodeSeconds": "s",
    "dealSeconds": "s",
    "payloadBytes": "bytes",
    "wireBytes": "bytes",
}


class TreatmentFigures(Reported):
    """A quantity of one treatment: the mean over its runs, and how they spread."""

    treatment: str
    mean: Estimate
    box: BoxPlot


class Loading(Reported):
    """A quantity of loading, by treatment, in the order of the ranking."""

    quantity: Quantity
    treatments: tuple[TreatmentFigures, ...]


class Compression(Reported):
    """What a treatment's messages took: as they were encoded, and on the wire. Bytes of a run, the mean over runs."""

    treatment: str
    payload_bytes: float
    wire_bytes: float
    ratio: float = Field(description="Encoded bytes by bytes on the wire.")


class Statistics(Exported):
    """Everything that is said of the treatments of a search: the file statistics.json."""

    experiment: str
    named_by: str = Field(description="What the names of treatments say, in their order.")
    loading: tuple[Loading, ...]
    compression: tuple[Compression, ...]
    remarks: tuple[str, ...]


def statistics(results: Results) -> Statistics:
    """The statistics of a search with repeats.

    Raises:
        PackageMissing: a library that computes them is not installed.
    """
    points = _points(results)
    names = _names(results, points)
    better: Direction = "Minimize" if results.minimize else "Maximize"
    metric = results.metric or ""
    samples = [_sample(results, name, trials) for name, trials in zip(names, points, strict=True)]
    found = find(Quantity(name=metric, unit=unit(metric), better=better), samples)
    of = dict(zip(names, points, strict=True))
    metrics = {treatment.name: _metrics(results, of[treatment.name]) for treatment in found.compared}
    return Statistics(
        experiment=results.summary.experiment,
        findings=found,
        named_by=" · ".join(results.names[path] for path in varying(results)),
        loading=tuple(_loading(metrics)),
        compression=tuple(_compression(metrics)),
        remarks=(*_caveats(results, found), *_checksums(metrics)),
    )


def unit(metric: str) -> str:
    """A metric's unit, told by its name; empty where it has none."""
    return "s" if metric.endswith("Seconds") else LOADING.get(metric, "")


def drawn(statistics: Statistics) -> Iterator[tuple[Quantity, list[tuple[str, Estimate]]]]:
    """What of loading has a picture: throughput, and bytes on the wire in MiB."""
    for each in statistics.loading:
        if each.quantity.name in ("messagesPerSecond", "megabytesPerSecond"):
            yield each.quantity, [(of.treatment, of.mean) for of in each.treatments]
        elif each.quantity.name == "wireBytes":
            means = [(of.treatment, of.mean.scaled(2**-20)) for of in each.treatments]
            yield each.quantity.model_copy(update={"unit": "MiB"}), means


def varying(results: Results) -> list[str]:
    """The paths of the parameters that take more than one value: those that tell treatments apart."""
    values: dict[str, set[tuple[type, Scalar]]] = {path: set() for path in results.names}
    for trial in results.trials:
        for path, value in trial.parameters.items():
            values[path].add((type(value), value))
    return [path for path, found in values.items() if len(found) > 1] or list(values)


def _points(results: Results) -> list[list[Trial]]:
    """The trials of each point, its repeats."""
    points: dict[int, list[Trial]] = {}
    for trial in results.trials:
        points.setdefault(trial.point, []).append(trial)
    return list(points.values())


def _names(results: Results, points: Sequence[Sequence[Trial]]) -> list[str]:
    """What each treatment is called: by its values alone, of the parameters that count for it."""
    paths = varying(results)
    names: dict[str, None] = {}
    for first, *_ in points:
        name = " · ".join(setting(first.parameters[path]) for path in paths if path in first.parameters)
        # 1 and "1" read the same.
        names[name if name and name not in names else f"{name} (trial {first.index})"] = None
    return list(names)


def _sample(results: Results, name: str, trials: Sequence[Trial]) -> Sample:
    missing = [trial for trial in trials if trial.id not in results.values]
    return Sample(
        treatment=name,
        parameters=trials[0].parameters,
        values=tuple(results.values[trial.id] for trial in trials if trial.id in results.values),
        left_out=tuple(LeftOut(run=f"trial {trial.index}", reason=_reason(results, trial.id)) for trial in missing),
    )


def _reason(results: Results, identity: str) -> str:
    record = results.records.get(identity)
    if record is None or not record.final:
        return NOT_RUN
    return f"without {results.metric}" if record.outcome is Outcome.SUCCEEDED else str(record.outcome)


def _metrics(results: Results, trials: Sequence[Trial]) -> dict[str, list[float]]:
    """Every metric of the runs that succeeded, by name."""
    found: dict[str, list[float]] = {}
    for trial in trials:
        record = results.records.get(trial.id)
        if record is not None and record.outcome is Outcome.SUCCEEDED:
            for name, value in record.metrics.items():
                found.setdefault(name, []).append(value)
    return found


def _loading(metrics: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[Loading]:
    for name in LOADING:
        better: Direction = "Maximize" if name.endswith("PerSecond") else "Minimize"
        quantity = Quantity(name=name, unit=unit(name), better=better)
        measured = tuple(
            TreatmentFigures(
                treatment=treatment, mean=intervals.mean(of[name], quantity.least), box=box_plot(of[name])
            )
            for treatment, of in metrics.items()
            if name in of
        )
        if measured:
            yield Loading(quantity=quantity, treatments=measured)


def _compression(metrics: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[Compression]:
    for treatment, of in metrics.items():
        payload, wire = of.get("payloadBytes"), of.get("wireBytes")
        if payload and wire and min(*payload, *wire) > 0:
            ratio = intervals.quotient(moments.exact_mean(payload), moments.exact_mean(wire))
            if ratio is not None:
                encoded, on_wire = moments.mean(payload), moments.mean(wire)
                yield Compression(treatment=treatment, payload_bytes=encoded, wire_bytes=on_wire, ratio=ratio)


def _checksums(metrics: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[str]:
    """Whether all runs read the same, by the checksums that they recorded."""
    found = {treatment: sorted(set(of["checksum"])) for treatment, of in metrics.items() if "checksum" in of}
    if not found:
        return
    if len({value for values in found.values() for value in values}) == 1:
        runs = sum(len(metrics[treatment]["checksum"]) for treatment in found)
        yield f"All {count(runs, 'run')} read the same: their checksums are equal."
    else:
        told = "; ".join(f"{name} {listed([f'{value:.0f}' for value in values])}" for name, values in found.items())
        yield f"The runs did not all read the same: their checksums differ ({told})."


# --- what has to be known beside the figures: what is missing, and what they can't tell ----------------------------


def _caveats(results: Results, findings: Findings) -> Iterator[str]:
    """Sentences, each a whole one."""
    yield from _left_out(findings.treatments)
    yield from _few(findings)
    yield from _not_compared(findings)
    yield from _contradictions(findings)
    if findings.quantity.unit:  # figures that depend on the machine, and on what else it did
        yield from _order_of_runs(results)


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


def _order_of_runs(results: Results) -> Iterator[str]:
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
