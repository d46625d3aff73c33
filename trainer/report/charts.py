"""The charts of an experiment, in Plotly's terms, and the columns of its trials that they are drawn from."""

import heapq
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.experiment import moments
from trainer.experiment.expand import Trial, by_point
from trainer.experiment.outcome import Outcome
from trainer.experiment.progress import HISTORY, REPORTS, Step, read_steps
from trainer.experiment.record import NAIVE, Record
from trainer.experiment.spec import HyperparamSearch, Parameter, Scalar, ScaleTest
from trainer.report.results import Results, objective_text, outcome_text
from trainer.report.view import ABSENT, Chart, Column, column
from trainer.report.wording import at_once, brief, count, duration, number, one_line, setting

SERIES, LIGHT, BEST, FAILED = "var(--series)", "var(--series-light)", "var(--best)", "var(--failed)"
START, DATA, REST, LINE = "var(--start)", "var(--data)", "var(--rest)", "var(--line)"
STAR = {"symbol": "star", "size": 14, "line": {"width": 1, "color": "var(--paper)"}}  # the best
_LOG_FROM = 20  # a span of more than this factor is drawn on a log axis
_FEW_VALUES = 8  # of a parameter: each is a tick, and has a median
_MOST_BARS, _MOST_SPANS, _MOST_MOMENTS = 240, 2_000, 1_200
_MOST_SHARES = 12
_MOST_LINES = 16  # parallel axes
_LONGEST_NAME = 24
_BAR_HEIGHT = 26
_FEWEST_LANES = 4  # fewer are drawn no thicker
_MOST_TICKS = 12
_MOST_METRICS = 24  # as columns beside the objective; results.jsonl has them all
_ERROR_LETTERS = 300
_MOST_CURVES, _MOST_STEPS, _MOST_CURVED = 60, 120, 4  # trials, steps of each, and metrics of a program


def figure(traces: Sequence[Mapping[str, Any]], **layout: Any) -> dict[str, Any]:
    """A figure of Plotly's with these traces."""
    return {"data": list(traces), "layout": layout}


def axis(title: str, *, log: bool = False, **more: Any) -> dict[str, Any]:
    """An axis with its name."""
    return {"title": {"text": plain(title)}, **({"type": "log"} if log else {}), **more}


def category_axis(**more: Any) -> dict[str, Any]:
    """An axis with a row for each name, the first on top."""
    return {"type": "category", "autorange": "reversed", "showgrid": False, **more}


def trace(mode: str, x: Any, y: Any, colour: str, name: str = "", **more: Any) -> dict[str, Any]:
    """Markers or lines, or both; `name` is what the legend calls it, and hides it by a click."""
    drawn = {"type": "scatter", "mode": mode, "x": x, "y": y, "name": name, "showlegend": bool(name)}
    if "markers" in mode:
        drawn["marker"] = {"color": colour, "size": 7} | more.pop("marker", {})
    if "lines" in mode:
        drawn["line"] = {"color": colour, "width": 2} | more.pop("line", {})
    return drawn | more


def plain(text: str) -> str:
    """Text that Plotly, which knows a little HTML, shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def spans(values: Sequence[float]) -> bool:
    """Whether figures lie so far apart that they are drawn on a log axis."""
    return len(values) > 1 and min(values) > 0 and max(values) / min(values) > _LOG_FROM


# --- the trials as columns ------------------------------------------------------------------------------------------


def parameter(path: str) -> str:
    """The name of a parameter's column."""
    return f"parameters.{path}"


def metric(name: str) -> str:
    """The name of a metric's column."""
    return f"metrics.{name}"


def columns(results: Results) -> Iterator[Column]:
    """A value for each trial, as trials are listed; names are those that exports have."""
    trials, program = results.trials, results.experiment.spec.program is not None
    records = [results.records.get(trial.id) for trial in trials]
    ran = [None if record is None or record.outcome is Outcome.SKIPPED else record for record in records]
    scale = isinstance(results.experiment, ScaleTest)

    def of(found: list[Record | None], value: Any) -> list[Any]:
        return [None if record is None else value(record) for record in found]

    yield Column("index", results.noun, [trial.index for trial in trials])
    yield Column("id", "id", [trial.id for trial in trials])
    for path, short in results.names.items():
        yield Column(parameter(path), short, [_setting(trial, path) for trial in trials])
    if results.metric is not None:
        values = [results.values.get(trial.id) for trial in trials]
        yield Column(metric(results.metric), objective_text(results.metric), values)
    several = len({trial.workers for trial in trials}) > 1 or scale
    yield Column("workers", "workers", [trial.workers for trial in trials], shown=several)
    yield Column("repeat", "repeat", [trial.repeat for trial in trials], shown=results.repeats > 1)
    yield Column("outcome", "outcome", ["not run" if one is None else outcome_text(one) for one in records])
    yield Column("attempt", "attempt", of(records, lambda one: one.attempt), shown=False)
    yield Column("epochs", "epochs", of(ran, lambda one: one.epochs or None), shown=not program)
    yield Column("seconds.total", "time", of(ran, lambda one: one.seconds.total), "s")
    yield Column("peakMemoryBytes", "peak memory", of(records, lambda one: one.counted_peak), "bytes")
    others = dict.fromkeys(name for _, record in results.ran for name in record.metrics if name != results.metric)
    for name in list(others)[:_MOST_METRICS]:  # in the order in which they were first recorded
        yield Column(metric(name), name, of(records, lambda one, name=name: one.metrics.get(name)), shown=False)
    yield Column("error", "error", of(records, lambda one: one_line(one.error, _ERROR_LETTERS) or None), shown=False)


def _setting(trial: Trial, path: str) -> Scalar | None:
    value = trial.parameters.get(path)
    return one_line(value) if isinstance(value, str) else value


# --- the objective --------------------------------------------------------------------------------------------------


def objective_by_trial(results: Results) -> Chart:
    """Each trial's objective in the order in which trials are listed; with repeats also their mean and deviation."""
    title = f"{results.metric} by trial"
    if not results.values:
        return Chart("by-trial", title, _nothing(results))
    means, log = _means(results), spans(list(results.values.values()))
    words = [f"A dot is a trial; {_better(results)} is better."]
    measured = [row for row, trial in enumerate(results.trials) if trial.id in results.values]
    traces = [_dots(results, "index", measured, LIGHT if means else SERIES)]
    if means:
        words.append("A bar is the mean of a point's repeats, one deviation to either side.")
        at, mean, deviation = zip(*means, strict=True)
        error = {"type": "data", "array": deviation, "color": SERIES, "thickness": 1.5, "width": 0}
        bars = {"symbol": "line-ew-open", "size": 10}
        traces.append(trace("markers", at, mean, SERIES, "mean", error_y=error, marker=bars, hoverinfo="y"))
    traces += _best_dot(results, "index")
    without = [
        (results.rows[trial.id], record.outcome is Outcome.STOPPED)
        for trial, record in results.ran
        if trial.id not in results.values
    ]
    for name, colour, symbol, said in (
        ("stopped", SERIES, "line-ns-open", "A stroke on the lower edge is a trial stopped early."),
        ("failed", FAILED, "x-thin-open", "A cross on the lower edge is a trial without a figure."),
    ):
        if rows := [row for row, stopped in without if stopped is (name == "stopped")]:
            words.append(said)
            of_edge = {"yaxis": "y2", "cliponaxis": False, **_told(rows)}
            mark = {"symbol": symbol, "size": 9, "line": {"width": 2, "color": colour}}
            traces.append(
                trace("markers", column("index", rows), [0] * len(rows), colour, name, marker=mark, **of_edge)
            )
    y2 = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    found = figure(traces, xaxis=axis(results.noun), yaxis=_objective_axis(results, log), yaxis2=y2)
    return Chart("by-trial", title, " ".join([*words, *_log_axis(log)]), found)


def slices(results: Results) -> list[Chart]:
    """The objective by each parameter that takes more than one value."""
    return [_slice(results, each, f"slice-{i}") for i, each in enumerate(_varied(results))]


def parallel(results: Results) -> Chart | None:
    """A line for each trial through all its parameters to its objective; None where there are no two to see."""
    varied = _varied(results)
    shown = [trial for trial in results.ranked if trial.id in results.values][::-1]
    if len(varied) < 2 or len(shown) < 2:
        return None
    values = [results.values[trial.id] for trial in shown]
    told = [math.log10(value) for value in values] if spans(values) else values
    dimensions = [_dimension(results, each, shown) for each in varied[: _MOST_LINES - 1]]
    dimensions.append(
        {"label": plain(results.metric or ""), "values": told, **(_powers(told) if told is not values else {})}
    )
    words = (
        f"A line is a trial, from parameter to parameter to its {results.metric}; the warmer its colour, the better. "
        "Drag along an axis to keep the trials that pass there, drag its name to move it."
    )
    if len(varied) >= _MOST_LINES:
        words += f" The first {_MOST_LINES - 1} of {len(varied)} parameters are drawn."
    lines = {
        "type": "parcoords",
        "line": _colours(results, values),
        "dimensions": dimensions,
        "labelangle": -12 if len(varied) > 5 else 0,
    }
    return Chart("parallel", "All parameters at once", words, figure([lines]), 400, wide=True)


def explorer(results: Results) -> Chart | None:
    """Two parameters against each other, coloured by the objective; the reader chooses which."""
    varied = _varied(results)
    if len(varied) < 2:
        return None
    ranked = [path for path in results.summary.importance if path in {each.name for each in varied}]
    x, y = (ranked + [each.name for each in varied if each.name not in ranked])[:2]
    choices: list[dict[str, Any]] = [
        {"column": parameter(each.name), "label": each.name, "axis": _scale(results, each)} for each in varied
    ]
    measured = [results.rows[trial.id] for trial in results.ranked[::-1] if trial.id in results.values]
    values = [results.values[results.trials[row].id] for row in measured]
    marker = {"size": 12, "line": {"width": 1, "color": "var(--paper)"}, **_colours(results, values)}
    drawn = trace(
        "markers",
        column(parameter(x), measured),
        column(parameter(y), measured),
        SERIES,
        marker=marker,
        **_told(measured),
    )
    chosen = {each["column"]: each for each in choices}
    found = figure(
        [drawn],
        xaxis={"title": {"text": plain(x)}} | chosen[parameter(x)]["axis"],
        yaxis={"title": {"text": plain(y)}} | chosen[parameter(y)]["axis"],
    )
    found["choices"] = {"options": choices, "x": parameter(x), "y": parameter(y)}
    words = (
        f"A dot is a trial; the warmer its colour, the better its {results.metric}. Of those at the same place the "
        "best lies on top. Where the best along one axis depends on the other, the two parameters work together."
    )
    return Chart("explorer", "Two parameters together", words, found, 420, wide=True)


def _colours(results: Results, values: Sequence[float]) -> dict[str, Any]:
    """The colours of trials: from that of the best to a pale one, which the worst tenth shares."""
    told = [math.log10(value) for value in values] if spans(values) else list(values)
    ordered = sorted(told, reverse=not results.minimize)
    best, worst = ordered[0], ordered[math.ceil(0.9 * (len(ordered) - 1))]
    scale: list[tuple[float, str]] = [(0, BEST), (0.3, SERIES), (1, REST)]
    return {
        "color": told,
        "colorscale": scale if results.minimize else [(1 - at, colour) for at, colour in reversed(scale)],
        "cmin": min(best, worst) - (1 if best == worst else 0),
        "cmax": max(best, worst) + (1 if best == worst else 0),
        "showscale": False,
    }


def _slice(results: Results, of: Parameter, name: str) -> Chart:
    path = of.name
    rows = [
        row for row, trial in enumerate(results.trials) if path in trial.parameters and trial.id in results.values
    ]
    by_value: dict[Scalar, list[float]] = {}
    for row in rows:
        trial = results.trials[row]
        by_value.setdefault(trial.parameters[path], []).append(results.values[trial.id])
    ordered = [value for value in _ordered(results, of) if value in by_value]
    few = len(ordered) <= _FEW_VALUES
    medians = [moments.median(by_value[value]) for value in ordered]
    log = spans([value for values in by_value.values() for value in values])
    words = [f"A dot is a trial; {_better(results)} is better."]
    traces = [_dots(results, parameter(path), rows, LIGHT if few else SERIES)]
    if few:
        listed = ", ".join(
            f"{number(median)} at {setting(value)}" for value, median in zip(ordered, medians, strict=True)
        )
        words.append(f"The line joins the medians over all other parameters: {listed}.")
        at = [_shown(value) for value in ordered]
        traces.append(
            trace("lines+markers", at, medians, SERIES, "median", hovertemplate="median %{y:.5g}<extra></extra>")
        )
    traces += _best_dot(results, parameter(path))
    x = axis(path) | _scale(results, of)
    found = figure(traces, xaxis=x, yaxis=_objective_axis(results, log))
    return Chart(name, f"{results.metric} by {results.names[path]}", " ".join([*words, *_log_axis(log)]), found)


def _scale(results: Results, of: Parameter) -> dict[str, Any]:
    """How a parameter's axis is divided: words in the order of the file, a tick for each of few numbers."""
    ordered = _ordered(results, of)
    if _named(ordered):
        return {"type": "category", "categoryorder": "array", "categoryarray": [_shown(value) for value in ordered]}
    numbers = [float(value) for value in ordered]
    log = of.range.scale == "Log" if of.range is not None else spans(numbers) or _geometric(numbers)
    found: dict[str, Any] = {"type": "log" if log else "linear"}
    if len(ordered) <= _FEW_VALUES:
        found |= {"tickvals": numbers, "ticktext": [brief(value) for value in ordered]}
    return found


def _dimension(results: Results, of: Parameter, shown: Sequence[Trial]) -> dict[str, Any]:
    """A parallel axis: words and missing values by their place, numbers by their logarithm where the axis is one."""
    scale, ordered = _scale(results, of), _ordered(results, of)
    label = {"label": plain(results.names[of.name])}
    of_each = [trial.parameters.get(of.name) for trial in shown]
    if _named(ordered) or None in of_each:
        places: dict[Scalar | None, int] = {value: i for i, value in enumerate(ordered)}
        if None in of_each:
            places[None] = len(places)
        ticks = list(places.items())[:: math.ceil(len(places) / _FEW_VALUES)]
        return label | {
            "values": [places[value] for value in of_each],
            "tickvals": [place for _, place in ticks],
            "ticktext": [ABSENT if value is None else plain(brief(value)) for value, _ in ticks],
        }
    numbers = [float(value) for value in of_each if value is not None]
    log = scale["type"] == "log"
    values = [math.log10(value) for value in numbers] if log else numbers
    if "tickvals" in scale:
        ticks_at = [math.log10(value) if log else value for value in scale["tickvals"]]
        return label | {"values": values, "tickvals": ticks_at, "ticktext": scale["ticktext"]}
    return label | {"values": values, **(_powers(values) if log else {})}


def _powers(values: Sequence[float]) -> dict[str, Any]:
    """Ticks of an axis whose values are logarithms: the powers of ten, and both ends."""
    low, high = min(values), max(values)
    inner = [float(power) for power in range(math.ceil(low + 0.2), math.floor(high - 0.2) + 1)]
    ticks = [low, *inner, high] if high > low else [low]
    return {"tickvals": ticks, "ticktext": [f"{10**tick:.3g}" for tick in ticks]}


def _varied(results: Results) -> list[Parameter]:
    """The parameters of a search that take more than one value, and that a measured trial has."""
    if not isinstance(results.experiment, HyperparamSearch):
        return []
    return [
        each
        for each in results.experiment.spec.parameters
        if len({trial.parameters[each.name] for trial in results.trials if each.name in trial.parameters}) > 1
        and any(trial.id in results.values for trial in results.trials if each.name in trial.parameters)
    ]


def _ordered(results: Results, of: Parameter) -> list[Scalar]:
    """The values that a parameter takes: numbers by size, others in the order of the file."""
    taken = {trial.parameters[of.name] for trial in results.trials if of.name in trial.parameters}
    values = [value for value in of.choices or () if value in taken] or list(taken)
    return values if _named(values) else sorted(values, key=float)


def _named(values: Iterable[Scalar]) -> bool:
    return any(isinstance(value, str | bool) for value in values)


def _shown(value: Scalar) -> Scalar:
    """A value as an axis knows it: numbers are numbers, anything else is a word."""
    return setting(value) if isinstance(value, str | bool) else value


def _geometric(values: Sequence[float]) -> bool:
    """Whether each value is the same multiple of the one before, as 32, 64, 128."""
    if len(values) < 3 or values[0] <= 0:
        return False
    ratios = [after / before for before, after in itertools.pairwise(values)]
    return max(ratios) / min(ratios) < 1.01


def _dots(results: Results, x: str, rows: Sequence[int], colour: str) -> dict[str, Any]:
    """The objective of these trials, by a column."""
    y = metric(results.metric or "")
    return trace("markers", column(x, rows), column(y, rows), colour, "trial", **_told(rows))


def _best_dot(results: Results, x: str) -> list[dict[str, Any]]:
    """The best point, where it has a place on this axis: all its repeats at their mean."""
    best = results.summary.best
    rows = [row for row, trial in enumerate(results.trials) if trial.id in results.best_ids]
    if best is None or not rows or (x != "index" and x not in map(parameter, best.parameters)):
        return []
    middle = rows[len(rows) // 2]
    at = [best.index + (best.repeats - 1) / 2] if x == "index" else column(x, [middle])
    return [trace("markers", at, [best.value], BEST, "best", marker=STAR, **_told([middle]))]


def _told(rows: Sequence[int]) -> dict[str, Any]:
    """What a mark says when it is pointed at: its trial, with parameters and objective."""
    return {
        "text": column("label", rows),
        "customdata": column("row", rows),
        "hovertemplate": "%{text}<extra></extra>",
    }


def _means(results: Results) -> list[tuple[float, float, float]]:
    """Place, mean and deviation of the points with all their repeats; none without repeats."""
    means = []
    for trials in by_point(trial for trial in results.trials if trial.id in results.values).values():
        if len(trials) == results.repeats > 1:
            values = [results.values[trial.id] for trial in trials]
            place = moments.mean([trial.index for trial in trials])
            means.append((place, moments.mean(values), moments.deviation(values) or 0.0))
    return means


def _objective_axis(results: Results, log: bool) -> dict[str, Any]:
    return axis(objective_text(results.metric or ""), log=log)


def _log_axis(log: bool) -> list[str]:
    return ["The vertical axis is logarithmic."] if log else []


def _nothing(results: Results) -> str:
    verb = "has measured" if results.unfinished else "measured"
    return f"No trial {verb} {results.metric}{' yet' if results.unfinished else ''}."


def _better(results: Results) -> str:
    return "lower" if results.minimize else "higher"


# --- what was learnt ------------------------------------------------------------------------------------------------


def importance(results: Results) -> Chart | None:
    """Each parameter's share, the greatest first; None where too few points were measured."""
    shares = list(results.summary.importance.items())
    if not shares:
        return None
    shown = shares[:_MOST_SHARES][::-1]
    words = (
        "How far each parameter sets the best tenth of the points apart from all that were tried, as a share of 1."
    )
    if len(shares) > len(shown):
        words += f" The first {len(shown)} of {count(len(shares), 'parameter')} are drawn; summary.json has them all."
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [share for _, share in shown],
        "y": [_short(results.names.get(path, path)) for path, _ in shown],
        "text": [f"{share:.2f}" for _, share in shown],
        "textposition": "outside",
        "cliponaxis": False,
        "customdata": [plain(path) for path, _ in shown],
        "hovertemplate": "%{customdata}: %{x:.4f}<extra></extra>",
        "marker": {"color": SERIES},
        "showlegend": False,
    }
    x = {"range": [0, 1.08], "fixedrange": True}
    y = {"fixedrange": True, "type": "category", "showgrid": False}
    found = figure([bars], xaxis=x, yaxis=y)
    return Chart("importance", "What made the difference", words, found, 80 + _BAR_HEIGHT * max(4, len(shown)))


def best_so_far(results: Results) -> list[Chart]:
    """The best objective after so many trials, and after so many seconds; none where a single trial has ended."""
    course, timing, done = results.summary.course, results.summary.timing, results.summary.counts.done
    if not course or done < 2:
        return []
    last = course[-1]
    by_trial = (
        "The line is the best so far, a dot where a point was better than all before. The best, "
        f"{number(last.value)}, came after {count(last.trials, 'trial')} of {done:,}."
    )
    wall = max(last.seconds, 0.0 if timing is None else timing.wall)
    by_time = f"The best came after {duration(last.seconds)} of {duration(wall)}; pauses between runs are left out."
    ended, seconds = [each.trials for each in course], [each.seconds for each in course]
    return [
        _course(results, "trial", "trials that have ended", by_trial, ended, done),
        _course(results, "time", "seconds", by_time, seconds, wall),
    ]


def _course(results: Results, by: str, title: str, words: str, at: Sequence[float], until: float) -> Chart:
    """A line that holds each value until the next, and the last until the end."""
    course = results.summary.course
    values = [each.value for each in course]
    log = spans(values)
    rows = {trial.index: row for row, trial in enumerate(results.trials)}
    told = _told([rows[each.index] for each in course])
    line, star = {"shape": "hv"}, {"symbol": "star", "size": 14}
    traces = [
        trace("lines", [*at, max(until, at[-1])], [*values, values[-1]], SERIES, line=line, hoverinfo="skip"),
        trace("markers", at, values, SERIES, "better than all before", **told),
        trace("markers", at[-1:], values[-1:], BEST, "best", marker=star, hoverinfo="skip"),
    ]
    found = figure(traces, xaxis=axis(title, rangemode="tozero"), yaxis=_objective_axis(results, log))
    return Chart(f"best-by-{by}", f"Best {results.metric} by {by}", " ".join([words, *_log_axis(log)]), found)


def _short(text: str) -> str:
    return plain(text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…")


# --- step by step ---------------------------------------------------------------------------------------------------

_LOSSES = {"validLoss": ("Validation loss", "loss"), "trainLoss": ("Training loss", "loss")}


def learning_curves(results: Results, folder: Path) -> list[Chart]:
    """Validation and training loss by epoch, on the same scale; of a program what it reported, by step."""
    first = [trial for trial in results.ranked if trial.id in results.best_ids]
    others = [trial for trial in results.ranked if trial.id not in results.best_ids]
    chosen = [trial for trial in (*first, *others) if trial.id in results.records][:_MOST_CURVES]
    ours = results.experiment.spec.program is None
    step, file = ("epoch", HISTORY) if ours else ("step", REPORTS)
    read = [(trial, read_steps(folder / "trials" / trial.id / file, _MOST_STEPS)) for trial in chosen]
    curves = [(trial, steps) for trial, steps in read if steps]
    if not curves:
        reason = f"No trial left a history of its {step}s." if chosen else "No trial has ended yet."
        return [Chart("curves", f"{'Losses' if ours else 'Metrics'} by {step}", reason)]
    words = f"A line is a trial, from {step} to {step}; pointed at, it tells which."
    if len(chosen) < len(results.records):
        words += f" Drawn are {count(len(chosen), 'trial')}, the best first, of {len(results.records):,}."
    if len(curves) < len(chosen):
        words += f" {count(len(chosen) - len(curves), 'trial')} left no history."
    if ours:
        return [_curves(results, name, list(_LOSSES), curves, words, step) for name in _LOSSES]
    return [_curves(results, name, [name], curves, words, step) for name in _told_by_program(results)]


def _told_by_program(results: Results) -> list[str]:
    """The metrics of a program that are drawn: the objective first, then those that it told besides."""
    told = next(results.records[trial.id].metrics for trial in results.ranked if trial.id in results.records)
    named = [results.metric] if results.metric is not None else []
    others = [name for name in told if name not in named and not name.startswith(NAIVE)]
    return [*named, *others][:_MOST_CURVED]


def _curves(
    results: Results,
    name: str,
    scaled_with: Sequence[str],
    curves: Sequence[tuple[Trial, Sequence[Step]]],
    words: str,
    step: str,
) -> Chart:
    """The curves of a metric, on the scale of the metrics `scaled_with`."""
    called, unit = _LOSSES.get(name, (name, name))
    title, file = f"{called} by {step}", f"curve-{re.sub('[^A-Za-z0-9]', '-', name)}"
    finite = {
        each: [value for _, steps in curves for value in _finite(steps, each) if value is not None]
        for each in scaled_with
    }
    if not finite[name]:
        return Chart(file, title, "The histories hold no finite figure of it.")
    drawn = list(itertools.chain.from_iterable(finite.values()))
    low, high = min(drawn), max(drawn)
    log = low > 0 and high > 4 * low
    traces, once = [], {"best", "others"}
    for trial, steps in reversed(curves):  # the best last, on top
        best = trial.id in results.best_ids
        group = "best" if best else "others"
        line = trace(
            # A single point makes no line.
            "markers" if len(steps) == 1 else "lines",
            tuple(each.step for each in steps),
            _finite(steps, name),
            BEST if best else LIGHT,
            group,
            legendgroup=group,
            text={"column": "label", "row": results.rows[trial.id]},
            hovertemplate=f"%{{text}}<br>{step} %{{x}}: %{{y:.5g}}<extra></extra>",
        )
        line["showlegend"] = group in once
        if len(steps) > 1:
            line["line"]["width"] = 2.5 if best else 1.2
        once.discard(group)
        traces.append(line)
    bounds = [math.log10(low / 1.15), math.log10(high * 1.15)] if log else None
    found = figure(traces, xaxis=axis(step), yaxis=axis(unit, log=log, range=bounds), hovermode="closest")
    return Chart(file, title, " ".join([words, *_log_axis(log)]), found)


def _finite(steps: Sequence[Step], name: str) -> list[float | None]:
    """A metric by step, None where it has no finite figure."""
    return [value if math.isfinite(value := each.metrics.get(name, math.nan)) else None for each in steps]


# --- where the time went --------------------------------------------------------------------------------------------

_PARTS = (("start", START), ("data", DATA), ("train", SERIES), ("rest", REST))
_LABELS = {Outcome.SUCCEEDED: "succeeded", Outcome.STOPPED: "stopped"}


def time_per_trial(results: Results) -> Chart:
    """Each trial's seconds, stacked by what they went into."""
    title = f"Time per {results.noun}"
    if not results.ran:
        return Chart("time", title, f"No {results.noun} has ended yet.")
    size = math.ceil(len(results.ran) / _MOST_BARS)
    groups = [results.ran[i : i + size] for i in range(0, len(results.ran), size)]
    shares = [[_parts(record) for _, record in group] for group in groups]
    words = (
        "Start: until the training code runs. Data: loading. Train: all epochs. "
        "Rest: what remains of the trial's total, such as saving and ending."
    )
    if results.experiment.spec.program is not None:
        words = "A program's whole time, from its start to its end."
    if size > 1:
        words += f" A bar is the mean of {size} trials that follow each other in the list."
    at = [group[0][0].index + (len(group) - 1) / 2 for group in groups]
    traces = []
    for i, (name, colour) in enumerate(_PARTS):
        heights = [math.fsum(part[i] for part in parts) / len(parts) for parts in shares]
        if any(heights):
            hover = f"{results.noun} %{{x}}: {name} %{{y:.3g}} s<extra></extra>"
            bar = {
                "type": "bar",
                "x": at,
                "y": heights,
                "name": name,
                "marker": {"color": colour, "line": {"width": 0}},
            }
            traces.append(bar | {"hovertemplate": hover, "width": 0.8 * size})
    found = figure(traces, barmode="stack", xaxis=axis(results.noun), yaxis=axis("seconds", rangemode="tozero"))
    return Chart("time", title, words, found)


def timeline(results: Results) -> Chart:
    """Which trials ran when; with very many trials, how many ran."""
    title = f"{results.noun.title()}s over time"
    ran = sorted(results.ran, key=lambda pair: pair[1].started_at)
    if not ran:
        return Chart("timeline", title, f"No {results.noun} has ended yet.")
    records = [record for _, record in ran]
    spent = _spans(records)
    most = results.summary.timing.most_at_once if results.summary.timing is not None else 1
    if len(spent) > _MOST_SPANS:
        words = f"How many trials ran at the same time; at most {most}."
        return Chart("timeline", title, words + _pauses(records), _running(spent))
    words = f"A bar is a {results.noun}, from its start to its end; they ran {at_once(most)}."
    if results.summary.timing is not None and results.summary.timing.packed:
        words = "A bar is a trial, from its start to its end; those of a pack run beside each other in one process."
    lanes = _lanes(spent)
    traces = []
    for label, colour in (("succeeded", SERIES), ("stopped", LIGHT), ("failed", FAILED)):
        chosen = [i for i, record in enumerate(records) if _LABELS.get(record.outcome, "failed") == label]
        if not chosen:
            continue
        bar: dict[str, Any] = {
            "type": "bar",
            "orientation": "h",
            "name": label,
            "marker": {"color": colour, "line": {"width": 1, "color": "var(--paper)"}},
            "base": [spent[i][0] for i in chosen],
            "x": [spent[i][1] - spent[i][0] for i in chosen],
            "y": [lanes[i] + 1 for i in chosen],
            "width": 0.76,
        }
        traces.append(bar | _told([results.rows[ran[i][0].id] for i in chosen]) | {"textposition": "none"})
    slots = max(lanes) + 1
    room = max(0, _FEWEST_LANES - slots) / 2
    whole: dict[str, Any] = {"tickmode": "linear", "tick0": 1, "dtick": math.ceil(slots / _MOST_TICKS)}
    y = axis("slot", range=[slots + 0.6 + room, 0.4 - room], showgrid=False, **whole)
    if room:  # no tick beside the slots that there are
        y |= {"tickmode": "array", "tickvals": list(range(1, slots + 1))}
    found = figure(traces, barmode="overlay", xaxis=axis("seconds", rangemode="tozero"), yaxis=y)
    return Chart("timeline", title, words + _pauses(records), found)


def _running(spent: Sequence[tuple[float, float]]) -> dict[str, Any]:
    changes = sorted([(start, 1) for start, _ in spent] + [(end, -1) for _, end in spent])
    times, running = [0.0], [0]
    for moment, change in changes:
        times.append(moment)
        running.append(running[-1] + change)
    step = math.ceil(len(times) / _MOST_MOMENTS)
    # The most of each group, so that no peak is lost.
    peaks = [max(running[i : i + step]) for i in range(0, len(running), step)]
    area = trace("lines", times[::step], peaks, SERIES, line={"shape": "hv", "width": 1}, fill="tozeroy")
    return figure([area], xaxis=axis("seconds"), yaxis=axis("trials running", rangemode="tozero"))


def _spans(records: Sequence[Record]) -> list[tuple[float, float]]:
    """Start and end of each record in seconds, pauses between runs of the same folder left out, as in `summary`."""
    ends: dict[int, int] = {}
    for record in records:
        ends[record.accepted_at] = max(ends.get(record.accepted_at, 0), record.finished_at)
    offsets: dict[int, int] = {}
    elapsed = until = 0
    for accepted, finished in sorted(ends.items()):
        begin = max(accepted, until)
        offsets[accepted] = begin - elapsed
        elapsed += max(0, finished - begin)
        until = max(until, finished)
    return [
        (
            max(0, record.started_at - offsets[record.accepted_at]) / 1000,
            max(0, record.finished_at - offsets[record.accepted_at]) / 1000,
        )
        for record in records
    ]


def _pauses(records: Sequence[Record]) -> str:
    runs = len({record.accepted_at for record in records})
    return f" The pauses between {runs} runs are left out." if runs > 1 else ""


def _lanes(spent: Sequence[tuple[float, float]]) -> list[int]:
    """For each span the first lane that is free when it starts."""
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    lanes = []
    for start, end in spent:
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, lane))
        lanes.append(lane)
    return lanes


def _parts(record: Record) -> tuple[float, float, float, float]:
    spent = record.seconds
    return spent.start, spent.data, spent.train, max(0.0, spent.total - spent.start - spent.data - spent.train)
