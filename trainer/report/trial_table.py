"""The rest of the page: all trials in a table, where they ran, and how each figure is computed."""

from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Environment
from trainer.experiment.spec import ScaleTest
from trainer.report.markup import Markup, element, table
from trainer.report.overview import peak_bytes
from trainer.report.results import Results, objective_text, outcome_text
from trainer.report.wording import brief, count, duration, memory, number, one_line

MOST_ROWS = 300
_MOST_ENVIRONMENTS = 4
_ABSENT = "–"
_ENVIRONMENT = ("Image", "Packages", "CPU", "Device", "Threads per worker", "CPU limit", "Memory limit")


def trials(results: Results) -> Markup:
    """One row per trial, the best first."""
    scale = isinstance(results.experiment, ScaleTest)
    listed = scale or bool(results.summary.groups)  # which have no order among each other
    noun = results.noun
    shown = (list(results.trials) if listed else results.ranked)[:MOST_ROWS]
    paths = list(results.names)
    fixed = [noun, "id", *(results.names[path] for path in paths)]
    heads = [*fixed, "workers", "repeat", "outcome", "epochs", "time", "peak memory"]
    if results.metric is not None:
        heads.insert(len(fixed) + 2, objective_text(results.metric))
    varying = {
        "workers": len({t.workers for t in results.trials}) > 1 or scale,
        "repeat": results.repeats > 1,
        "epochs": results.experiment.spec.program is None,
    }
    kept = [i for i, head in enumerate(heads) if varying.get(head, True)]
    rows = [_row(results, trial, paths) for trial in shown]
    numeric = {"outcome", "id"} | {results.names[path] for path in paths if _is_text(results, path)}
    caption = f"All {count(len(results.trials), noun)}, " + ("as listed" if listed else "the best first")
    if len(shown) < len(results.trials):
        order = "as listed" if listed else "the best first"
        caption = (
            f"The first {len(shown)} of {count(len(results.trials), noun)}, {order}; "
            f"the other {len(results.trials) - len(shown):,} are in results.jsonl"
        )
    best = {str(trial.index) for trial in shown if trial.id in results.best_ids}
    grid = table(
        f"{caption}. {_ABSENT} stands for what was not measured.",
        [heads[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        numbers=[column for column, i in enumerate(kept) if heads[i] not in numeric],
        marked=best,
    )
    return element("section", element("h2", f"All {noun}s"), grid)


def environments(results: Results) -> Markup:
    """What the trials ran on; several columns where they ran on different things."""
    counted: dict[str, tuple[Environment, int]] = {}
    for _, record in results.ran:
        key = record.environment.model_dump_json()
        counted[key] = (record.environment, counted.get(key, (record.environment, 0))[1] + 1)
    heading = element("h2", "Environment")
    if not counted:
        return element("section", heading, element("p", "No trial has ended, so none has recorded its environment."))
    most = sorted(counted.values(), key=lambda pair: -pair[1])
    shown = most[:_MOST_ENVIRONMENTS]
    columns = [_environment(environment) for environment, _ in shown]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    caption = "What the trials ran on"
    if len(most) > len(shown):
        caption += f"; the {len(shown)} most frequent of {len(most)} environments"
    heads = ("what", *(count(amount, results.noun) for _, amount in shown))
    return element("section", heading, table(caption, heads, rows))


def method(results: Results) -> Markup:
    """How each figure on the page comes about."""
    entries: list[tuple[str, str]] = []
    if results.metric is not None:
        better = "least" if results.minimize else "greatest"
        entries.append(
            (
                f"Best {results.metric}",
                (
                    f"The {better} mean over the repeats of a point, all of which must have succeeded. Of equal "
                    "points the one listed first. What is not finite never counts. Test figures never decide."
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
    curves = "losses in each history.jsonl" if results.experiment.spec.program is None else "curves in reports.jsonl"
    listed = (part for name, text in entries for part in (element("dt", name), element("dd", text)))
    return element(
        "section",
        element("h2", "How the figures are computed"),
        element(
            "p",
            f"Every figure is measured, none estimated. They stand in results.jsonl, {curves}.",
        ),
        element("dl", *listed, class_="method"),
    )


def _row(results: Results, trial: Trial, paths: list[str]) -> list[str]:
    """Cells in the order of the heads, those that may be left out among them."""
    record = results.records.get(trial.id)
    row = [str(trial.index), trial.id, *(_setting(trial, path) for path in paths)]
    row += [str(trial.workers), str(trial.repeat)]
    if results.metric is not None:
        row.append(number(results.values[trial.id]) if trial.id in results.values else _ABSENT)
    if record is None:
        return [*row, "not run", _ABSENT, _ABSENT, _ABSENT]
    ran = record.outcome is not Outcome.SKIPPED
    peak = peak_bytes(results, trial.id)
    return [
        *row,
        outcome_text(record),
        str(record.epochs) if record.epochs else _ABSENT,
        duration(record.seconds.total) if ran else _ABSENT,
        _ABSENT if peak is None else memory(peak),
    ]


def _setting(trial: Trial, path: str) -> str:
    return brief(trial.parameters[path]) if path in trial.parameters else _ABSENT


def _is_text(results: Results, path: str) -> bool:
    return any(isinstance(trial.parameters.get(path), str | bool) for trial in results.trials)


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
