"""The charts of what a search has learnt: how its best improved, and which parameters mattered."""

from collections.abc import Sequence
from typing import Any

from trainer.report.canvas import BEST, SERIES, Chart, dots, draw, figures_axis, legend, whole_axis
from trainer.report.plots import spans
from trainer.report.results import Results, objective_text
from trainer.report.wording import count, duration, number

_ROW = 26  # of a bar
_MOST_BARS = 12
_LONGEST_NAME = 24


def learnt(results: Results) -> list[Chart]:
    """All of them; none where a single trial has ended, or no point that may be best."""
    if not results.summary.course or results.summary.counts.done < 2:
        return []
    charts = [best_by_trial(results), best_by_time(results)]
    return [*charts, importance(results)] if results.summary.importance else charts


def best_by_trial(results: Results) -> Chart:
    """The best objective after so many trials have ended."""
    course = results.summary.course
    steps = [(float(each.trials), each.value) for each in course]
    last, done = course[-1], results.summary.counts.done
    words = (
        "The line is the best so far, a dot where a point was better than all before. The best, "
        f"{number(last.value)}, came after {count(last.trials, 'trial')} of {done:,}."
    )
    title = f"Best {results.metric} by trial"
    return _steps(results, "best-by-trial", title, words, steps, done)


def best_by_time(results: Results) -> Chart:
    """The best objective after so many seconds, pauses left out."""
    course, timing = results.summary.course, results.summary.timing
    steps = [(each.seconds, each.value) for each in course]
    wall = max(course[-1].seconds, 0.0 if timing is None else timing.wall)
    words = (
        f"The best came after {duration(course[-1].seconds)} of {duration(wall)}; pauses between runs are left out."
    )
    return _steps(results, "best-by-time", f"Best {results.metric} by time", words, steps, wall)


def importance(results: Results) -> Chart:
    """Each parameter's share, the greatest first."""
    shares = list(results.summary.importance.items())
    shown = shares[:_MOST_BARS][::-1]
    names = [_short(results.names.get(path, path)) for path, _ in shown]
    words = (
        "How far each parameter sets the best tenth of the points apart from all that were tried, as a share of 1."
    )
    if len(shares) > len(shown):
        words += f" The first {len(shown)} of {count(len(shares), 'parameter')} are drawn; summary.json has them all."

    def paint(axes: Any) -> None:
        axes.barh(range(len(shown)), [share for _, share in shown], height=0.62, color=SERIES)
        for row, (_, share) in enumerate(shown):
            axes.text(share + 0.012, row, f"{share:.2f}", va="center")
        axes.set_yticks(range(len(shown)), names)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlim(0, 1.08)
        axes.grid(visible=False)
        figures_axis(axes.xaxis, log=False)

    left = 20 + max(7 * len(name) for name in names)
    height = 96 + _ROW * max(4, len(shown))
    return draw("importance", "What made the difference", words, paint, left=left, height=height)


def _steps(
    results: Results, name: str, title: str, words: str, steps: Sequence[tuple[float, float]], until: float
) -> Chart:
    """A line that holds each value until the next, and the last until the end."""
    by_trial, log = name == "best-by-trial", spans([value for _, value in steps])

    def paint(axes: Any) -> None:
        axes.set_yscale("log" if log else "linear")
        at, values = [x for x, _ in steps], [y for _, y in steps]
        axes.step([*at, max(until, at[-1])], [*values, values[-1]], where="post", color=SERIES, linewidth=1.5)
        dots(axes, steps, SERIES)
        dots(axes, steps[-1:], BEST, size=9, label="best")
        axes.margins(x=0.03, y=0.08)
        axes.autoscale_view()
        axes.set_xlim(left=0)
        figures_axis(axes.yaxis, log=log)
        if by_trial:
            whole_axis(axes.xaxis)
        else:
            figures_axis(axes.xaxis, log=False)
        axes.set_xlabel("trials that have ended" if by_trial else "seconds")
        axes.set_title(objective_text(results.metric or ""))
        legend(axes)

    return draw(name, title, f"{words} The vertical axis is logarithmic." if log else words, paint)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
