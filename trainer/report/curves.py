"""Learning curves: reads what each epoch left behind and shows the best trial's among the others'."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.experiment.expand import Trial
from trainer.experiment.progress import HISTORY, REPORTS
from trainer.experiment.record import NAIVE
from trainer.report.charts import BEST, LIGHT, axis, figure, trace
from trainer.report.results import Results
from trainer.report.view import Chart
from trainer.report.wording import count

MOST_CURVES = 60
_MOST_POINTS = 120
_MOST_METRICS = 4  # of a program's


@dataclass(frozen=True)
class Curve:
    """Figures by step, each as long as `steps`; NaN where a step has no finite one."""

    steps: tuple[int, ...]
    figures: Mapping[str, tuple[float, ...]]


def read_curve(path: Path, step: str, names: Sequence[str], nested: str = "") -> Curve | None:
    """The curve of these figures in a file of JSON lines; None where there is none. A torn line is left out.

    `step` is the name of a line's step, `nested` that of the mapping in it that has the figures.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    distance = max(1, math.ceil(len(lines) / _MOST_POINTS))
    steps: list[int] = []
    figures: dict[str, list[float]] = {name: [] for name in names}
    for i, line in enumerate(lines):
        if i % distance and i != len(lines) - 1:
            continue
        try:
            point = json.loads(line)
            at, told = int(point.get(step, len(steps))), point[nested] if nested else point
            found = {name: _finite(told.get(name)) for name in names}
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        steps.append(at)
        for name, value in found.items():
            figures[name].append(value)
    return Curve(tuple(steps), {name: tuple(each) for name, each in figures.items()}) if steps else None


def learning_curves(results: Results, folder: Path) -> list[Chart]:
    """Validation and training loss by epoch, on the same scale; of a program what it reported, by step."""
    first = [trial for trial in results.ranked if trial.id in results.best_ids]
    others = [trial for trial in results.ranked if trial.id not in results.best_ids]
    chosen = [trial for trial in (*first, *others) if trial.id in results.records][:MOST_CURVES]
    ours = results.experiment.spec.program is None
    step = "epoch" if ours else "step"
    names = ["validLoss", "trainLoss"] if ours else _metrics(results)
    read = [(trial, _curve_of(folder / "trials" / trial.id, names, ours=ours)) for trial in chosen]
    curves = [(trial, curve) for trial, curve in read if curve is not None]
    if not curves:
        reason = f"No trial left a history of its {step}s." if chosen else "No trial has ended yet."
        return [Chart("curves", f"{'Losses' if ours else 'Metrics'} by {step}", reason)]
    words = f"A line is a trial, from {step} to {step}; pointed at, it tells which."
    if len(chosen) < len(results.records):
        words += f" Drawn are {count(len(chosen), 'trial')}, the best first, of {len(results.records):,}."
    if len(curves) < len(chosen):
        words += f" {count(len(chosen) - len(curves), 'trial')} left no history."
    return [_chart(results, name, names if ours else [name], curves, words, step) for name in names]


def _curve_of(folder: Path, names: Sequence[str], *, ours: bool) -> Curve | None:
    if ours:
        return read_curve(folder / HISTORY, "epoch", names)
    return read_curve(folder / REPORTS, "step", names, "metrics")


def _metrics(results: Results) -> list[str]:
    """The metrics of a program that are drawn: the objective first, then those that it told besides."""
    told = [name for trial in results.ranked[:1] for name in results.records[trial.id].metrics]
    named = [results.metric] if results.metric is not None else []
    others = [name for name in told if name not in named and not name.startswith(NAIVE)]
    return [*named, *others][:_MOST_METRICS]


_TITLES = {"validLoss": ("Validation loss", "loss"), "trainLoss": ("Training loss", "loss")}


def _chart(
    results: Results,
    name: str,
    scaled_with: Sequence[str],
    curves: Sequence[tuple[Trial, Curve]],
    words: str,
    step: str,
) -> Chart:
    """The curves of a figure, on the scale of the figures `scaled_with`."""
    called, unit = _TITLES.get(name, (name, name))
    title, file = f"{called} by {step}", f"curve-{re.sub('[^A-Za-z0-9]', '-', name)}"
    drawn = [
        value for _, curve in curves for each in scaled_with for value in curve.figures[each] if math.isfinite(value)
    ]
    if not any(math.isfinite(value) for _, curve in curves for value in curve.figures[name]):
        return Chart(file, title, "The histories hold no finite figure of it.")
    low, high = min(drawn), max(drawn)
    log = low > 0 and high > 4 * low
    if log:
        words += " The vertical axis is logarithmic."
    place = {trial.id: row for row, trial in enumerate(results.trials)}
    once = {"best", "others"}
    traces = []
    for trial, curve in reversed(curves):  # the best last, on top
        best = trial.id in results.best_ids
        group = "best" if best else "others"
        hover = f"%{{text}}<br>{step} %{{x}}: %{{y:.5g}}<extra></extra>"
        line = trace(
            # A single point makes no line.
            "markers" if len(curve.steps) == 1 else "lines",
            curve.steps,
            [value if math.isfinite(value) else None for value in curve.figures[name]],
            BEST if best else LIGHT,
            group,
            legendgroup=group,
            text={"column": "label", "row": place[trial.id]},
            hovertemplate=hover,
        )
        line["showlegend"] = group in once
        if len(curve.steps) > 1:
            line["line"]["width"] = 2.5 if best else 1.2
        once.discard(group)
        traces.append(line)
    bounds = [math.log10(low / 1.15), math.log10(high * 1.15)] if log else None
    found = figure(traces, xaxis=axis(step), yaxis=axis(unit, log=log, range=bounds), hovermode="closest")
    return Chart(file, title, words, found)


def _finite(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan
