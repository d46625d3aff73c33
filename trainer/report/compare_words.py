"""The comparison of two ledgers in words and rows, for the terminal and the page alike."""

from collections.abc import Iterator

from trainer.experiment.outcome import Outcome
from trainer.report.compare_cells import Cell, CellFigures, only_one_carries
from trainer.report.compare_facts import Agreement, Pair, Side
from trainer.report.overview import peak_bytes
from trainer.report.wording import count, duration, memory, number, setting

ABSENT = "–"
WITHHELD = "withheld"
# What stands in a table's first column, then of A and of B.
Row = tuple[str, str, str]
_EXAMPLES = 5


def sides(pair: Pair) -> list[Row]:
    """What each side is by itself, a line for each figure that one of them has."""
    columns = [dict(_side(side)) for _, side in pair.sides]
    compared = pair.facts.comparison
    if compared is not None and compared.baseline_cost is not None:
        columns[0]["cost"] = number(compared.baseline_cost)
    names = dict.fromkeys(name for column in columns for name in column)
    a, b = ([column.get(name, ABSENT) for name in names] for column in columns)
    return list(zip(names, a, b, strict=True))


def verdict(pair: Pair) -> str:
    """What came of it: the times of two searches and whether they make a speedup, the sizes of two scale tests."""
    if pair.is_scale_test:
        carried = [f"with {workers} A carried {a}, B {b}" for workers, a, b in sizes(pair)]
        return f"The largest training set: {'; '.join(carried)}." if carried else "No cell has run."
    compared, (a, b) = pair.facts.comparison, (side.results.summary.timing for _, side in pair.sides)
    if a is None or b is None:
        lacking = " and ".join(letter for letter, timing in (("A", a), ("B", b)) if timing is None)
        return f"No trial has run in {lacking}, so there are no times to compare."
    took = f"A took {duration(a.wall)}, B took {duration(b.wall)}"
    if compared is None:
        return f"{took}."
    longer, ratio = ("A", compared.elapsed_ratio) if compared.elapsed_ratio >= 1 else ("B", b.wall / a.wall)
    took += f", so {longer} took {_ratio(ratio)} times as long." if _ratio(ratio) != "1" else ", as long as A."
    if compared.speedup is None:
        return f"{took} The two are not comparable, so that is no speedup."
    return f"{took} The two are comparable."


def gained(pair: Pair) -> list[tuple[str, str, str]]:
    """What B gained over A: name, value, and how it comes about."""
    compared, saved = pair.facts.comparison, pair.facts.time_saved
    if compared is None or saved is None:
        return []
    rows = [
        ("elapsed ratio", _ratio(compared.elapsed_ratio), "wall time of A / wall time of B"),
        ("time saved", f"{'−' if saved < 0 else ''}{duration(abs(saved))}", "wall time of A − wall time of B"),
    ]
    if pair.is_scale_test:  # its cells have different numbers of workers, so it has no slots to speak of
        return rows
    if compared.speedup is None or compared.efficiency is None:
        rows.append(("speedup, efficiency", WITHHELD, "the two are not comparable"))
    else:
        slots = f"{compared.slots} / {compared.baseline_slots} slots"
        rows.append(("speedup", _ratio(compared.speedup), "the elapsed ratio, as the two are comparable"))
        rows.append(("efficiency", _percent(compared.efficiency), f"speedup / ({slots})"))
    if compared.train_ratio is not None:
        what = "training seconds of all trials, B / A; above 1, B's slowed each other down"
        rows.append(("training ratio", _ratio(compared.train_ratio), what))
    return rows


def differences(pair: Pair) -> list[str]:
    """What stands in the way of a speedup, each as a sentence; `here` is B, `there` is A."""
    compared = pair.facts.comparison
    return [] if compared is None else list(compared.differences)


def remark(pair: Pair) -> str | None:
    """What ate the gain of a cluster, which pays for pods before it trains."""
    return pair.facts.remark if pair.b.results.experiment.metadata.uid is not None else None


def agreement(pair: Pair) -> list[str]:
    """How far metrics and outcomes agree, in sentences."""
    found, compared = pair.facts.agreement, pair.facts.comparison
    noun = pair.b.results.noun
    said = [_same(found, noun)]
    if (most := found.largest) is not None:
        said.append(
            f"The largest relative difference is {most.difference:.2g}: {most.metric} of {noun} {most.index} "
            f"({most.id}), {most.a!r} in A and {most.b!r} in B."
        )
    said += [
        f"{noun.title()} {each.index} ({each.id}): {each.a} in A, {each.b} in B."
        for each in found.outcomes[:_EXAMPLES]
    ]
    if len(found.outcomes) > _EXAMPLES:
        said.append(f"{count(len(found.outcomes) - _EXAMPLES, f'more {noun}')} ended differently.")
    said += [f"{letter}: {caveat}" for letter, side in pair.sides for caveat in side.results.summary.caveats]
    if compared is not None and compared.same_best is not None:
        said.append(f"The best trial is {'the same' if compared.same_best else 'another'} in both.")
    a, b = (_peaks_are(side) for _, side in pair.sides)
    if a and b and a != b:
        said.append(f"Peak memory is {a} in A and {b} in B, so the two figures can't be compared.")
    return said


def _peaks_are(side: Side) -> str:
    """What the peaks of a side count; empty where it has none."""
    ranks = [rank for record in side.results.records.values() for rank in record.memory if rank is not None]
    kinds = sorted({"resident memory" if rank.cgroup is None else "what a cgroup was charged with" for rank in ranks})
    return " or ".join(kinds)


def sizes(pair: Pair) -> list[Row]:
    """The largest size that each side carried, a line for each worker count."""

    def size(multiplier: int | None) -> str:
        return "none" if multiplier is None else f"{multiplier}x"

    return [(count(row.workers, "worker"), size(row.a), size(row.b)) for row in pair.facts.frontier]


def carried_by_one(pair: Pair) -> list[str]:
    """What fails on one side but succeeds on the other, each as a sentence."""
    said = []
    for cell in only_one_carries(pair.facts.cells):
        assert cell.a is not None  # noqa: S101
        assert cell.b is not None  # noqa: S101
        size = f"{cell.multiplier}x with {count(cell.workers, 'worker')}"
        if cell.a.outcome is Outcome.SUCCEEDED:
            said.append(f"{size}: {cell.b.outcome} in B, succeeds in A.")
        else:
            said.append(f"{size}: {cell.a.outcome} in A, succeeds in B.")
    return said


CELL_HEADS = (
    "size", "workers", "A", "time", "samples/s", "peak memory", "B", "time", "samples/s", "peak memory",
)  # fmt: skip


def cell_row(cell: Cell) -> tuple[str, ...]:
    """A cell's line under `CELL_HEADS`."""
    return (f"{cell.multiplier}x", str(cell.workers), *_measured(cell.a), *_measured(cell.b))


def _measured(side: CellFigures | None) -> tuple[str, ...]:
    if side is None:
        return ("not run", ABSENT, ABSENT, ABSENT)
    return (
        str(side.outcome),
        ABSENT if side.seconds is None else duration(side.seconds),
        ABSENT if side.samples_per_second is None else f"{side.samples_per_second:,.0f}",
        ABSENT if side.peak_bytes is None else memory(side.peak_bytes),
    )


def _side(side: Side) -> Iterator[tuple[str, str]]:
    results, summary = side.results, side.results.summary
    counts, noun = summary.counts, side.results.noun
    yield "experiment", summary.experiment
    others = [f", {amount} {outcome}" for outcome, amount in counts.outcomes.items() if outcome != Outcome.SUCCEEDED]
    if results.unfinished:
        others.append(f", {results.unfinished} not run")
    yield f"{noun}s succeeded", f"{counts.succeeded} of {counts.total}{''.join(others)}"
    if summary.success_rate is not None:
        yield "success rate", f"{100 * summary.success_rate:.3g} %"
    if (timing := summary.timing) is not None:
        yield "wall time", duration(timing.wall)
        yield f"mean per {noun}", duration(timing.mean_trial)
        yield "most at once", str(timing.most_at_once)
        if timing.slots != timing.most_at_once and noun == "trial":
            yield "slots", str(timing.slots)
        if timing.split is not None and noun == "trial":
            yield "slots waiting", _percent(timing.split.queue)
            yield "slots starting", _percent(timing.split.start)
            yield "slots loading data", _percent(timing.split.data)
            yield "slots training", _percent(timing.split.train)
    peaks = [peak for trial, _ in results.ran if (peak := peak_bytes(results, trial.id)) is not None]
    if peaks:
        yield "peak memory", memory(max(peaks))
    if summary.cost is not None:
        yield "cost", number(summary.cost)
    if (best := summary.best) is not None:
        yield f"best {best.metric}", number(best.value)
        yield "best trial", f"{best.index} ({best.id})"
        for path, value in best.parameters.items():
            yield path, setting(value)


def _same(found: Agreement, noun: str) -> str:
    if not found.both:
        return f"No {noun} succeeded in both, so there are no metrics to compare."
    if found.both == 1:
        agrees = "agrees to the bit in all metrics" if found.same else "does not agree to the bit"
        return f"The one {noun} that succeeded in both {agrees}."
    of = {0: "None of", found.both: "All"}.get(found.same, f"{found.same:,} of")
    return f"{of} {found.both:,} {noun}s that succeeded in both agree to the bit in all metrics."


def _ratio(value: float) -> str:
    return f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
