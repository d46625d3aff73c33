"""Reports as text for a terminal: a page's sentences and tables, the end of a run, the list of its trials.

It needs nothing but what is installed always, so that `list` starts fast.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap

from trainer.columns import Table, aligned
from trainer.experiment.comparison import Comparison
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome, advice
from trainer.experiment.spec import Experiment
from trainer.report.results import Results
from trainer.report.scale import cell_rows, reached, scaling_rows, withheld
from trainer.report.view import Beside, Note, Page, Part, Points, Tiles, single
from trainer.report.wording import count, duration, number, one_line, setting, short_names

_EXAMPLES = 3
_INDENT = "  "
_WIDTH = 100


def text(page: Page) -> str:
    """A page's head, then each section that has words, with its heading; not charts, nor what words mean."""
    blocks = [f"{page.kind}: {page.name}", *_blocks(page.head, "")]
    for section in page.sections:
        said = _blocks(section.parts, _INDENT)
        if said:
            blocks += [f"{section.heading}\n{said[0]}", *said[1:]]
    return "\n\n".join(blocks)


def _blocks(parts: tuple[Part | Beside, ...], indent: str) -> list[str]:
    """The parts that have words; sentences that follow each other are one block, a table is one by itself."""
    found: list[str] = []
    joins = False
    for part in single(parts):
        lines = [indent + line for line in _lines(part)]
        if not lines:
            continue
        block, alone = "\n".join(lines), isinstance(part, Table) or (isinstance(part, Note) and part.tone == "lead")
        if joins and not alone:
            found[-1] += f"\n{block}"
        else:
            found.append(block)
        joins = not alone
    return found


def _lines(part: Part) -> list[str]:
    match part:
        case Note():
            return _wrapped(part.text, "- " if part.tone == "caveat" else "")
        case Points():
            return [line for sentence in part.sentences for line in _wrapped(sentence, "- ")]
        case Tiles():
            return aligned([(tile.name, tile.value, tile.how) for tile in part.figures], left=range(3))
        case Table():
            grid = aligned([part.heads, *part.rows], left=part.left)
            return [*_wrapped(part.caption), *(_INDENT + line for line in grid)]
        case _:
            return []


def _wrapped(said: str, mark: str = "") -> list[str]:
    return wrap(
        said,
        _WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def listing(experiment: Experiment, trials: Sequence[Trial]) -> str:
    """The trials as they are listed, one a line."""
    paths = list(dict.fromkeys(path for trial in trials for path in trial.parameters))
    names = short_names(paths)
    rows = [("trial", "id", *(names[path] for path in paths), "repeat", "workers")]
    for trial in trials:
        values = (setting(trial.parameters[path]) if path in trial.parameters else "" for path in paths)
        rows.append((str(trial.index), trial.id, *values, str(trial.repeat), str(trial.workers)))
    return "\n".join([f"{experiment.name}  {count(len(trials), 'trial')}", *aligned(rows)])


def closing(results: Results, place: Path | str) -> str:
    """What a run came to: the best, how trials ended and what to do about it, the time it took, where it lies."""
    parts = [
        [_headline(results)],
        list(_best(results)),
        [_INDENT + line for said in _ended_early(results) for line in wrap(said, _WIDTH)],
        [_INDENT + line for caveat in results.summary.caveats for line in wrap(caveat, _WIDTH)],
        *_scale(results),
        list(_outcomes(results)),
        list(_times(results, place)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _headline(results: Results) -> str:
    summary, counts = results.summary, results.summary.counts
    said = f"{summary.experiment}  {counts.succeeded} of {count(counts.total, results.noun)} succeeded"
    if counts.failed:
        said += f", {counts.failed} failed"
    if counts.stopped:
        said += f", {counts.stopped} stopped"
    if counts.skipped:
        said += f", {counts.skipped} skipped"
    if results.unfinished:
        said += f", {results.unfinished} not run"
    return said


def _best(results: Results) -> Iterator[str]:
    best = results.summary.best
    if best is None:
        if results.metric is not None and not results.summary.groups:
            why = "all break a constraint" if results.all_break else f"none has measured {results.wanted}"
            yield f"{_INDENT}no best trial: {why}"
        return
    measured = f"{best.metric} {number(best.value)}"
    if best.deviation is not None:
        measured += f" ± {number(best.deviation)} over {best.repeats} repeats"
    rows = [("best", f"trial {best.index}", measured)]
    rows += [("", path, setting(value)) for path, value in best.parameters.items()]
    yield from _indented(rows)


def _ended_early(results: Results) -> Iterator[str]:
    """What was not run because it was not needed: the rest of trials, or of the search."""
    if (stopped := results.stopped_early) is not None:
        yield stopped
    if (ended_by := results.summary.ended_by) is not None:
        yield ended_by


def _scale(results: Results) -> list[list[str]]:
    """The cells of a scale test, how far each worker count came, and how time scales."""
    scale = results.summary.scale
    if scale is None or not scale.cells:
        return []
    cells = [_INDENT + line for line in aligned(cell_rows(scale), left=(2,))]
    scaling = [_INDENT + line for line in aligned(scaling_rows(scale))]
    return [cells, [_INDENT + reached(scale)], [*scaling, *(_INDENT + why for why in withheld(scale))]]


def _outcomes(results: Results) -> Iterator[str]:
    """A line for each outcome but success with what to do, then the errors of its first trials."""
    for failure in results.failures(_EXAMPLES):
        program = results.experiment.spec.program is not None
        yield f"{_INDENT}{failure.total} {failure.outcome}: {advice(failure.outcome, program=program)}"
        if failure.outcome is Outcome.SKIPPED:
            continue
        rows = [(f"{results.noun} {record.index}", one_line(record.error, 300)) for record in failure.examples]
        yield from (_INDENT + line for line in _indented(rows))
        if failure.total > len(failure.examples):
            yield f"{_INDENT * 2}and {failure.total - len(failure.examples)} more"
    on_cluster = results.experiment.metadata.uid is not None
    if results.summary.ended_by is not None:
        if results.unfinished:
            goes_on = "it goes on" if on_cluster else "the same command goes on"
            yield f"{_INDENT}With another spec.budget {goes_on}."
    elif results.summary.counts.failed or results.unfinished:
        again = "A raised spec.rerun" if on_cluster else "The same command again"
        yield f"{_INDENT}{again} runs failed and missing {results.noun}s."


def _times(results: Results, place: Path | str) -> Iterator[str]:
    rows = []
    if (timing := results.summary.timing) is not None:
        rows.append(("wall time", duration(timing.wall)))
        rows.append((f"mean per {results.noun}", duration(timing.mean_trial)))
        rows.append(("most at once", str(timing.most_at_once)))
        if timing.packed:
            rows.append(
                ("trained together", f"{count(timing.packed, 'trial')}, whose times are shares of their pack's")
            )
    if (comparison := results.summary.comparison) is not None:
        rows.append(
            ("baseline", f"{duration(comparison.baseline_wall)}, {comparison.elapsed_ratio:.2f} times as long")
        )
        if comparison.speedup is not None and comparison.efficiency is not None:
            rows.append(("speedup", f"{comparison.speedup:.2f}, efficiency {comparison.efficiency:.0%}"))
        rows += [("differs", difference) for difference in comparison.differences]
    if results.summary.cost is not None:
        rows.append(("cost", _cost(results.summary.cost, comparison)))
    if results.summary.remark is not None:
        rows.append(("remark", results.summary.remark))
    rows.append(("results", str(place)))
    yield from _indented(rows)


def _cost(cost: float, comparison: Comparison | None) -> str:
    if comparison is None or comparison.baseline_cost is None:
        return number(cost)
    return f"{number(cost)}, the baseline's {number(comparison.baseline_cost)}"


def _indented(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    columns = range(max((len(row) for row in rows), default=0))
    return (_INDENT + line for line in aligned(rows, left=columns))
