"""What to try next, by what a search has measured: a sentence for each reason there is. Pure."""

import math
from collections.abc import Iterator

from trainer.experiment.outcome import Outcome
from trainer.experiment.spec import HyperparamSearch, Parameter, Scalar
from trainer.report.results import Results
from trainer.report.wording import brief, count, listed, number

_MOST = 5
_MATTERS = 0.1  # of importance: from here on a parameter's best value is worth following
_HARDLY = 0.03  # below it a parameter made little difference
_ENOUGH_POINTS = 16  # measured, to call a parameter unimportant
_EDGE = 0.02  # of a range, by its scale: so near its end is at its end
_CLOSE = 0.1  # of the best: a second point so near may be as good


def next_steps(results: Results, best_epoch: int | None = None) -> tuple[str, ...]:
    """The sentences, the most pressing first; none for a scale test.

    `best_epoch` is the epoch whose weights the best trial kept, where that is known.
    """
    search = results.experiment
    if not isinstance(search, HyperparamSearch):
        return ()
    said = [*_missing(results), *_nothing_learnt(results), *_edges(results, search), *_longer(results, best_epoch)]
    said += [*_unimportant(results, search), *_chance(results, search)]
    return tuple(said[:_MOST])


def _missing(results: Results) -> Iterator[str]:
    """Trials that failed often, or never ran."""
    counts = results.summary.counts
    if counts.failed and counts.failed * 5 >= counts.done - counts.stopped:
        most = results.failures(0)[0]
        yield (
            f"{counts.failed:,} of {count(counts.done, 'trial')} failed, most as {most.outcome}: mend that first, as "
            "below, since what failed can't be best."
        )
    if results.unfinished and results.summary.ended_by is None and counts.done:
        again = "raise spec.rerun" if results.experiment.metadata.uid is not None else "run the same command again"
        yield f"{count(results.unfinished, 'trial')} have yet to run: {again}."


def _nothing_learnt(results: Results) -> Iterator[str]:
    naive = results.summary.naive
    if naive is not None and not naive.best_beats:
        yield (
            "Nothing beats a naive prediction yet. Look at the data, the target and the samples before the "
            "parameters: more trials of the same kind are unlikely to help."
        )


def _edges(results: Results, search: HyperparamSearch) -> Iterator[str]:
    """Parameters that are best at an end of what was tried."""
    best, importance = results.summary.best, results.summary.importance
    if best is None:
        return
    for each in sorted(search.spec.parameters, key=lambda one: -importance.get(one.name, 1.0)):
        if each.name not in best.parameters or importance.get(each.name, 1.0) < _MATTERS:
            continue
        value = best.parameters[each.name]
        end = _end(each, value)
        # Below one layer, or no dropout, there is nothing to try.
        if end == "upper" or (end == "lower" and value not in (0, 1)):
            yield (
                f"{each.name} is best at {brief(value)}, the {end} end of what was tried: try "
                f"{'larger' if end == 'upper' else 'smaller'} values."
            )


def _end(of: Parameter, value: Scalar) -> str | None:
    """The end of its range, or of its numbers, that a value lies at; None where it lies between."""
    if isinstance(value, str | bool):
        return None
    if of.range is not None:
        low, high, log = of.range.min, of.range.max, of.range.scale == "Log"
        if high == low:
            return None
        place = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        return "lower" if place <= _EDGE else "upper" if place >= 1 - _EDGE else None
    numbers = [each for each in of.choices or () if not isinstance(each, str | bool)]
    if len(numbers) < 2 or len(numbers) < len(of.choices or ()):
        return None
    return {min(numbers): "lower", max(numbers): "upper"}.get(value)


def _longer(results: Results, best_epoch: int | None) -> Iterator[str]:
    best = results.summary.best
    record = None if best is None else results.records.get(best.id)
    if record is not None and best_epoch is not None and best_epoch == record.epochs > 1:
        yield f"The best trial was best in its last epoch, {best_epoch}: it may go on improving with more epochs."


def _unimportant(results: Results, search: HyperparamSearch) -> Iterator[str]:
    importance = results.summary.importance
    measured = len({trial.point for trial in results.trials if trial.id in results.values})
    names = {each.name for each in search.spec.parameters}
    hardly = [name for name, share in importance.items() if share < _HARDLY and name in names]
    if hardly and len(hardly) < len(importance) and measured >= _ENOUGH_POINTS:
        them = "it" if len(hardly) == 1 else "them"
        yield f"{listed(hardly)} hardly mattered: leave {them} at the best value and vary what did matter."


def _chance(results: Results, search: HyperparamSearch) -> Iterator[str]:
    """Points so close to the best that one run of each does not tell which is better."""
    leaders = results.summary.leaders
    if search.spec.repeats > 1 or len(leaders) < 2 or results.summary.counts.outcomes.get(Outcome.SUCCEEDED, 0) < 2:
        return
    first, second = leaders[0], leaders[1]
    if first.value != second.value and abs(first.value - second.value) <= _CLOSE * abs(first.value):
        yield (
            f"Trials {first.index} and {second.index} are close ({number(first.value)} and {number(second.value)}), "
            "and each ran once: `repeats: 5` tells a difference from chance."
        )
