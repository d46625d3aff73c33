"""Learning curves: reads what each epoch left behind and draws the best trial's among the others'."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.experiment.expand import Trial
from trainer.report.canvas import BEST, LIGHT, Chart, draw, figures_axis, legend, whole_axis
from trainer.report.results import Results
from trainer.report.wording import count

HISTORY = "history.jsonl"
MOST_CURVES = 60
_MOST_POINTS = 120


@dataclass(frozen=True)
class Curve:
    """Losses by epoch; NaN where an epoch has no finite one."""

    epochs: tuple[int, ...]
    train: tuple[float, ...]
    valid: tuple[float, ...]


def read_curve(path: Path) -> Curve | None:
    """The curve in a history file; None where there is none. A torn line is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    step = max(1, math.ceil(len(lines) / _MOST_POINTS))
    points = []
    for i, line in enumerate(lines):
        if i % step and i != len(lines) - 1:
            continue
        try:
            point = json.loads(line)
            points.append((int(point["epoch"]), _finite(point.get("trainLoss")), _finite(point.get("validLoss"))))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    if not points:
        return None
    epochs, train, valid = zip(*points, strict=True)
    return Curve(epochs, train, valid)


def learning_curves(results: Results, folder: Path) -> list[Chart]:
    """Training and validation loss by epoch, on the same scale."""
    first = [trial for trial in results.ranked if trial.id in results.best_ids]
    others = [trial for trial in results.ranked if trial.id not in results.best_ids]
    chosen = [trial for trial in (*first, *others) if trial.id in results.records][:MOST_CURVES]
    read = [(trial, read_curve(folder / "trials" / trial.id / HISTORY)) for trial in chosen]
    curves = [(trial, curve) for trial, curve in read if curve is not None]
    if not curves:
        reason = "No trial left a history of its epochs." if chosen else "No trial has ended yet."
        return [Chart("Losses by epoch", reason)]
    words = "A line is a trial, from epoch to epoch."
    if len(chosen) < len(results.records):
        words += f" Drawn are {count(len(chosen), 'trial')}, the best first, of {len(results.records):,}."
    if len(curves) < len(chosen):
        words += f" {count(len(chosen) - len(curves), 'trial')} left no history."
    return [
        _chart(results, "Validation loss by epoch", "valid", curves, words),
        _chart(results, "Training loss by epoch", "train", curves, words),
    ]


def _chart(
    results: Results,
    title: str,
    part: str,
    curves: Sequence[tuple[Trial, Curve]],
    words: str,
) -> Chart:
    # Of both parts, so that the two charts have the same scale.
    losses = [loss for _, curve in curves for loss in (*curve.train, *curve.valid) if math.isfinite(loss)]
    if not any(math.isfinite(loss) for _, curve in curves for loss in getattr(curve, part)):
        return Chart(title, "The histories hold no finite figure of it.")
    low, high = min(losses), max(losses)
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
                curve.epochs,
                getattr(curve, part),
                # A single point makes no line.
                marker="o" if len(curve.epochs) == 1 else "",
                color=BEST if best else LIGHT,
                linewidth=2.2 if best else 1.2,
                label=label if label in once else "_",
            )
            once.discard(label)
        margin = 0.05 * (high - low) or abs(high) or 1.0
        axes.set_ylim(*((low / 1.15, high * 1.15) if log else (low - margin, high + margin)))
        figures_axis(axes.yaxis, log=log)
        whole_axis(axes.xaxis)
        axes.set_xlabel("epoch")
        axes.set_title("loss")
        legend(axes)

    return draw(f"{part}-loss", title, words, paint)


def _finite(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan
