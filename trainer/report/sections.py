"""What the page of an experiment shows, from what came out down to how each figure is computed."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from trainer.columns import Table
from trainer.experiment import moments
from trainer.experiment.best import Best
from trainer.experiment.comparison import Comparison, shares
from trainer.experiment.expand import Trial
from trainer.experiment.metrics import UNDEFINED_BECAUSE
from trainer.experiment.outcome import Outcome, advice
from trainer.experiment.record import Environment, Record, naive_name
from trainer.experiment.redact import redacted
from trainer.experiment.spec import HyperparamSearch, Parameter, Scalar, ScaleTest
from trainer.experiment.training import Training
from trainer.report import charts, scale
from trainer.report.results import Results, objective_text
from trainer.report.view import (
    ABSENT,
    Beside,
    Chart,
    Charts,
    Listing,
    Note,
    Page,
    Part,
    Points,
    Section,
    Terms,
    Tile,
    Tiles,
    TrialTable,
    side_by_side,
)
from trainer.report.wording import at_once, brief, count, duration, listed, memory, number, one_line, setting

if TYPE_CHECKING:
    from trainer.report.treatments import Statistics

_EXAMPLES = 3
_MOST_ENVIRONMENTS = 4
_MOST_STEPS = 5  # to try next
_MATTERS = 0.1  # of importance: from here on a parameter's best value is worth following
_HARDLY = 0.03  # below it a parameter made little difference
_ENOUGH_POINTS = 16  # measured, to call a parameter unimportant
_EDGE = 0.02  # of a range, by its scale: so near its end is at its end
_CLOSE = 0.1  # of the best: a second point so near may be as good
_ENVIRONMENT = ("Image", "Packages", "CPU", "Device", "Threads per worker", "CPU limit", "Memory limit")


def experiment_page(results: Results, folder: Path, statistics: "Statistics | None" = None) -> Page:
    """The page's content. Learning curves, and what the best trial left, are read from the folder."""
    summary = results.summary
    best_epoch = _best_epoch(results, folder)
    sections = (
        *_best(results, folder, best_epoch),
        *_to_do(results, best_epoch),
        *(() if summary.scale is None else scale.sections(summary.scale)),
        *_failures(results),
        *_treatments(statistics),
        *_charts(results, folder),
        *_comparison(results),
        Section(f"All {results.noun}s", (_trials(results),)),
        _environments(results),
        _method(results),
    )
    return Page(
        title=f"{summary.experiment}: report",
        kind="Scale test" if isinstance(results.experiment, ScaleTest) else "Hyperparameter search",
        name=summary.experiment,
        state=summary.state.lower(),
        head=tuple(_head(results)),
        sections=sections,
        columns=tuple(charts.columns(results)),
        marked=frozenset(results.rows[identity] for identity in results.best_ids),
    )


# --- what came out --------------------------------------------------------------------------------------------------


def _head(results: Results) -> Iterator[Part]:
    summary = results.summary
    yield Note(_lead(results), "lead")
    yield from (Note(caveat, "caveat") for caveat in summary.caveats)
    yield Note(_course(results), "soft")
    yield from (Note(said, "soft") for said in (results.stopped_early, summary.ended_by) if said is not None)
    yield Tiles(tuple(_tiles(results)))


def _lead(results: Results) -> str:
    found = results.summary.best
    if found is not None:
        values = [f"{results.names[path]} {brief(value)}" for path, value in found.parameters.items()]
        spread = ""
        if found.deviation is not None:
            spread = f" ± {number(found.deviation)} (mean and deviation of {found.repeats} repeats)"
        return f"The best {found.metric} is {number(found.value)}{spread}, with {listed(values)}."
    if results.summary.scale is not None:
        return scale.reached(results.summary.scale)
    if results.summary.groups:
        return f"There is no best trial of all: the trials' {results.metric} can't be compared with each other."
    if results.all_break:
        return "There is no best trial: every point that was measured breaks a constraint of the search."
    if results.unfinished:
        return f"There is no best trial yet: none has measured {results.wanted}."
    return f"There is no best trial: none measured {results.wanted}."


def _course(results: Results) -> str:
    summary, counts, noun = results.summary, results.summary.counts, results.noun
    if counts.total and counts.succeeded == counts.total:
        said = f"All {count(counts.total, noun)} succeeded" if counts.total > 1 else f"Its one {noun} succeeded"
    else:
        said = f"{counts.succeeded:,} of {count(counts.total, noun)} succeeded"
        others = [(counts.failed, "failed"), (counts.stopped, "stopped early")]
        others += [(counts.skipped, "skipped"), (results.unfinished, "not run")]
        said += "".join(f", {amount:,} {what}" for amount, what in others if amount)
    if summary.timing is None:
        return f"{said}."
    return f"{said}. That took {duration(summary.timing.wall)}, {at_once(summary.timing.most_at_once)}."


def _tiles(results: Results) -> Iterator[Tile]:
    summary = results.summary

    def measured(name: str, value: str | None) -> Tile:
        return Tile(name, "not measured", absent=True) if value is None else Tile(name, value)

    if results.metric is not None:
        best = None if summary.best is None else number(summary.best.value)
        yield measured(f"best {objective_text(results.metric)}", best)
        if summary.naive is not None:
            yield Tile(f"naive {objective_text(results.metric)}", number(summary.naive.value))
    timing, rate = summary.timing, summary.success_rate
    yield measured("success rate", None if rate is None else f"{100 * rate:.3g} %")
    yield measured("wall time", None if timing is None else duration(timing.wall))
    yield measured(f"mean per {results.noun}", None if timing is None else duration(timing.mean_trial))
    yield measured("most at once", None if timing is None else str(timing.most_at_once))
    if timing is not None and timing.packed:
        yield Tile("trained together", str(timing.packed), how="their times are shares of their pack's")
    if summary.saved is not None:
        yield Tile("steps not run", f"{100 * summary.saved.steps / summary.saved.of_steps:.0f} %")
    if summary.cost is not None:
        yield Tile("cost", number(summary.cost))
    if summary.comparison is not None and summary.comparison.speedup is not None:
        yield Tile("speedup", number(summary.comparison.speedup))


def _best(results: Results, folder: Path, best_epoch: int | None) -> Iterator[Section]:
    """The best point: its parameters, everything it measured, what made the difference, where it lies."""
    found = results.summary.best
    if found is None:
        return
    rows = tuple((path, setting(value)) for path, value in found.parameters.items())
    share = charts.importance(results)
    left = (Table("Parameters", ("field", "value"), rows), *(() if share is None else (Charts((share,)),)))
    place, trial = Note(_place(results, found, folder, best_epoch), "soft"), results.trials[results.rows[found.id]]
    yield Section("Best configuration", (Beside((left, (_measured(results),))), place, _whole(trial)))


def _place(results: Results, found: Best, folder: Path, best_epoch: int | None) -> str:
    """Which trial it is, what it took, and where what it left lies."""
    record = results.records[found.id]
    said = f"Trial {found.index} ({found.id})"
    if found.repeats > 1:
        said = f"Trials {found.index} to {found.index + found.repeats - 1}, {found.repeats} repeats of one point"
    if best_epoch is not None:
        said += f", best in epoch {best_epoch} of {record.epochs}"
    said += f", took {duration(record.seconds.total)}."
    left = Path("trials") / found.id
    return f"{said} What it left lies in {left} beside this page." if (folder / left).is_dir() else said


def _best_epoch(results: Results, folder: Path) -> int | None:
    """The epoch whose weights the best trial kept, as it said; None where it didn't."""
    found = results.summary.best
    if found is None or results.experiment.spec.program is not None:
        return None
    try:
        told = json.loads((folder / "trials" / found.id / "metrics.json").read_bytes())
        return int(told["bestEpoch"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _whole(trial: Trial) -> Listing:
    """All that the best point was trained with, what was left at its default too."""
    if isinstance(trial.runs, Training):
        whole = trial.runs.model_dump(mode="json", by_alias=True)
    else:
        whole = {"command": list(trial.runs.command), "settings": dict(trial.runs.settings)}
    text = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)
    return Listing("Its whole configuration", redacted(text))


def _measured(results: Results) -> Table:
    """Everything that the best point measured, over its repeats where it has several, and what is naive beside it."""
    records = [results.records[identity] for identity in sorted(results.best_ids)]
    common = set.intersection(*(set(record.metrics) for record in records))
    taken = {name: [record.metrics[name] for record in records] for name in sorted(common)}
    naive = {name: taken.pop(naive_name(name)) for name in list(taken) if naive_name(name) in taken}
    absent = [(name, str(why)) for name in UNDEFINED_BECAUSE if (why := records[0].evidence.get(name))]
    several = len(records) > 1
    rows = []
    for name, values in taken.items():
        deviation = moments.deviation(values) if several else None
        spread = (ABSENT if deviation is None else number(deviation),) if several else ()
        beside = (number(moments.mean(naive[name])) if name in naive else ABSENT,) if naive else ()
        rows.append((name, number(moments.mean(values)), *spread, *beside))
    heads = ("figure", *(("mean", "deviation") if several else ("value",)), *(("naive prediction",) if naive else ()))
    rows += [(*one, *[""] * (len(heads) - 2)) for one in absent]
    return Table(f"Measured, over {len(records)} repeats" if several else "Measured", heads, tuple(rows))


def _failures(results: Results) -> Iterator[Section]:
    """Every way in which trials failed, with the reason and what to do."""
    rows = []
    for failure in results.failures(_EXAMPLES):
        reasons = [f"{results.noun.title()} {record.index}{_reason(record)}" for record in failure.examples]
        if failure.total > len(reasons):
            reasons.append(f"and {failure.total - len(reasons):,} more")
        what_to_do = advice(failure.outcome, program=results.experiment.spec.program is not None)
        rows.append((str(failure.outcome), f"{failure.total:,}", "\n".join(reasons), what_to_do))
    if rows:
        heads = ("outcome", f"{results.noun}s", "reason", "what to do")
        yield Section(
            "What did not succeed",
            (Table(f"{results.noun.title()}s by outcome", heads, tuple(rows), left=(0, 2, 3)),),
        )


def _reason(record: Record) -> str:
    if record.outcome is Outcome.SKIPPED:
        return ""
    return f": {one_line(record.error) or 'it left no error text'}"


# --- what to try next -----------------------------------------------------------------------------------------------


def _to_do(results: Results, best_epoch: int | None) -> Iterator[Section]:
    """What to try next by what a search has measured: a sentence for each reason, the most pressing first."""
    search = results.experiment
    if isinstance(search, HyperparamSearch):
        said = [
            *_missing(results),
            *_nothing_learnt(results),
            *_edges(results, search),
            *_longer(results, best_epoch),
        ]
        said += [*_unimportant(results, search), *_chance(results, search)]
        if said:
            yield Section("What to try next", (Points(tuple(said[:_MOST_STEPS])),))


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
    names = {each.name for each in search.spec.parameters}
    hardly = [name for name, share in importance.items() if share < _HARDLY and name in names]
    if hardly and len(hardly) < len(importance) and len(results.measured) >= _ENOUGH_POINTS:
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


# --- charts ---------------------------------------------------------------------------------------------------------


def _treatments(statistics: "Statistics | None") -> Iterator[Section]:
    """What repeats are for; nothing without them."""
    if statistics is not None:
        from trainer.report import treatments

        yield from treatments.sections(statistics)


def _charts(results: Results, folder: Path) -> Iterator[Section]:
    if results.metric is not None:
        found = [charts.objective_by_trial(results), *charts.best_so_far(results)]
        yield _drawn("How the search went", found)
        mattered = charts.importance(results) if results.summary.best is None else None  # else beside the best
        by = [mattered, *charts.slices(results), charts.parallel(results), charts.explorer(results)]
        if shown := [chart for chart in by if chart is not None]:
            yield _drawn("What the parameters do", shown)
    if results.summary.scale is None:  # whose cells are trained for their time and memory, often for a single epoch
        yield _drawn("Learning curves", charts.learning_curves(results, folder))
    yield _drawn("Time", [charts.timeline(results), charts.time_per_trial(results)])


def _drawn(heading: str, found: Sequence[Chart]) -> Section:
    return Section(heading, (Charts(tuple(found)),))


# --- what stands beside it ------------------------------------------------------------------------------------------


def _comparison(results: Results) -> Iterator[Section]:
    """What running at once bought, and what stands in the way of saying so; nothing for a scale test."""
    compared, timing = results.summary.comparison, results.summary.timing
    if compared is None and isinstance(results.experiment, ScaleTest):
        return
    said: list[Part] = []
    if compared is None:
        said.append(Note("No baseline was measured, so there is no speedup to report."))
    else:
        said.append(Note(_against(compared)))
        if timing is not None and timing.split is not None:
            said.append(Note(f"{shares(timing, timing.split)}.{_slowed(compared)}"))
        if compared.differences:
            said.append(Note("The two are not comparable, so this is no speedup. They differ in:"))
            said.append(Points(tuple(one_line(each) for each in compared.differences)))
    if results.summary.remark is not None:
        said.append(Note(results.summary.remark))
    yield Section("Against a baseline", tuple(said))


def _against(compared: Comparison) -> str:
    said = (
        f"One trial at a time took {duration(compared.baseline_wall)}, "
        f"{number(compared.elapsed_ratio)} times as long as this run."
    )
    if compared.speedup is not None and compared.efficiency is not None:
        said += (
            f" The two are comparable: the speedup is {number(compared.speedup)} "
            f"with {count(compared.slots, 'slot')}, an efficiency of {compared.efficiency:.0%}."
        )
    return said


def _slowed(compared: Comparison) -> str:
    """What trials that ran side by side did to each other, and what the two sides cost."""
    said = ""
    if compared.train_ratio is not None:
        said += f" Training took {number(compared.train_ratio)} times the baseline's seconds."
    if compared.baseline_cost is not None:
        said += f" The baseline's cost is {number(compared.baseline_cost)}."
    return said


def _trials(results: Results) -> TrialTable:
    """All trials: the best first, but where they have no order among each other."""
    listed = isinstance(results.experiment, ScaleTest) or bool(results.summary.groups)
    order = range(len(results.trials)) if listed else (results.rows[trial.id] for trial in results.ranked)
    how = "as listed" if listed else "the best first"
    return TrialTable(
        f"All {count(len(results.trials), results.noun)}, {how}. {ABSENT} stands for what was not measured.",
        tuple(order),
    )


def _environments(results: Results) -> Section:
    """What was trained on which data, and what the trials ran on; several columns where these differ."""
    counted: dict[str, tuple[Mapping[str, str], int]] = {}
    for trial, record in results.ran:
        told = _rests_on(results, trial, record) | _environment(record.environment)
        key = json.dumps(told)
        counted[key] = (told, counted.get(key, (told, 0))[1] + 1)
    heading = "Data and environment"
    if not counted:
        return Section(heading, (Note("No trial has ended, so none has recorded its environment."),))
    most = sorted(counted.values(), key=lambda pair: -pair[1])
    shown = most[:_MOST_ENVIRONMENTS]
    caption = "What the trials were trained with, and what they ran on"
    if len(most) > len(shown):
        caption += f"; the {len(shown)} most frequent of {len(most)}"
    heads = ("what", *(count(amount, results.noun) for _, amount in shown))
    return Section(heading, (side_by_side(caption, heads, [column for column, _ in shown]),))


def _rests_on(results: Results, trial: Trial, record: Record) -> dict[str, str]:
    """Data and model of a trial, by what its configuration and its record say."""
    program = results.experiment.spec.program
    if program is not None:
        told = {"Command": one_line(" ".join(program.command))}
    else:
        told = {"Data": str(trial.training.data.source), "Model": str(trial.training.model.kind)}
    if record.samples:
        told["Training samples"] = f"{record.samples:,}"
    if record.dataset_bytes:
        told["Data in memory"] = memory(record.dataset_bytes)
    content = record.evidence.get("data")
    told["Content of the data"] = one_line(str(content)) if content else "unverified"
    return told


def _environment(environment: Environment) -> dict[str, str]:
    unknown = "not recorded"
    packages = ", ".join(f"{name} {version}" for name, version in sorted(environment.packages.items()))
    limit = environment.memory_limit_bytes
    if environment == Environment():  # a trial that did not live to tell
        return dict.fromkeys(_ENVIRONMENT, unknown)
    told = (
        one_line(environment.image or "none"),
        one_line(packages) or unknown,
        one_line(environment.cpu) or unknown,
        one_line(environment.device) or unknown,
        str(environment.threads),
        "none" if environment.cpus is None else number(environment.cpus),
        "none" if limit is None else memory(limit),
    )
    return dict(zip(_ENVIRONMENT, told, strict=True))


def _method(results: Results) -> Section:
    """How each figure on the page comes about."""
    entries: list[tuple[str, str]] = []
    if results.metric is not None:
        better = "least" if results.minimize else "greatest"
        never = "" if results.metric.startswith("test") else " Test figures never decide."
        entries.append(
            (
                f"Best {results.metric}",
                (
                    f"The {better} mean over the repeats of a point, all of which must have succeeded. Of equal "
                    f"points the one listed first. What is not finite never counts.{never}"
                ),
            )
        )
    if results.summary.importance:
        entries.append(
            (
                "What made the difference",
                (
                    "PED-ANOVA: how far each parameter is spread otherwise among the best tenth of the points, at "
                    "least five, than among all, as a share of what all parameters come to."
                ),
            )
        )
    if results.summary.counts.stopped:
        entries.append(
            (
                "Steps not run",
                (
                    "How many fewer steps each stopped trial told than the longest that succeeded, of all that both "
                    "kinds would have had. The time saved is that at each trial's own pace, added up over trials."
                ),
            )
        )
    if results.summary.scale is not None:
        entries += [
            ("Floor", "What a rank had with torch and the trainer loaded, before it held a sample."),
            ("Time per sample", "Training seconds by the samples of all epochs; building samples is part of it."),
            ("Growth", "Time per sample divided by that of the next smaller size with as many workers."),
            (
                "Speedup of workers",
                (
                    "One worker's training seconds divided by those of several, at the same size; efficiency is that "
                    "by the workers. Withheld where threads outnumbered cores or one worker did not pass the size."
                ),
            ),
        ]
    entries += [
        (
            "Success rate",
            "Trials that succeeded, of those that succeeded or failed. Skipped and stopped ones count as neither.",
        ),
        (
            "Wall time",
            "From the acceptance of the experiment to its last record; pauses between runs of one folder left out.",
        ),
        ("Time of a trial", "From the start of its process to its end. The mean is over all trials that ran."),
        ("Most at once", "The most trials that ran at the same moment, by their start and end."),
        (
            "Peak memory",
            (
                "The largest of any of a trial's ranks, as a limit counts it: what its cgroup was charged with, or "
                "resident memory, where it had no cgroup of its own."
            ),
        ),
        (
            "Speedup",
            (
                "The baseline's wall time divided by this run's; given only where both ran the same trials on the "
                "same hardware and software. Efficiency is the speedup by slots: most at once times workers."
            ),
        ),
        ("Attempts", "A trial that was tried again counts by its latest attempt."),
    ]
    curves_in = (
        "losses in each history.jsonl" if results.experiment.spec.program is None else "curves in reports.jsonl"
    )
    stand = Note(f"Every figure is measured, none estimated. They stand in results.jsonl, {curves_in}.")
    return Section("How the figures are computed", (stand, Terms(tuple(entries))))
