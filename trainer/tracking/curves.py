"""The metrics by step of a trial here, as MLflow is told them: from the files that it leaves in its folder."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from trainer.experiment.progress import HISTORY, REPORTS, ProgressReport, read_steps
from trainer.experiment.record import Record
from trainer.local.reports import Reports
from trainer.tracking.client import Point
from trainer.tracking.runs import metric_name


class GrowingCurve:
    """What a program reports while it runs; a point's moment is when it was read here."""

    def __init__(self, folder: Path) -> None:
        self.points: list[Point] = []
        self._reports = Reports(folder / REPORTS)
        self._told: Counter[tuple[str, int]] = Counter()

    def grow(self) -> bool:
        """Reads what is new; whether there was anything."""
        return self._take(self._reports.take())

    def finish(self) -> list[Point]:
        """The whole curve, now that the program is over."""
        self._take(self._reports.finish(orderly=False))
        return self.points

    def _take(self, reports: Iterable[ProgressReport]) -> bool:
        count, now = len(self.points), time.time_ns() // 1_000_000
        for report in reports:
            self.points += _points(report.metrics, report.clock or now, report.step, self._told)
        return len(self.points) > count


def curve(folder: Path, record: Record) -> list[Point]:
    """The curve of an attempt that nobody saw growing. Moments that were not recorded are when it ended.

    Our trainer's epochs follow each other from when it began to train.
    """
    if (folder / HISTORY).is_file():
        return list(_history(folder / HISTORY, record))
    told = Counter[tuple[str, int]]()
    return [
        point
        for report in Reports(folder / REPORTS).finish(orderly=False)
        for point in _points(report.metrics, report.clock or record.finished_at, report.step, told)
    ]


def _history(path: Path, record: Record) -> Iterator[Point]:
    moment = record.started_at + 1000 * (record.seconds.start + record.seconds.data)
    told = Counter[tuple[str, int]]()
    for step in read_steps(path):
        if step.seconds is not None and math.isfinite(step.seconds):  # else someone has edited it
            moment += 1000 * step.seconds
            yield from _points(step.metrics, int(moment), step.step, told)


def _points(metrics: Mapping[str, float], moment: int, step: int, told: Counter[tuple[str, int]]) -> Iterator[Point]:
    """A step's points; where a metric is told of a step again, a later moment says which counts."""
    for name, value in metrics.items():
        yield Point(metric_name(name), value, moment + told[name, step], step)
        told[name, step] += 1
