"""The top of the page: what came out, in words first, then in figures."""

from collections.abc import Iterator

from trainer.experiment import moments
from trainer.experiment.comparison import Comparison, shares
from trainer.experiment.metrics import UNDEFINED_BECAUSE
from trainer.experiment.outcome import Outcome, advice
from trainer.experiment.record import Record
from trainer.experiment.spec import ScaleTest
from trainer.report.markup import Markup, element, joined, table
from trainer.report.results import Results, objective_text
from trainer.report.scale import reached
from trainer.report.wording import at_once, brief, count, duration, listed, number, one_line, setting

_EXAMPLES = 3
_STATES = {"Succeeded": "succeeded", "Failed": "failed", "Incomplete": "incomplete"}


def header(results: Results) -> Markup:
    """Kind, name, state, and the result in two sentences."""
    summary = results.summary
    kind = "Scale test" if isinstance(results.experiment, ScaleTest) else "Hyperparameter search"
    state = element("span", _STATES[summary.state], class_=f"state {_STATES[summary.state]}")
    return element(
        "header",
        element("p", f"{kind} ", state, class_="kind"),
        element("h1", summary.experiment),
        element("p", *_lead(results), class_="lead"),
        *(element("p", caveat, class_="caveat") for caveat in results.summary.caveats),
        element("p", _course(results)),
        *(element("p", said) for said in (results.stopped_early, summary.ended_by) if said is not None),
        _figures(results),
    )


def best(results: Results) -> Markup | None:
    """The best point's parameters beside everything it measured."""
    found = results.summary.best
    if found is None:
        return None
    parameters = table(
        "Parameters", ("field", "value"), [(path, setting(v)) for path, v in found.parameters.items()], numbers=(1,)
    )
    return element(
        "section",
        element("h2", "Best configuration"),
        element("div", parameters, _measured(results), class_="beside"),
    )


def comparison(results: Results) -> Markup | None:
    """What running at once bought, and what stands in the way of saying so; nothing for a scale test."""
    compared = results.summary.comparison
    if compared is None and isinstance(results.experiment, ScaleTest):
        return None
    said: list[Markup]
    if compared is None:
        said = [element("p", "No baseline was measured, so there is no speedup to report.")]
    else:
        ratio = (
            f"One trial at a time took {duration(compared.baseline_wall)}, "
            f"{number(compared.elapsed_ratio)} times as long as this run."
        )
        if compared.speedup is not None and compared.efficiency is not None:
            ratio += (
                f" The two are comparable: the speedup is {number(compared.speedup)} "
                f"with {count(compared.slots, 'slot')}, an efficiency of {compared.efficiency:.0%}."
            )
        said = [element("p", ratio)]
        timing = results.summary.timing
        if timing is not None and timing.split is not None:
            said.append(element("p", f"{shares(timing, timing.split)}.{_slowed(compared)}"))
        if compared.differences:
            said.append(element("p", "The two are not comparable, so this is no speedup. They differ in:"))
            said.append(element("ul", *(element("li", one_line(each)) for each in compared.differences)))
    if results.summary.remark is not None:
        said.append(element("p", results.summary.remark))
    return element("section", element("h2", "Against a baseline"), *said)


def _slowed(compared: Comparison) -> str:
    """What trials that ran side by side did to each other, and what the two sides cost."""
    said = ""
    if compared.train_ratio is not None:
        said += f" Training took {number(compared.train_ratio)} times the baseline's seconds."
    if compared.baseline_cost is not None:
        said += f" The baseline's cost is {number(compared.baseline_cost)}."
    return said


def failures(results: Results) -> Markup | None:
    """Every way in which trials failed, with the reason and what to do."""
    found = results.failures(_EXAMPLES)
    if not found:
        return None
    rows = []
    for failure in found:
        reasons = [f"{results.noun.title()} {record.index}{_reason(record)}" for record in failure.examples]
        if failure.total > len(reasons):
            reasons.append(f"and {failure.total - len(reasons):,} more")
        what_to_do = advice(failure.outcome, program=results.experiment.spec.program is not None)
        told = [*(element("p", reason) for reason in reasons), element("p", what_to_do, class_="advice")]
        rows.append((str(failure.outcome), f"{failure.total:,}", joined(told)))
    heads = ("outcome", f"{results.noun}s", "reason, and what to do")
    shown = table(f"{results.noun.title()}s by outcome", heads, rows, numbers=(1,))
    return element("section", element("h2", "What did not succeed"), shown, class_="failures")


def peak_bytes(results: Results, identity: str) -> int | None:
    """The largest memory that any rank of a trial had, as its limit counts it; None where none was measured."""
    peaks = [rank.counted_peak for rank in results.records[identity].memory if rank is not None]
    return max(peaks, default=None)


def _measured(results: Results) -> Markup:
    """Everything that the best point measured, over its repeats where it has several."""
    records = [results.records[identity] for identity in sorted(results.best_ids)]
    names = sorted(set.intersection(*(set(record.metrics) for record in records)))
    columns = {name: [record.metrics[name] for record in records] for name in names}
    absent = [(name, str(why)) for name in UNDEFINED_BECAUSE if (why := records[0].evidence.get(name))]
    if len(records) == 1:
        rows = [(name, number(values[0])) for name, values in columns.items()]
        return table("Measured", ("figure", "value"), rows + absent, numbers=(1,))
    spread = []
    for name, values in columns.items():
        deviation = moments.deviation(values)
        spread.append((name, number(moments.mean(values)), "–" if deviation is None else number(deviation)))
    caption = f"Measured, over {len(records)} repeats"
    return table(caption, ("figure", "mean", "deviation"), spread + [(*one, "") for one in absent], numbers=(1, 2))


def _reason(record: Record) -> str:
    if record.outcome is Outcome.SKIPPED:
        return ""
    return f": {one_line(record.error) or 'it left no error text'}"


def _lead(results: Results) -> Iterator[str]:
    found = results.summary.best
    if found is not None:
        names = results.names
        values = [f"{names[path]} {brief(value)}" for path, value in found.parameters.items()]
        yield f"The best {found.metric} is "
        yield element("strong", number(found.value))
        if found.deviation is not None:
            yield f" ± {number(found.deviation)} (mean and deviation of {found.repeats} repeats)"
        yield f", with {listed(values)}."
    elif results.summary.scale is not None:
        yield reached(results.summary.scale)
    elif results.summary.groups:
        yield f"There is no best trial of all: the trials' {results.metric} can't be compared with each other."
    elif results.all_break:
        yield "There is no best trial: every point that was measured breaks a constraint of the search."
    elif results.unfinished:
        yield f"There is no best trial yet: none has measured {results.metric}{_in_all(results)}."
    else:
        yield f"There is no best trial: none measured {results.metric}{_in_all(results)}."


def _in_all(results: Results) -> str:
    return " in all its repeats" if results.repeats > 1 else ""


def _course(results: Results) -> str:
    summary, counts = results.summary, results.summary.counts
    noun = results.noun
    if counts.total and counts.succeeded == counts.total:
        said = f"All {count(counts.total, noun)} succeeded" if counts.total > 1 else f"Its one {noun} succeeded"
    else:
        said = f"{counts.succeeded:,} of {count(counts.total, noun)} succeeded"
        others = [(counts.failed, "failed"), (counts.stopped, "stopped early")]
        others += [(counts.skipped, "skipped"), (results.unfinished, "not run")]
        said += "".join(f", {amount:,} {what}" for amount, what in others if amount)
    if summary.timing is None:
        return f"{said}."
    return f"{said}. That took {duration(summary.timing.wall)}, {at_once(summary.timing.most_at_once)}."


def _figures(results: Results) -> Markup:
    summary = results.summary
    absent = "not measured"
    tiles: list[tuple[str, str]] = []
    if results.metric is not None:
        value = absent if summary.best is None else number(summary.best.value)
        tiles.append((f"best {objective_text(results.metric)}", value))
    timing, rate = summary.timing, summary.success_rate
    tiles += [
        ("success rate", absent if rate is None else f"{100 * rate:.3g} %"),
        ("wall time", absent if timing is None else duration(timing.wall)),
        (f"mean per {results.noun}", absent if timing is None else duration(timing.mean_trial)),
        ("most at once", absent if timing is None else str(timing.most_at_once)),
    ]
    if summary.saved is not None:
        tiles.append(("steps not run", f"{100 * summary.saved.steps / summary.saved.of_steps:.0f} %"))
    if summary.cost is not None:
        tiles.append(("cost", number(summary.cost)))
    if summary.comparison is not None and summary.comparison.speedup is not None:
        tiles.append(("speedup", number(summary.comparison.speedup)))
    pairs = (
        element("div", element("dt", name), element("dd", value, **({"class_": "absent"} if value == absent else {})))
        for name, value in tiles
    )
    return element("dl", *pairs, class_="figures")
