"""The charts of time: what each trial spent it on, and which trials ran when."""

import heapq
import math
from collections.abc import Sequence
from typing import Any

from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.report.canvas import (
    DATA,
    FAILED,
    LIGHT,
    REST,
    SERIES,
    START,
    TRAIN,
    Chart,
    boxes,
    draw,
    figures_axis,
    legend,
    whole_axis,
)
from trainer.report.results import Results
from trainer.report.wording import at_once

_MOST_BARS = 120
_MOST_SPANS = 600
_MOST_MOMENTS = 800
_FEWEST_LANES = 4  # fewer are drawn no thicker
_LABELS = {Outcome.SUCCEEDED: "succeeded", Outcome.STOPPED: "stopped"}
_PARTS = (("start", START), ("data", DATA), ("train", TRAIN), ("rest", REST))


def time_per_trial(results: Results) -> Chart:
    """Each trial's seconds, stacked by what they went into."""
    title = "Time per trial"
    if not results.ran:
        return Chart(title, "No trial has ended yet.")
    size = math.ceil(len(results.ran) / _MOST_BARS)
    groups = [results.ran[i : i + size] for i in range(0, len(results.ran), size)]
    bars = []
    for group in groups:
        parts = [_parts(record) for _, record in group]
        left, right = group[0][0].index - 0.4, group[-1][0].index + 0.4
        bars.append((left, right, [math.fsum(column) / len(group) for column in zip(*parts, strict=True)]))
    words = (
        "Start: until the training code runs. Data: loading. Train: all epochs. "
        "Rest: what remains of the trial's total, such as saving and ending."
    )
    if results.experiment.spec.program is not None:
        words = "A program's whole time, from its start to its end."
    if size > 1:
        words += f" A bar is the mean of {size} trials that follow each other in the list."

    def paint(axes: Any) -> None:
        for i, (name, colour) in enumerate(_PARTS):
            stacked = [(x0, math.fsum(h[:i]), x1, math.fsum(h[: i + 1])) for x0, x1, h in bars if h[i] > 0]
            boxes(axes, stacked, colour, name)
        axes.autoscale_view()
        axes.set_xlim(-0.8, len(results.trials) - 0.2)
        axes.set_ylim(bottom=0)
        figures_axis(axes.yaxis, log=False)
        whole_axis(axes.xaxis)
        axes.set_xlabel("trial")
        axes.set_title("seconds")
        legend(axes)

    return draw("time", title, words, paint)


def timeline(results: Results) -> Chart:
    """Which trials ran when; with very many trials, how many ran."""
    title = "Trials over time"
    records = sorted((record for _, record in results.ran), key=lambda record: record.started_at)
    if not records:
        return Chart(title, "No trial has ended yet.")
    spans = _spans(records)
    most = results.summary.timing.most_at_once if results.summary.timing is not None else 1
    if len(spans) <= _MOST_SPANS:
        words = f"A bar is a trial, from its start to its end; they ran {at_once(most)}."
        return draw("timeline", title, words + _pauses(records), lambda axes: _paint_spans(axes, records, spans))
    words = f"How many trials ran at the same time; at most {most}."
    return draw("timeline", title, words + _pauses(records), lambda axes: _paint_running(axes, spans))


def _paint_spans(axes: Any, records: Sequence[Record], spans: Sequence[tuple[float, float]]) -> None:
    lanes = _lanes(spans)
    rows = list(zip(records, spans, lanes, strict=True))
    gap = max(end for _, end in spans) / 480  # a pixel, so that trials in a row stay apart
    for label, colour in (("succeeded", SERIES), ("stopped", LIGHT), ("failed", FAILED)):
        chosen = [
            (start, lane - 0.38, max(end - gap, start + gap / 2), lane + 0.38)
            for record, (start, end), lane in rows
            if _LABELS.get(record.outcome, "failed") == label
        ]
        boxes(axes, chosen, colour, label)
    axes.autoscale_view()
    axes.set_xlim(0, max(end for _, end in spans))
    room = max(0, _FEWEST_LANES - max(lanes) - 1) / 2
    axes.set_ylim(max(lanes) + 0.6 + room, -0.6 - room)
    axes.set_yticks(range(max(lanes) + 1), [str(lane + 1) for lane in range(max(lanes) + 1)])
    if max(lanes) >= 12:
        whole_axis(axes.yaxis)
    axes.grid(visible=False)
    figures_axis(axes.xaxis, log=False)
    axes.set_xlabel("seconds")
    axes.set_title("slot")
    legend(axes)


def _paint_running(axes: Any, spans: Sequence[tuple[float, float]]) -> None:
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    times, running = [0.0], [0]
    for moment, change in changes:
        times.append(moment)
        running.append(running[-1] + change)
    step = math.ceil(len(times) / _MOST_MOMENTS)
    # The most of each group, so that no peak is lost.
    peaks = [max(running[i : i + step]) for i in range(0, len(running), step)]
    axes.fill_between(times[::step], peaks, step="post", color=SERIES, linewidth=0)
    axes.set_xlim(0, times[-1])
    axes.set_ylim(bottom=0)
    figures_axis(axes.xaxis, log=False)
    whole_axis(axes.yaxis)
    axes.set_xlabel("seconds")
    axes.set_title("trials running")


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


def _lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """For each span the first lane that is free when it starts."""
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    lanes = []
    for start, end in spans:
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, lane))
        lanes.append(lane)
    return lanes


def _parts(record: Record) -> tuple[float, float, float, float]:
    spent = record.seconds
    return spent.start, spent.data, spent.train, max(0.0, spent.total - spent.start - spent.data - spent.train)
