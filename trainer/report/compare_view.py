"""What is shown of runs that are compared: which is better, what was changed, time and cost, then all the rest."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from trainer.benchmark import intervals
from trainer.benchmark.text import figure as rounded
from trainer.columns import Table
from trainer.experiment.best import Best
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome
from trainer.packages import PackageMissing
from trainer.report.charts import (
    BEST,
    DATA,
    FAILED,
    LIGHT,
    LINE,
    REST,
    SERIES,
    STAR,
    START,
    axis,
    category_axis,
    figure,
    plain,
    spans,
    trace,
)
from trainer.report.compare import Agreement, Bests, CellFigures, Pair, Side, changes, lettered, only_one_carries
from trainer.report.results import objective_text
from trainer.report.scale import CROSS, size_axis
from trainer.report.view import (
    ABSENT,
    Beside,
    Chart,
    Charts,
    Note,
    Page,
    Part,
    Points,
    Section,
    Terms,
    Tile,
    Tiles,
    side_by_side,
)
from trainer.report.wording import count, duration, listed, memory, number, one_line, setting, settings

_EXAMPLES = 5
_MOST_DOTS = 2_000  # of a side
_COLOURS = (START, SERIES, DATA, BEST, FAILED, REST)  # by side; more begin again
# By how many workers, in their order; more worker counts than these begin again.
_STROKES = (("solid", "solid"), ("dash", "dashed"), ("dot", "dotted"), ("dashdot", "dashed and dotted"))
_ROW, _AROUND = 44, 90  # pixels of a chart with a row for each side
_PARTS = (("waiting", REST), ("starting", START), ("data", DATA), ("training", SERIES))
_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


def comparison_page(pairs: Sequence[Pair]) -> Page:
    """The page's content, of which the terminal shows what is words; each pair is one run against the same first."""
    sides = lettered(pairs)
    name = " and ".join(dict.fromkeys(side.results.summary.experiment for _, side in sides))
    scale = pairs[0].is_scale_test
    kind = "scale tests" if scale else "hyperparameter searches"
    return Page(
        title=f"{name}: comparison",
        kind=f"Comparison of {_WORDS.get(len(sides), str(len(sides)))} {kind}",
        name=name,
        state="",
        head=tuple(_head(pairs)),
        sections=(
            _sizes(pairs) if scale else Section("The bests", (Charts((_values(pairs),)),)),
            _changed(pairs),
            _time_and_cost(pairs),
            *((_grid(pairs),) if scale else ()),
            Section("Metrics", (Points(tuple(_agreement(pairs))),)),
            Section("In pictures", (Charts(tuple(_pictures(pairs))),)),
            _side_by_side(pairs),
            _method(pairs),
        ),
    )


# --- which is better ------------------------------------------------------------------------------------------------


def _head(pairs: Sequence[Pair]) -> Iterator[Part]:
    if pairs[0].is_scale_test:
        yield Note(carried(pairs), "lead")
    else:
        said = [better(_bests_of(pair), pair.letter) for pair in pairs]
        yield Note(said[0] if len(pairs) == 1 else _order(pairs), "lead")
        if len(pairs) > 1:
            yield Points(tuple(said))
        reasons = dict.fromkeys(reason for pair in pairs for reason in _bests_of(pair).reasons)
        yield from (Note(each, "caveat") for each in reasons if not any(each in sentence for sentence in said))
        if len(pairs) > 1:
            yield Note("Each is held against A alone, and no interval is widened for their number.", "soft")
    yield _runs(pairs)


def _bests_of(pair: Pair) -> Bests:
    found = pair.facts.bests
    assert found is not None  # noqa: S101
    return found


def _order(pairs: Sequence[Pair]) -> str:
    """How several bests stand to each other, as they were measured."""
    found = [_bests_of(pair) for pair in pairs]
    first = found[0]
    if first.a is None or any(each.difference is None for each in found):
        return f"Of {len(pairs) + 1} runs, not all can be compared with A."
    values = {"A": first.a, **{pair.letter: each.b for pair, each in zip(pairs, found, strict=True)}}
    known = {letter: value for letter, value in values.items() if value is not None}
    order = sorted(known, key=known.__getitem__, reverse=first.direction == "Maximize")
    others = listed([f"{letter} {number(known[letter])}" for letter in order[1:]])
    return f"The best {first.metric} is {order[0]}'s, {number(known[order[0]])}, then {others}."


def better(bests: Bests, letter: str) -> str:
    """Which of A and another is better and by how much, in a sentence or two."""
    if bests.a is None or bests.b is None or bests.difference is None:
        return f"Which is better, A or {letter}, can't be said. {bests.reasons[0] if bests.reasons else ''}".strip()
    if bests.a == bests.b:
        return f"Neither is better: the best {bests.metric} is {number(bests.a)} in both A and {letter}."
    measured = f"the best {bests.metric} is {number(bests.b)} in {letter}, {number(bests.a)} in A"
    lower = bests.difference.value < 0
    by = f"{'lower' if lower else 'higher'} by {rounded(abs(bests.difference.value))}"
    if (interval := bests.difference.interval) is not None:
        ends = (-interval.high, -interval.low) if lower else (interval.low, interval.high)
        by += f" (95 % interval {_ends(*ends)})"
    if bests.a > 0 and bests.b > 0 and math.isfinite(share := abs(bests.difference.value) / bests.a):
        by += f", that is {100 * share:.3g} %"
    if bests.better is None:
        return f"Neither A nor {letter} can be called better: {measured}, {by}."
    leads = letter if bests.better == "b" else "A"
    if bests.told_apart:
        return f"{leads} is better: {measured}, {by}."
    return f"{leads}'s best is better, but that may be chance: {measured}, {by}."


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else ''}{rounded(abs(value))}"


def _runs(pairs: Sequence[Pair]) -> Table:
    """The sides with what they go by and, of searches, their bests."""
    sides, caption = lettered(pairs), "A is the baseline, the others are compared with it."
    if pairs[0].is_scale_test:
        rows = tuple((letter, one_line(side.source)) for letter, side in sides)
        return Table(caption, ("", "run"), rows, left=(0, 1))
    differences = {pair.letter: _bests_of(pair).difference for pair in pairs}
    told: list[tuple[str, ...]] = []
    for letter, side in sides:
        best, difference = side.results.summary.best, differences.get(letter)
        interval = None if difference is None else difference.interval
        told.append(
            (
                letter,
                ABSENT if best is None else number(best.value),
                ABSENT if best is None else str(best.repeats),
                ABSENT if difference is None else _signed(difference.value),
                ABSENT if interval is None else _ends(interval.low, interval.high),
                one_line(side.source),
            )
        )
    metrics = dict.fromkeys(side.results.metric or "" for _, side in sides)
    heads = ("", f"best {' or '.join(map(objective_text, metrics))}", "repeats", "minus A's", "95 % interval", "run")
    return Table(caption, heads, tuple(told), left=(0, 5))


def _ends(low: float, high: float) -> str:
    return f"{_signed(low)} to {_signed(high)}"


def _values(pairs: Sequence[Pair]) -> Chart:
    """What each side's trials measured, and its best with its interval, a row for each side."""
    sides = lettered(pairs)
    metrics = list(dict.fromkeys(side.results.metric or "" for _, side in sides))
    title = f"{' or '.join(metrics)} by run"
    if len(metrics) > 1:
        return Chart("compare-bests", title, "The runs are searches by different metrics.")
    if not any(side.results.values for _, side in sides):
        return Chart("compare-bests", title, f"No trial measured {metrics[0]}.")
    values = [value for _, side in sides for value in side.results.values.values()]
    log = spans(values)
    edge = 0.9 * min(values) if log else -math.inf
    traces: list[dict[str, Any]] = []
    for letter, side in sides:
        traces.append(_measured(letter, side, "" if traces else "trial"))
        if (best := side.results.summary.best) is not None:
            legend = "" if any(each["name"] == "best" for each in traces) else "best"
            traces.append(_star(letter, side, best, legend, edge))
    found = [interval for _, side in sides if (interval := _interval(side)) is not None]
    words = "A dot is a trial, a star the best point"
    words += ", its line the 95 % interval of the mean over its repeats." if found else "."
    words += " Lower is better." if sides[0][1].results.minimize else " Higher is better."
    words += " The axis is logarithmic." if log else ""
    if any(interval[0] < edge for interval in found):
        words += " A line that would go further down, perhaps below 0, ends at the edge."
    if any(_bests_of(pair).difference is None for pair in pairs):
        words += " Not all of these can be compared with each other, see above."
    rows = category_axis(categoryorder="array", categoryarray=[letter for letter, _ in sides])
    drawn = figure(traces, xaxis=axis(objective_text(metrics[0]), log=log, showgrid=True), yaxis=rows)
    return Chart("compare-bests", title, words, drawn, _AROUND + _ROW * len(sides), wide=True)


def _measured(letter: str, side: Side, legend: str) -> dict[str, Any]:
    """A dot for each trial that has the objective, of very many every so many; a single best run has its star."""
    alone = side.results.best_ids if side.results.repeats == 1 else frozenset[str]()
    measured = [trial for trial in side.results.trials if trial.id in side.results.values and trial.id not in alone]
    shown = measured[:: math.ceil(len(measured) / _MOST_DOTS) or 1]
    return trace(
        "markers",
        [side.results.values[trial.id] for trial in shown],
        [letter] * len(shown),
        LIGHT,
        legend,
        text=[_named(letter, side, trial) for trial in shown],
        hovertemplate=f"%{{text}}<br>{plain(side.results.metric or '')} %{{x:.5g}}<extra></extra>",
        legendgroup="trial",
    )


def _star(letter: str, side: Side, best: Best, legend: str, edge: float) -> dict[str, Any]:
    """The best of a side with the interval of its mean, which is drawn no further down than `edge`."""
    interval, trial = _interval(side), side.results.trials[side.results.rows[best.id]]
    text = f"best of {_named(letter, side, trial)}<br>{plain(best.metric)} {number(best.value)}"
    reach: dict[str, Any] = {}
    if interval is not None:
        low, high = interval
        text += f"<br>95 % interval {_ends(low, high)}"
        ends = {"array": [high - best.value], "arrayminus": [best.value - max(low, edge)]}
        reach["error_x"] = {"type": "data", "symmetric": False, "color": BEST, **ends}
    more = {"hovertemplate": "%{text}<extra></extra>", "legendgroup": "best", "marker": STAR, **reach}
    return trace("markers", [best.value], [letter], BEST, legend, text=[text], **more)


def _interval(of: Side) -> tuple[float, float] | None:
    """Of the mean of a side's best; None of a single run, and where scipy is not installed."""
    if len(of.best_values) < 2:
        return None
    try:
        found = intervals.mean(of.best_values)
    except PackageMissing:
        return None
    return None if found.interval is None else found.ends


def _named(letter: str, side: Side, trial: Trial) -> str:
    """A trial as a mark in a chart says it."""
    told = settings(trial.parameters, side.results.names)
    return plain(one_line(f"{letter}: {side.results.noun} {trial.index}, {told}", 200))


# --- what was changed -----------------------------------------------------------------------------------------------


def _changed(pairs: Sequence[Pair]) -> Section:
    sides = lettered(pairs)
    found = changes([side for _, side in sides])
    if not found:
        return Section("What was changed", (Note("Nothing: the files say the same, what they leave out put in."),))
    rows = tuple((path, *(ABSENT if value is None else value for value in values)) for path, values in found.items())
    heads = ("field", *(letter for letter, _ in sides))
    caption = f"Fields of spec that differ, what files leave out put in; {ABSENT} is what one doesn't have."
    return Section("What was changed", (Table(caption, heads, rows, left=tuple(range(len(heads)))),))


# --- time and cost --------------------------------------------------------------------------------------------------


def _time_and_cost(pairs: Sequence[Pair]) -> Section:
    """The times, whether they make a speedup, what stands in the way of one, and what ate it."""
    parts: list[Part] = [Note(times(pair)) for pair in pairs]
    if len(pairs) == 1:
        if gains := tuple(gained(pairs[0])):
            parts.append(Tiles(gains))
    elif table := _gains(pairs):
        parts.append(table)
    for pair in pairs:
        found = pair.facts.comparison
        if found is not None and found.differences:
            of = "scale" if pair.is_scale_test else "speedup"
            why = "What differs" if of == "scale" else "Why that is no speedup"
            parts.append(Note(f"{why} (here is {pair.letter}, there is A):"))
            parts.append(Points(tuple(one_line(each) for each in found.differences)))
        # Only a cluster pays for pods before it trains.
        if pair.facts.remark is not None and pair.b.results.experiment.metadata.uid is not None:
            parts.append(Note(f"{pair.letter}: {pair.facts.remark}" if len(pairs) > 1 else pair.facts.remark))
    return Section("Time and cost", tuple(parts))


def times(pair: Pair) -> str:
    """How long both took, and whether that makes a speedup."""
    compared, letter = pair.facts.comparison, pair.letter
    a, b = (side.results.summary.timing for side in (pair.a, pair.b))
    if a is None or b is None:
        lacking = listed([name for name, timing in (("A", a), (letter, b)) if timing is None])
        return f"No trial has run in {lacking}, so there are no times to compare."
    took = f"A took {duration(a.wall)}, {letter} took {duration(b.wall)}"
    if compared is None:
        return f"{took}."
    longer, ratio = ("A", compared.elapsed_ratio) if compared.elapsed_ratio >= 1 else (letter, b.wall / a.wall)
    took += f", so {longer} took {_ratio(ratio)} times as long." if _ratio(ratio) != "1" else ", as long as A."
    if pair.is_scale_test:
        return took
    if compared.speedup is None:
        return f"{took} The two are not comparable, so that is no speedup."
    return f"{took} The two are comparable."


def gained(pair: Pair) -> Iterator[Tile]:
    """What B gained over A."""
    compared, saved, letter = pair.facts.comparison, pair.facts.time_saved, pair.letter
    if compared is None or saved is None:
        return
    yield Tile("elapsed ratio", _ratio(compared.elapsed_ratio), f"wall time of A / wall time of {letter}")
    minus = "−" if saved < 0 else ""
    yield Tile("time saved", f"{minus}{duration(abs(saved))}", f"wall time of A − wall time of {letter}")
    if not pair.is_scale_test:  # whose cells have different numbers of workers, so that it has no slots to speak of
        if compared.speedup is None or compared.efficiency is None:
            yield Tile("speedup", "withheld", "the two are not comparable", absent=True)
            yield Tile("efficiency", "withheld", "the two are not comparable", absent=True)
        else:
            slots = f"{compared.slots} / {compared.baseline_slots} slots"
            yield Tile("speedup", _ratio(compared.speedup), "the elapsed ratio, as the two are comparable")
            yield Tile("efficiency", _percent(compared.efficiency), f"speedup / ({slots})")
        if compared.train_ratio is not None:
            what = f"training seconds of all trials, {letter} / A; above 1, {letter}'s slowed each other down"
            yield Tile("training ratio", _ratio(compared.train_ratio), what)
    cost, of_a = pair.b.results.summary.cost, pair.a.results.summary.cost
    if cost is not None:
        yield Tile(f"cost of {letter}", number(cost), f"of what was allocated to pods, at {letter}'s prices")
    if compared.baseline_cost is not None:
        yield Tile("cost of A", number(compared.baseline_cost), f"the same, at {letter}'s prices too")
    elif of_a is not None:
        yield Tile("cost of A", number(of_a), f"at A's prices; {letter}'s file has none")


def _gains(pairs: Sequence[Pair]) -> Table | None:
    """The same of several, a column each."""
    columns = [{tile.name.removesuffix(f" of {pair.letter}"): tile.value for tile in gained(pair)} for pair in pairs]
    table = side_by_side("Each against A", ("", *(pair.letter for pair in pairs)), columns)
    return replace(table, left=(0,)) if table.rows else None


# --- the cells of scale tests ---------------------------------------------------------------------------------------


def carried(pairs: Sequence[Pair]) -> str:
    """The largest size that each side carried, by worker count, in a sentence."""
    rows = []
    for workers, ((_, first), *others) in _carried(pairs):
        told = [f"A carried {first}", *(f"{letter} {size}" for letter, size in others)]
        rows.append(f"with {workers} {', '.join(told)}")
    return f"The largest training set: {'; '.join(rows)}." if rows else "No cell has run."


def _carried(pairs: Sequence[Pair]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The largest size of each side by its letter, for each worker count."""
    sides = lettered(pairs)
    found = []
    for workers in sorted({workers for _, side in sides for workers, _ in side.cells}):
        sizes = [(letter, side.carried(workers)) for letter, side in sides]
        told = [(letter, "none" if size is None else f"{size}x") for letter, size in sizes]
        found.append((count(workers, "worker"), told))
    return found


def _sizes(pairs: Sequence[Pair]) -> Section:
    rows = tuple((workers, *(size for _, size in of)) for workers, of in _carried(pairs))
    table = Table("By worker count", ("", *(letter for letter, _ in lettered(pairs))), rows)
    alone = tuple(said for pair in pairs for said in _carried_by_one(pair))
    told: tuple[Part, ...] = (Note("What one side carries, the other carries too."),)
    if alone:
        told = (Note("Carried by one side alone:"), Points(alone))
    return Section("The largest size that each side carried", (Beside(((table,), told)),))


def _carried_by_one(pair: Pair) -> Iterator[str]:
    """What fails on one side but succeeds on the other."""
    for cell in only_one_carries(pair.facts.cells):
        assert cell.a is not None  # noqa: S101
        assert cell.b is not None  # noqa: S101
        size = f"{cell.multiplier}x with {count(cell.workers, 'worker')}"
        if cell.a.outcome is Outcome.SUCCEEDED:
            yield f"{size}: {cell.b.outcome} in {pair.letter}, succeeds in A."
        else:
            yield f"{size}: {cell.a.outcome} in A, succeeds in {pair.letter}."


def _grid(pairs: Sequence[Pair]) -> Section:
    sides = lettered(pairs)
    keys = sorted({key for _, side in sides for key in side.cells})
    rows = tuple(
        (f"{size}x", str(workers), *(text for _, side in sides for text in _cell(side.cells.get((workers, size)))))
        for workers, size in keys
    )
    heads = (
        "size",
        "workers",
        *(head for letter, _ in sides for head in (letter, "time", "samples/s", "peak memory")),
    )
    left = tuple(2 + 4 * i for i in range(len(sides)))
    return Section("Cells", (Table("Cell by cell", heads, rows, left=left),))


def _cell(cell: CellFigures | None) -> tuple[str, ...]:
    if cell is None:
        return ("not run", ABSENT, ABSENT, ABSENT)
    return (
        str(cell.outcome),
        ABSENT if cell.seconds is None else duration(cell.seconds),
        ABSENT if cell.samples_per_second is None else f"{cell.samples_per_second:,.0f}",
        ABSENT if cell.peak_bytes is None else memory(cell.peak_bytes),
    )


# --- metrics, and each side by itself -------------------------------------------------------------------------------


def _agreement(pairs: Sequence[Pair]) -> Iterator[str]:
    """How far metrics and outcomes agree, and what has to be known beside each side's best."""
    for pair in pairs:
        prefix = f"{pair.letter}: " if len(pairs) > 1 else ""
        yield from (f"{prefix}{said}" for said in _agreement_of(pair))
    for letter, side in lettered(pairs):
        yield from (f"{letter}: {caveat}" for caveat in side.results.summary.caveats)


def _agreement_of(pair: Pair) -> Iterator[str]:
    found, compared, letter = pair.facts.agreement, pair.facts.comparison, pair.letter
    noun = pair.b.results.noun
    yield _same(found, noun)
    if (most := found.largest) is not None:
        yield (
            f"The largest relative difference is {most.difference:.2g}: {most.metric} of {noun} {most.index} "
            f"({most.id}), {most.a!r} in A and {most.b!r} in {letter}."
        )
    for each in found.outcomes[:_EXAMPLES]:
        yield f"{noun.title()} {each.index} ({each.id}): {each.a} in A, {each.b} in {letter}."
    if len(found.outcomes) > _EXAMPLES:
        yield f"{count(len(found.outcomes) - _EXAMPLES, f'more {noun}')} ended differently."
    if compared is not None and compared.same_best is not None:
        yield f"The best trial is {'the same' if compared.same_best else 'another'} in both."
    a, b = (_peaks_are(side) for side in (pair.a, pair.b))
    if a and b and a != b:
        yield f"Peak memory is {a} in A and {b} in {letter}, so the two figures can't be compared."


def _same(found: Agreement, noun: str) -> str:
    if not found.both:
        return f"No {noun} succeeded in both, so there are no metrics to compare."
    if found.both == 1:
        agrees = "agrees to the bit in all metrics" if found.same else "does not agree to the bit"
        return f"The one {noun} that succeeded in both {agrees}."
    of = {0: "None of", found.both: "All"}.get(found.same, f"{found.same:,} of")
    return f"{of} {found.both:,} {noun}s that succeeded in both agree to the bit in all metrics."


def _peaks_are(side: Side) -> str:
    """What the peaks of a side count; empty where it has none."""
    ranks = [rank for record in side.results.records.values() for rank in record.memory if rank is not None]
    kinds = sorted({"resident memory" if rank.cgroup is None else "what a cgroup was charged with" for rank in ranks})
    return " or ".join(kinds)


def _side_by_side(pairs: Sequence[Pair]) -> Section:
    """What each side is by itself, a line for each figure that one of them has."""
    sides = lettered(pairs)
    heads = ("", *(letter for letter, _ in sides))
    table = side_by_side("Each by itself", heads, [dict(_alone(side)) for _, side in sides])
    return Section("Side by side", (table,))


def _alone(side: Side) -> Iterator[tuple[str, str]]:
    results, summary = side.results, side.results.summary
    counts, noun = summary.counts, side.results.noun
    yield "experiment", summary.experiment
    others = [f", {amount} {outcome}" for outcome, amount in counts.outcomes.items() if outcome != Outcome.SUCCEEDED]
    if results.unfinished:
        others.append(f", {results.unfinished} not run")
    yield f"{noun}s succeeded", f"{counts.succeeded} of {counts.total}{''.join(others)}"
    if summary.success_rate is not None:
        yield "success rate", _percent(summary.success_rate)
    if (timing := summary.timing) is not None:
        yield "wall time", duration(timing.wall)
        yield f"mean per {noun}", duration(timing.mean_trial)
        yield "most at once", str(timing.most_at_once)
        if timing.packed:
            yield "trained together", str(timing.packed)
        if timing.slots != timing.most_at_once and noun == "trial":
            yield "slots", str(timing.slots)
        if timing.split is not None and noun == "trial":
            yield "slots waiting", _percent(timing.split.queue)
            yield "slots starting", _percent(timing.split.start)
            yield "slots loading data", _percent(timing.split.data)
            yield "slots training", _percent(timing.split.train)
    peaks = [peak for _, record in results.ran if (peak := record.counted_peak) is not None]
    if peaks:
        yield "peak memory", memory(max(peaks))
    if (best := summary.best) is not None:
        yield f"best {best.metric}", number(best.value)
        yield "best trial", f"{best.index} ({best.id})"
        for path, value in best.parameters.items():
            yield path, setting(value)


def _ratio(value: float) -> str:
    return f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


# --- pictures -------------------------------------------------------------------------------------------------------


def _pictures(pairs: Sequence[Pair]) -> Iterator[Chart]:
    if pairs[0].is_scale_test:
        yield _by_size(pairs, "compare-cell-time", "Time by size", "seconds", lambda cell: cell.seconds)
        yield _by_size(pairs, "compare-cell-memory", "Peak memory by size", "MiB", _mebibytes)
        return
    yield _objective_by_trial(pairs)
    yield _time_by_trial(pairs)
    yield _slot_time(pairs)


def _time_by_trial(pairs: Sequence[Pair]) -> Chart:
    """Each trial's seconds in A and in another."""
    title = "Time of each trial"
    points = {pair.letter: [(trial, a.seconds.total, b.seconds.total) for trial, a, b in pair.ran] for pair in pairs}
    if not any(points.values()):
        return Chart("compare-time", title, "No trial ran in both.")
    faster = [
        f"{letter} was faster: {sum(b < a for _, a, b in of):,} of {count(len(of), 'trial')}"
        for letter, of in points.items()
        if of
    ]
    return _against(pairs, "compare-time", title, f"Below it {listed(faster)}.", "seconds", points)


def _objective_by_trial(pairs: Sequence[Pair]) -> Chart:
    """Each trial's objective in A and in another."""
    metric = pairs[0].a.results.metric or ""
    title = f"{metric} of each trial"
    by_others = [pair for pair in pairs if pair.b.results.metric != metric]
    if by_others:
        others = listed([f"{pair.letter} by {pair.b.results.metric}" for pair in by_others])
        return Chart("compare-objective", title, f"A is a search by {metric}, {others}.")
    points = {
        pair.letter: [
            (trial, pair.a.results.values[a.id], pair.b.results.values[b.id])
            for trial, a, b in pair.ran
            if a.id in pair.a.results.values and b.id in pair.b.results.values
        ]
        for pair in pairs
    }
    if not any(points.values()):
        return Chart("compare-objective", title, f"No trial measured {metric} in both.")
    same = [
        f"{sum(a == b for _, a, b in of):,} of {count(len(of), 'trial')}{f' of {letter}' if len(points) > 1 else ''}"
        for letter, of in points.items()
        if of
    ]
    words = f"{listed(same)} lie on the line to the bit."
    return _against(pairs, "compare-objective", title, words, objective_text(metric), points)


def _against(
    pairs: Sequence[Pair],
    name: str,
    title: str,
    words: str,
    unit: str,
    points: dict[str, list[tuple[Trial, float, float]]],
) -> Chart:
    """Points with A across and another up, and the line on which both are equal."""
    values = [value for of in points.values() for _, a, b in of for value in (a, b)]
    low, high, log = min(values), max(values), spans(values)
    told = f"A dot is a trial, on the line it is the same in both. {words}"
    told += " Both axes are logarithmic." if log else ""
    step = max(math.ceil(len(of) / _MOST_DOTS) for of in points.values())
    told += f" Every {step}th trial is drawn." if step > 1 else ""
    traces = [trace("lines", [low, high], [low, high], LINE, hoverinfo="skip")]
    several = len(points) > 1
    for i, pair in enumerate(pairs):
        shown = sorted(points[pair.letter], key=lambda point: point[1:])[::step]
        if not shown:
            continue
        hover = f"%{{text}}<br>A %{{x:.5g}}<br>{pair.letter} %{{y:.5g}}<extra></extra>"
        traces.append(
            trace(
                "markers",
                [a for _, a, _ in shown],
                [b for _, _, b in shown],
                _COLOURS[(i + 1) % len(_COLOURS)],
                pair.letter if several else "",
                text=[_named(pair.letter, pair.b, trial) for trial, _, _ in shown],
                hovertemplate=hover,
            )
        )
    up = "the other" if several else pairs[0].letter
    found = figure(traces, xaxis=axis(f"A: {unit}", log=log), yaxis=axis(f"{up}: {unit}", log=log))
    return Chart(name, title, told, found)


def _slot_time(pairs: Sequence[Pair]) -> Chart:
    """What the slots of each side spent their time on."""
    title = "What the slots did"
    bars = []
    for letter, side in lettered(pairs):
        timing = side.results.summary.timing
        if timing is not None and timing.split is not None:
            split = timing.split
            bars.append((letter, timing, (split.queue, split.start, split.data, split.train)))
    if not bars:
        return Chart("compare-slots", title, "No trial has run.")
    told = [f"{letter}: {count(timing.slots, 'slot')} for {duration(timing.wall)}." for letter, timing, _ in bars]
    words = (
        "Shares of the time that each side's slots had, from the start to the last record. Waiting: no trial was in "
        f"the slot. Starting: until the training code ran. {' '.join(told)}"
    )
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "x": [100 * split[i] for _, _, split in bars],
            "y": [letter for letter, _, _ in bars],
            "marker": {"color": colour, "line": {"width": 0}},
            "hovertemplate": f"%{{y}}: {name} %{{x:.3g}} %<extra></extra>",
        }
        for i, (name, colour) in enumerate(_PARTS)
    ]
    across = axis("% of slots × wall time", range=[0, 100])
    found = figure(traces, barmode="stack", xaxis=across, yaxis=category_axis())
    return Chart("compare-slots", title, words, found, _AROUND + _ROW * len(bars))


def _mebibytes(cell: CellFigures) -> float | None:
    return None if cell.peak_bytes is None else cell.peak_bytes / 2**20


def _by_size(
    pairs: Sequence[Pair], name: str, title: str, unit: str, value: Callable[[CellFigures], float | None]
) -> Chart:
    sides = lettered(pairs)
    counts = sorted({workers for _, side in sides for workers, _ in side.cells})
    strokes = {workers: _STROKES[i % len(_STROKES)] for i, workers in enumerate(counts)}
    traces: list[dict[str, Any]] = []
    failed: list[tuple[int, float]] = []
    for i, (letter, side) in enumerate(sides):
        legend = letter
        for workers in counts:
            line = [
                (size, taken, cell.outcome)
                for (of, size), cell in sorted(side.cells.items())
                if of == workers and (taken := value(cell))
            ]
            if not line:
                continue
            failed += [(size, taken) for size, taken, outcome in line if outcome is not Outcome.SUCCEEDED]
            said = [f"{letter}: {size}x with {count(workers, 'worker')}, {outcome}" for size, _, outcome in line]
            traces.append(
                trace(
                    "lines+markers",
                    [size for size, _, _ in line],
                    [taken for _, taken, _ in line],
                    _COLOURS[i % len(_COLOURS)],
                    legend,
                    line={"dash": strokes[workers][0]},
                    legendgroup=letter,
                    text=said,
                    hovertemplate=f"%{{text}}<br>%{{y:.5g}} {unit}<extra></extra>",
                )
            )
            legend = ""
    if not traces:
        return Chart(name, title, "No cell has measured it.")
    told = ", ".join(f"{words} {count(workers, 'worker')}" for workers, (_, words) in strokes.items())
    words = f"A line is a side with one worker count: {told}. Both axes are logarithmic."
    if failed:
        words += " A cross is a cell that did not succeed, where it ended."
        x, y = zip(*failed, strict=True)
        traces.append(trace("markers", x, y, FAILED, "did not succeed", marker=CROSS, hoverinfo="skip"))
    sizes = sorted({size for _, side in sides for _, size in side.cells})
    return Chart(name, title, words, figure(traces, xaxis=size_axis(sizes), yaxis=axis(unit, log=True)))


# --- how each figure is computed ------------------------------------------------------------------------------------

_METHOD = (
    ("A and B", "A is the baseline, each of the others is compared with it."),
    ("Wall time", "From the acceptance of the experiment to its last record; pauses between runs left out."),
    ("Elapsed ratio", "The wall time of A divided by that of B: above 1, B was faster."),
    ("Relative difference", "|A − B| divided by the larger of |A| and |B|, over every metric of every trial."),
    (
        "Cost",
        (
            "What was allocated to pods for as long as they ran, at the prices in the file of B. Of a run outside of "
            "pods: what pods like those of B would have cost in its time."
        ),
    ),
)
_SEARCH_METHOD = (
    (
        "95 % interval",
        (
            "Of the difference of two bests' means by Welch's t over their repeats: it holds the truth in 95 of 100 "
            "such experiments. Where it leaves out 0, the two are told apart. It does not count that each best was "
            "chosen by the same figures."
        ),
    ),
    (
        "Speedup",
        (
            "The elapsed ratio of two that are comparable: the same trials with the same seeds, which ended alike, "
            "on the same hardware and software, and A ran one trial at a time. Otherwise there is none."
        ),
    ),
    ("Slots", "The most trials that ran at the same moment, times the workers of each."),
    ("Efficiency", "The speedup, divided by how many times as many slots B had as A."),
    (
        "Training ratio",
        "The training seconds of all trials of B, divided by A's. Above 1, B's slowed each other down.",
    ),
)
_SCALE_METHOD = (
    ("Time of a cell", "From the start of its process to its end; the mean over its repeats."),
    (
        "Peak memory",
        (
            "The largest of any of a cell's ranks, as its limit counts it: what the kernel charged its cgroup with, "
            "or resident memory where it had none."
        ),
    ),
)


def _method(pairs: Sequence[Pair]) -> Section:
    more = _SCALE_METHOD if pairs[0].is_scale_test else _SEARCH_METHOD
    return Section("How the figures are computed", (Terms((*_METHOD, *more)),))
