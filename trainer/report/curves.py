"""Learning curves: reads what each epoch left behind and draws the best trial's among the others'."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.experiment.expand import Trial
from trainer.experiment.record import NAIVE
from trainer.report.canvas import BEST, LIGHT, Chart, draw, figures_axis, legend, whole_axis
from trainer.report.results import Results
from trainer.report.wording import count

HISTORY, REPORTS = "history.jsonl", "reports.jsonl"
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
        for name, figure in found.items():
            figures[name].append(figure)
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
        return [Chart(f"{'Losses' if ours else 'Metrics'} by {step}", reason)]
    words = f"A line is a trial, from {step} to {step}."
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


_TITLES = {
    "validLoss": ("Validation loss", "valid-loss", "loss"),
    "trainLoss": ("Training loss", "train-loss", "loss"),
}


def _chart(
    results: Results,
    name: str,
    scaled_with: Sequence[str],
    curves: Sequence[tuple[Trial, Curve]],
    words: str,
    step: str,
) -> Chart:
    """The curves of a figure, on the scale of the figures `scaled_with`."""
    called, file, axis = _TITLES.get(name, (name, f"curve-{re.sub('[^A-Za-z0-9]', '-', name)}", name))
    title = f"{called} by {step}"
    drawn = [
        figure
        for _, curve in curves
        for each in scaled_with
        for figure in curve.figures[each]
        if math.isfinite(figure)
    ]
    if not any(math.isfinite(figure) for _, curve in curves for figure in curve.figures[name]):
        return Chart(title, "The histories hold no finite figure of it.")
    low, high = min(drawn), max(drawn)
    log = low > 0 and high > 4 * low
    if log:
        words += " The vertical axis is logarithmic."

    def paint(axes: Any) -> None:
        axes.set_yscale("log" if log else "linear")
        rest = "others" if results.best_ids else "trial"
        once = {"best", rest}
        for trial, curve in reversed(curves):  # the best last, on top
            best = trial.id in results.best_ids
            label = "best" if best else rest
            axes.plot(
                curve.steps,
                curve.figures[name],
                # A single point makes no line.
                marker="o" if len(curve.steps) == 1 else "",
                color=BEST if best else LIGHT,
                linewidth=2.2 if best else 1.2,
                label=label if label in once else "_",
            )
            once.discard(label)
        margin = 0.05 * (high - low) or abs(high) or 1.0
        axes.set_ylim(*((low / 1.15, high * 1.15) if log else (low - margin, high + margin)))
        figures_axis(axes.yaxis, log=log)
        whole_axis(axes.xaxis)
        axes.set_xlabel(step)
        axes.set_title(axis)
        legend(axes)

    return draw(file, title, words, paint)


def _finite(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan
