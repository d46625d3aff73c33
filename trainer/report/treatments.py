"""The treatments of a search with repeats: what its ledger says of them as samples, and how that is shown."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from trainer.atomic import write_text
from trainer.benchmark import drawing, intervals, text
from trainer.benchmark.box_plot import BoxPlot, box_plot
from trainer.benchmark.findings import Findings, LeftOut, Quantity, Sample, Treatment, find
from trainer.benchmark.intervals import SIGNIFICANCE, Estimate, least_by_ranks
from trainer.benchmark.suite import Exported
from trainer.benchmark.text import figure as written
from trainer.columns import Table
from trainer.experiment import moments
from trainer.experiment.expand import Trial, by_point
from trainer.experiment.metrics import Direction
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Reported
from trainer.experiment.spec import Scalar
from trainer.packages import PackageMissing, have
from trainer.report.charts import BEST, LIGHT, SERIES, axis, category_axis, figure, plain, spans, trace
from trainer.report.results import Results
from trainer.report.view import ABSENT, Chart, Charts, Note, Part, Points, Section, Terms
from trainer.report.wording import count, listed, memory, setting

NAME = "statistics.json"
PICTURES = "statistics"  # a folder beside it
_NOT_RUN = "not run"
_FEW = 5  # repeats below which even the spread is hardly known
_INDENT = "  "
_MOST_ROWS = 12  # of a table in the terminal
_MOST_RUNS, _MOST_TREATMENTS = 6, 4  # that a sentence names
_AROUND, _ROW, _LOW_ROW, _FEW_ROWS = 100, 38, 26, 8  # what a chart takes beside its rows, and each of few or of many
# What loading from a broker measures, as records name it, in the order in which it is shown: its unit and its head.
_LOADING = {
    "messages": ("", "messages"),
    "messagesPerSecond": ("messages/s", "messages/s"),
    "megabytesPerSecond": ("MB/s", "MB/s"),
    "setupSeconds": ("s", "set-up s"),
    "fetchSeconds": ("s", "fetch s"),
    "decodeSeconds": ("s", "decode s"),
    "dealSeconds": ("s", "deal s"),
    "payloadBytes": ("bytes", "encoded"),
    "wireBytes": ("bytes", "on the wire"),
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
    points = list(by_point(results.trials).values())
    names = _names(results, points)
    better: Direction = "Minimize" if results.minimize else "Maximize"
    metric = results.metric or ""
    samples = [_sample(results, name, trials) for name, trials in zip(names, points, strict=True)]
    found = find(Quantity(name=metric, unit=_unit(metric), better=better), samples)
    of = dict(zip(names, points, strict=True))
    metrics = {treatment.name: _metrics(results, of[treatment.name]) for treatment in found.compared}
    return Statistics(
        experiment=results.summary.experiment,
        findings=found,
        named_by=" · ".join(results.names[path] for path in _varying(results)),
        loading=tuple(_loading(metrics)),
        compression=tuple(_compression(metrics)),
        remarks=(*_caveats(results, found), *_checksums(metrics)),
    )


def _unit(metric: str) -> str:
    """A metric's unit, told by its name; empty where it has none."""
    return "s" if metric.endswith("Seconds") else _LOADING.get(metric, ("",))[0]


def _varying(results: Results) -> list[str]:
    """The paths of the parameters that take more than one value: those that tell treatments apart."""
    values: dict[str, set[tuple[type, Scalar]]] = {path: set() for path in results.names}
    for trial in results.trials:
        for path, value in trial.parameters.items():
            values[path].add((type(value), value))
    return [path for path, found in values.items() if len(found) > 1] or list(values)


def _names(results: Results, points: Sequence[Sequence[Trial]]) -> list[str]:
    """What each treatment is called: by its values alone, of the parameters that count for it."""
    paths = _varying(results)
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
        return _NOT_RUN
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
    for name, (unit, _) in _LOADING.items():
        better: Direction = "Maximize" if name.endswith("PerSecond") else "Minimize"
        quantity = Quantity(name=name, unit=unit, better=better)
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
    failed = [f"{run.run} of {name} ({run.reason})" for name, run in missing if run.reason != _NOT_RUN]
    if failed:
        named = failed[:_MOST_RUNS]
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


# --- how it is shown ------------------------------------------------------------------------------------------------

_METHOD = (
    ("Run", "One trial, one figure: the ranks of a run waited for each other and are never counted apart."),
    (
        "Interval",
        (
            "Holds the truth in 95 of 100 such experiments, each interval by itself. Of a mean by Student's t, of a "
            "difference of means by Welch's, of their ratio by Welch's on the logarithms of the means, of a ratio of "
            "medians by a percentile bootstrap with a fixed seed."
        ),
    ),
    (
        "p",
        (
            "How often chance alone would set the means of two equal treatments at least as far apart, by the same t "
            "as the interval. That of ranks is Mann and Whitney's, exact for few runs: it assumes no distribution, "
            "and runs far from the others weigh no more. Both are corrected by Holm's method for all pairs tested."
        ),
    ),
    (
        "Told apart",
        "The corrected p of the means is below 0.05. Where it is not, the two may be equal or the runs too few.",
    ),
    (
        "Cliff's delta",
        (
            "How much oftener a run of A exceeds one of B than falls short of it, from −1 to 1. Below 0.147 it is "
            "called negligible, below 0.33 small, below 0.474 medium."
        ),
    ),
    ("Hedges' g", "The difference of the means in standard deviations, corrected for few runs."),
    (
        "Quartiles",
        "Interpolated linearly between the sorted runs, as numpy does. Fences lie 1.5 interquartile ranges beyond.",
    ),
)

_COMPRESSION = (
    "Compression is the bytes of the messages as they were encoded, by the bytes that came over the wire. Without it "
    "that is a little below 1: the wire also carries keys, times and the protocol's own bytes."
)


def leave_statistics(folder: Path, results: Results) -> Statistics | None:
    """The statistics, once they are written and said on stderr; None where the libraries are not installed.

    They are left in the folder as JSON and, where matplotlib is installed, as pictures.

    Raises:
        UserError: the folder can't be written.
    """
    found = told_statistics(results)
    if found is None:
        return None
    write_text(folder / NAME, found.model_dump_json(by_alias=True, indent=2) + "\n")
    pictures = ""
    if have("matplotlib"):
        drawing.draw(found.findings, folder / PICTURES)
        for quantity, means in _drawn(found):
            drawing.draw_means(quantity, means, folder / PICTURES / f"{quantity.name}.png")
        pictures = f", pictures in {folder / PICTURES}"
    print(f"statistics: {folder / NAME}{pictures}", file=sys.stderr)
    return found


def told_statistics(results: Results) -> Statistics | None:
    """The statistics, once they are said on stderr; None where the libraries are not installed, which is said too."""
    try:
        found = statistics(results)
    except PackageMissing as error:
        print(f"\n  {error}\n", file=sys.stderr)
        return None
    print(f"\n{compared(found)}\n", file=sys.stderr)
    return found


def compared(statistics: Statistics) -> str:
    """The comparison as text: what came out, ranking, pairs and loading, then what has to be known beside them."""
    found = statistics.findings
    parts = [[_INDENT + verdict(statistics)]]
    if found.compared:
        parts.append(list(text.lines(text.ranking(found, statistics.named_by), _MOST_ROWS)))
        parts.append(list(text.lines(text.spread(found, statistics.named_by), _MOST_ROWS)))
    if found.comparison.pairs:
        parts.append(list(text.lines(text.pairs(found), _MOST_ROWS)))
    if (grid := _loading_table(statistics)) is not None:
        parts.append(list(text.lines(grid, _MOST_ROWS)))
    parts.append([f"{_INDENT}{sentence}" for sentence in statistics.remarks])
    return "\n\n".join("\n".join(part) for part in parts if part)


def sections(statistics: Statistics) -> Iterator[Section]:
    """The comparison by the objective, and what loading took where that was measured; both with their charts."""
    found = statistics.findings
    parts: list[Part] = [Note(verdict(statistics))]
    if statistics.remarks:
        parts.append(Points(statistics.remarks))
    if found.compared:
        means = [(treatment.name, treatment.mean) for treatment in found.compared if treatment.mean is not None]
        drawn_means = _bars("treatment-means", found.quantity.name, found.quantity.titled, means)
        parts += [text.ranking(found, statistics.named_by), Charts((_boxes(statistics), drawn_means))]
    if found.comparison.pairs:
        parts += [text.pairs(found), text.more_of_pairs(found)]
    if found.compared:
        parts.append(text.spread(found, statistics.named_by))
    yield Section("Treatments compared", (*parts, Terms(_METHOD)))
    grid = _loading_table(statistics)
    if grid is not None:
        said = (Note(_COMPRESSION, "soft"),) if statistics.compression else ()
        means_of = (
            _bars(f"treatment-{quantity.name}", quantity.name, quantity.unit, means)
            for quantity, means in _drawn(statistics)
        )
        yield Section("Loading", (*said, grid, Charts(tuple(means_of))))


def _drawn(statistics: Statistics) -> Iterator[tuple[Quantity, list[tuple[str, Estimate]]]]:
    """What of loading has a picture: throughput, and bytes on the wire in MiB."""
    for each in statistics.loading:
        if each.quantity.name in ("messagesPerSecond", "megabytesPerSecond"):
            yield each.quantity, [(of.treatment, of.mean) for of in each.treatments]
        elif each.quantity.name == "wireBytes":
            means = [(of.treatment, of.mean.scaled(2**-20)) for of in each.treatments]
            yield each.quantity.model_copy(update={"unit": "MiB"}), means


def _boxes(statistics: Statistics) -> Chart:
    """A box plot of each treatment by the quartiles that the tables have, and each run as a dot."""
    found = statistics.findings
    said = (
        "A box runs from the first to the third quartile, its thick line is the median. Whiskers reach to the last "
        "value within 1.5 interquartile ranges of the box; what lies beyond is an outlier. A dot is a run."
    )
    traces: list[dict[str, Any]] = []
    for place, treatment in enumerate(found.compared):
        box, name = treatment.box, _row(treatment.name)
        assert box is not None, "what is compared has a box"  # noqa: S101
        of = {"q1": box.q1, "median": box.median, "q3": box.q3, "lowerfence": box.low_whisker}
        of |= {"upperfence": box.high_whisker, "mean": box.mean}
        drawn_box = {
            "type": "box",
            "orientation": "h",
            "y": [name],
            "showlegend": False,
            "fillcolor": "rgba(0,0,0,0)",
        }
        colour = {"line": {"color": BEST if place == 0 else SERIES, "width": 2}, "boxmean": True, "hoverinfo": "x"}
        traces.append(drawn_box | colour | {key: [value] for key, value in of.items()})
        runs: dict[str, Any] = {"marker": {"size": 5, "opacity": 0.8}, "hovertemplate": "%{x:.5g}<extra></extra>"}
        traces.append(trace("markers", treatment.sample.values, [name] * len(treatment.sample.values), LIGHT, **runs))
    values = [value for treatment in found.compared for value in treatment.sample.values]
    return _rows(
        "treatment-boxes", f"{found.quantity.name} by treatment", said, traces, found.quantity.titled, spans(values)
    )


def _bars(name: str, measured: str, title: str, rows: Sequence[tuple[str, Estimate]]) -> Chart:
    said = (
        "A bar is the mean over the runs of a treatment; the line at its end is the mean's 95 % confidence interval."
    )
    error = {"type": "data", "symmetric": False, "color": "var(--ink)", "thickness": 1.5}
    error |= {
        "array": [of.ends[1] - of.value for _, of in rows],
        "arrayminus": [of.value - of.ends[0] for _, of in rows],
    }
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [of.value for _, of in rows],
        "y": [_row(treatment) for treatment, _ in rows],
        "error_x": error,
        "marker": {"color": [BEST if i == 0 else LIGHT for i in range(len(rows))]},
        "text": [written(of.value) for _, of in rows],
        "textposition": "none",
        "hovertemplate": "%{y}: %{text}<extra></extra>",
        "showlegend": False,
    }
    return _rows(name, f"{measured}, mean", said, [bars], title, log=False)


def _rows(name: str, title: str, said: str, traces: Sequence[dict[str, Any]], unit: str, log: bool) -> Chart:
    """A chart with a row for each treatment, the best on top."""
    names = dict.fromkeys(row for each in traces for row in each["y"])
    found = figure(traces, xaxis=axis(unit, log=log, showgrid=True), yaxis=category_axis())
    row = _ROW if len(names) <= _FEW_ROWS else _LOW_ROW
    return Chart(name, title, said, found, _AROUND + row * len(names))


def _row(treatment: str) -> str:
    return plain(drawing.shortened(treatment))


def verdict(statistics: Statistics) -> str:
    """Which treatment is best, and from how many others it was told apart."""
    found = statistics.findings
    if not found.compared:
        return f"No run measured {found.quantity.name}."
    best = found.compared[0]
    least = "least" if found.quantity.better == "Minimize" else "greatest"
    # Whoever misses runs comes after all who miss none, however good its others are.
    ahead = any(_ahead(found.quantity.better, treatment, best) for treatment in found.compared[1:])
    whole = " of the treatments that miss no run" if ahead else ""
    said = f"{best.name} has the {least} mean of {found.quantity.name}{whole}{_apart(found.compared[1:])}."
    once = [treatment.name for treatment in found.compared if len(treatment.sample.values) == 1]
    return f"{said} With one run there is nothing to compare {_some(once)} by." if once else said


def _ahead(better: str, one: Treatment, other: Treatment) -> bool:
    """Whether one's mean is better than the other's."""
    if one.mean is None or other.mean is None:
        return False
    return one.mean.value < other.mean.value if better == "Minimize" else one.mean.value > other.mean.value


def _apart(others: Sequence[Treatment]) -> str:
    """From how many of those it was compared with the best was told apart."""
    compared = [treatment for treatment in others if treatment.differs is not None]
    near = [treatment.name for treatment in compared if not treatment.differs]
    if not compared:
        return "; there is no other to compare it with"
    if not near:
        return f" and was told apart from {_some([treatment.name for treatment in compared])}"
    if len(near) == len(compared):
        return f", but could not be told apart from {_some(near)}"
    return f" and was told apart from {len(compared) - len(near)} of {len(compared)} others, not from {_some(near)}"


def _some(names: Sequence[str]) -> str:
    """The names, or how many they are."""
    return listed(names) if len(names) <= _MOST_TREATMENTS else count(len(names), "treatment")


def _loading_table(statistics: Statistics) -> Table | None:
    """What loading took, means over runs; None where nothing of it was measured."""
    if not statistics.loading:
        return None
    columns: list[tuple[str, dict[str, str]]] = []
    for each in statistics.loading:
        write: Callable[[float], str] = memory if each.quantity.unit == "bytes" else written
        cells = {measured.treatment: write(measured.mean.value) for measured in each.treatments}
        columns.append((_LOADING[each.quantity.name][1], cells))
    if statistics.compression:
        ratios = {found.treatment: written(found.ratio) for found in statistics.compression}
        columns.append(("compression", ratios))
    rows = [
        (treatment.name, *(cells.get(treatment.name, ABSENT) for _, cells in columns))
        for treatment in statistics.findings.compared
    ]
    return Table(
        "What a run read and how fast: means over runs, seconds those of the slowest rank",
        (statistics.named_by, *(head for head, _ in columns)),
        tuple(rows),
    )
