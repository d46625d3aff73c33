"""The charts of a search: its objective by trial and by each parameter."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from trainer.experiment import moments
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome
from trainer.experiment.spec import HyperparamSearch, Parameter, Scalar
from trainer.report.canvas import BEST, FAILED, LIGHT, SERIES, Chart, dots, draw, figures_axis, legend, whole_axis
from trainer.report.results import Results, objective_text
from trainer.report.wording import brief, count, number, setting

MOST_POINTS = 400
_MOST_TICKS = 8
_LOG_FROM = 20  # a span of more than this factor is drawn on a log axis


def objective_by_trial(results: Results) -> Chart:
    """Each trial's objective in the order in which trials are listed; with repeats also their mean and deviation."""
    title = f"{results.metric} by trial"
    if not results.values:
        return Chart(title, _nothing(results))
    shown = _sample(results)
    values = {trial.index: results.values[trial.id] for trial in shown}
    means = _means(results, shown)
    stopped = [trial.index for trial, record in results.ran if record.outcome is Outcome.STOPPED]
    failed = [trial.index for trial, _ in results.ran if trial.id not in results.values]
    failed = sorted(set(failed) - set(stopped))
    log = spans(list(values.values()))
    words = [f"A dot is a trial, in the order of the list; {_better(results)} is better."]
    if means:
        words.append("A bar is the mean of a point's repeats, one deviation to either side.")
    if failed:
        words.append(f"A cross on the lower edge is {_each(failed)} without a figure.")
    if stopped:
        words.append(f"A stroke on the lower edge is {_each(stopped)} that was stopped early.")

    def paint(axes: Any) -> None:
        if log:
            axes.set_yscale("log")
        dots(axes, values.items(), LIGHT if means else SERIES, label="repeat" if means else "trial")
        for at, mean, deviation in means:
            axes.errorbar([at], [mean], [deviation], fmt="_", color=SERIES, markersize=6, elinewidth=1.5)
        if (best := results.summary.best) is not None:
            dots(axes, [(best.index + (best.repeats - 1) / 2, best.value)], BEST, size=9, label="best")
        axes.autoscale_view()
        at_edge = {"transform": axes.get_xaxis_transform(), "clip_on": False, "markersize": 6}
        if failed:
            drawn = _few(failed)
            axes.plot(drawn, [0] * len(drawn), "x", color=FAILED, label="failed", **at_edge)
        if stopped:
            drawn = _few(stopped)
            axes.plot(drawn, [0] * len(drawn), "|", color=SERIES, label="stopped", **at_edge)
        figures_axis(axes.yaxis, log=log)
        whole_axis(axes.xaxis)
        axes.set_xlim(-0.6, len(results.trials) - 0.4)
        axes.set_xlabel("trial")
        axes.set_title(objective_text(results.metric or ""))
        legend(axes)

    return draw("by-trial", title, " ".join([*words, *_notes(results, shown, log)]), paint)


def objective_by_parameter(results: Results) -> list[Chart]:
    """A chart for each parameter that takes more than one value; of the trials for which it counts."""
    if not isinstance(results.experiment, HyperparamSearch) or not results.values:
        return []
    shown = _sample(results)
    parameters = results.experiment.spec.parameters
    return [
        _by_parameter(results, shown, parameter, f"parameter-{i}")
        for i, parameter in enumerate(parameters)
        if len({trial.parameters[parameter.name] for trial in _with(parameter, results.trials)}) > 1
        and any(trial.id in results.values for trial in _with(parameter, results.trials))
    ]


def _by_parameter(results: Results, shown: Sequence[Trial], parameter: Parameter, name: str) -> Chart:
    path = parameter.name
    places = _places(results, parameter)
    shown = _with(parameter, shown)
    few = len(places) <= _MOST_TICKS
    x_log = _is_log(parameter, sorted(places.values()))
    y_log = spans([results.values[trial.id] for trial in shown])
    by_value: dict[Scalar, list[float]] = {}
    for trial in _with(parameter, results.trials):
        if trial.id in results.values:
            by_value.setdefault(trial.parameters[path], []).append(results.values[trial.id])
    medians = {value: moments.median(by_value[value]) for value in places if value in by_value}
    words = [f"A dot is a trial; {_better(results)} is better."]
    if few:
        listed = ", ".join(f"{number(median)} at {setting(value)}" for value, median in medians.items())
        words.append(f"The line joins the medians over all other parameters: {listed}.")

    def paint(axes: Any) -> None:
        axes.set_xscale("log" if x_log else "linear")
        axes.set_yscale("log" if y_log else "linear")
        points = [(places[trial.parameters[path]], results.values[trial.id]) for trial in shown]
        dots(axes, points, LIGHT if few else SERIES, label="trial")
        if few:
            at = [places[value] for value in medians]
            axes.plot(at, medians.values(), "-o", color=SERIES, linewidth=1.5, markersize=5, label="median")
        if (best := results.summary.best) is not None and path in best.parameters:
            dots(axes, [(places[best.parameters[path]], best.value)], BEST, size=9, label="best")
        axes.margins(x=0.08, y=0.08)
        axes.autoscale_view()
        figures_axis(axes.yaxis, log=y_log)
        if few or _named(places):
            ticks = list(places.items())[:: math.ceil(len(places) / _MOST_TICKS)]
            axes.set_xticks([x for _, x in ticks], [_short(brief(value)) for value, _ in ticks])
            axes.minorticks_off()
        else:
            figures_axis(axes.xaxis, log=x_log)
        axes.set_xlabel(path)
        axes.set_title(objective_text(results.metric or ""))
        legend(axes)

    title = f"{results.metric} by {results.names[path]}"
    return draw(name, title, " ".join([*words, *_notes(results, shown, y_log)]), paint)


def _with(parameter: Parameter, trials: Sequence[Trial]) -> list[Trial]:
    """Those for which a parameter counts: `when` may leave it out."""
    return [trial for trial in trials if parameter.name in trial.parameters]


def _places(results: Results, parameter: Parameter) -> dict[Scalar, float]:
    """Where each value of a parameter stands: a number at itself, anything else in the order of the file."""
    taken = {trial.parameters[parameter.name] for trial in _with(parameter, results.trials)}
    values = [value for value in parameter.choices or () if value in taken] or list(taken)
    if _named(values):
        return {value: float(i) for i, value in enumerate(values)}
    return {value: float(value) for value in sorted(values, key=float)}


def _named(values: Sequence[Scalar] | dict[Scalar, float]) -> bool:
    return any(isinstance(value, str | bool) for value in values)


def _is_log(parameter: Parameter, places: Sequence[float]) -> bool:
    if parameter.range is not None:
        return parameter.range.scale == "Log"
    return not _named(parameter.choices or ()) and (spans(places) or _geometric(places))


def _sample(results: Results) -> list[Trial]:
    """About `MOST_POINTS` trials with an objective: every k-th from the best on, and all of the best point."""
    measured = [trial for trial in results.ranked if trial.id in results.values]
    step = _step(results)
    return [trial for i, trial in enumerate(measured) if i % step == 0 or trial.id in results.best_ids]


def _step(results: Results) -> int:
    return max(1, math.ceil(len(results.values) / MOST_POINTS))


def _means(results: Results, shown: Sequence[Trial]) -> list[tuple[float, float, float]]:
    """Place, mean and deviation of the points that are drawn with all their repeats; none without repeats."""
    points: dict[int, list[Trial]] = {}
    for trial in shown:
        points.setdefault(trial.point, []).append(trial)
    whole = [trials for trials in points.values() if len(trials) == results.repeats > 1]
    means = []
    for trials in whole:
        values = [results.values[trial.id] for trial in trials]
        place = moments.mean([trial.index for trial in trials])
        means.append((place, moments.mean(values), moments.deviation(values) or 0.0))
    return means


def _few(indexes: Sequence[int]) -> Sequence[int]:
    """At most `MOST_POINTS` of these trials."""
    return indexes[:: max(1, math.ceil(len(indexes) / MOST_POINTS))]


def _each(indexes: Sequence[int]) -> str:
    """What one of `_few` stands for."""
    several = math.ceil(len(indexes) / MOST_POINTS)
    return "a trial" if several == 1 else f"one of {several} trials"


def _notes(results: Results, shown: Sequence[Trial], log: bool) -> list[str]:
    notes = ["The vertical axis is logarithmic."] if log else []
    if len(shown) < len(results.values):
        notes.append(
            f"Of {count(len(results.values), 'trial')} every {_step(results)}th, by its objective, is drawn."
        )
    return notes


def _nothing(results: Results) -> str:
    verb = "has measured" if results.unfinished else "measured"
    return f"No trial {verb} {results.metric}{' yet' if results.unfinished else ''}."


def _better(results: Results) -> str:
    return "lower" if results.minimize else "higher"


def _short(text: str) -> str:
    return text if len(text) <= 12 else f"{text[:11]}…"


def spans(values: Sequence[float]) -> bool:
    """Whether figures lie so far apart that they are drawn on a log axis."""
    return len(values) > 1 and min(values) > 0 and max(values) / min(values) > _LOG_FROM


def _geometric(values: Sequence[float]) -> bool:
    """Whether each value is the same multiple of the one before, as 32, 64, 128."""
    if len(values) < 3 or values[0] <= 0:
        return False
    ratios = [after / before for before, after in itertools.pairwise(values)]
    return max(ratios) / min(ratios) < 1.01
