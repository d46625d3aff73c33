"""An experiment as it stands: its trials beside the records that count, a search also as if by another objective."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from trainer.experiment.best import direction as direction_of
from trainer.experiment.best import objective_value
from trainer.experiment.entries import Entries
from trainer.experiment.error_messages import nearest
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.metrics import OBJECTIVES, Direction, better
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import STEP, Record, latest
from trainer.experiment.spec import Experiment, HyperparamSearch, Objective
from trainer.experiment.summary import Summary, summarize
from trainer.report.wording import count, duration, listed, number, short_names

# What of a summary follows from the objective; all else stays as the search itself has it.
_OF_OBJECTIVE = (
    "best", "naive", "groups", "other_data", "unverified", "leaders", "course", "importance",
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """The trials that ended in the same way, other than well; `examples` are the first of them."""

    outcome: Outcome
    total: int
    examples: tuple[Record, ...]


class Results:
    """One experiment as it stands. `records` are the latest ones by trial id; a trial that has not run has none."""

    def __init__(
        self, experiment: Experiment, trials: Sequence[Trial], records: Iterable[Record], summary: Summary
    ) -> None:
        self.experiment = experiment
        self.trials = tuple(trials)
        self.rows = {trial.id: row for row, trial in enumerate(trials)}  # the place of each in the list, by its id
        self.records = {identity: record for identity, record in latest(records).items() if identity in self.rows}
        self.summary = summary
        self.metric = experiment.spec.objective.metric if isinstance(experiment, HyperparamSearch) else None
        self.repeats = experiment.spec.repeats
        self.names = short_names(dict.fromkeys(path for trial in self.trials for path in trial.parameters))

    @cached_property
    def minimize(self) -> bool:
        """Whether less of the objective is better."""
        return not isinstance(self.experiment, HyperparamSearch) or (
            direction_of(self.experiment.spec.objective) == "Minimize"
        )

    @cached_property
    def values(self) -> dict[str, float]:
        """The objective by trial id; trials without one are not in it."""
        if self.metric is None:
            return {}
        found = ((identity, objective_value(record, self.metric)) for identity, record in self.records.items())
        return {identity: value for identity, value in found if value is not None}

    @cached_property
    def ranked(self) -> list[Trial]:
        """Trials from best to worst, then those without an objective as they are listed."""
        sign = 1 if self.minimize else -1
        return sorted(self.trials, key=lambda trial: (sign * self.values.get(trial.id, sign * math.inf), trial.index))

    @cached_property
    def best_ids(self) -> frozenset[str]:
        """The trials of the best point: one for each repeat."""
        best = self.summary.best
        if best is None:
            return frozenset()
        point = self.trials[self.rows[best.id]].point
        return frozenset(trial.id for trial in self.trials if trial.point == point)

    @cached_property
    def noun(self) -> str:
        """What a trial is called here."""
        return "trial" if isinstance(self.experiment, HyperparamSearch) else "cell"

    @property
    def wanted(self) -> str:
        """What a point has to have measured to be the best."""
        return f"{self.metric} in all its repeats" if self.repeats > 1 else f"{self.metric}"

    @cached_property
    def ran(self) -> list[tuple[Trial, Record]]:
        """Trials that ran, as listed, with their record."""
        return [
            (trial, self.records[trial.id])
            for trial in self.trials
            if trial.id in self.records and self.records[trial.id].outcome is not Outcome.SKIPPED
        ]

    @cached_property
    def unfinished(self) -> int:
        """How many trials have no final record, those included that a learning search has yet to supply."""
        done = sum(1 for trial in self.trials if trial.id in self.records and self.records[trial.id].final)
        return max(len(self.trials), self.summary.counts.total) - done

    @cached_property
    def measured(self) -> Counter[int]:
        """The points that have the objective, each with in how many of its repeats."""
        return Counter(trial.point for trial in self.trials if trial.id in self.values)

    @cached_property
    def all_break(self) -> bool:
        """Whether points were measured in all their repeats, each of which breaks a constraint of the search."""
        missing = self.summary.best is None and not self.summary.groups
        return missing and self.repeats in self.measured.values()

    @property
    def stopped_early(self) -> str | None:
        """How many trials were stopped early and what that saved, in a sentence; None where none was."""
        counts, saved = self.summary.counts, self.summary.saved
        if not counts.stopped:
            return None
        said = f"Stopped early: {counts.stopped:,} of {count(counts.done, 'trial')}"
        if saved is not None:
            share = f"{100 * saved.steps / saved.of_steps:.0f} %"
            said += f", {share} of the steps not run ({saved.steps:,} of {saved.of_steps:,})"
            parts = [] if saved.seconds is None else [duration(saved.seconds)]
            parts += [] if saved.cost is None else [f"a cost of {number(saved.cost)}"]
            said += f", {listed(parts)} saved" if parts else ""
        return f"{said}."

    def failures(self, examples: int) -> list[Failure]:
        """What went wrong or was skipped, the most frequent first, each with up to `examples` records."""
        by_outcome: dict[Outcome, list[Record]] = {}
        for trial in self.trials:
            record = self.records.get(trial.id)
            if record is not None and record.final and record.outcome not in (Outcome.SUCCEEDED, Outcome.STOPPED):
                by_outcome.setdefault(record.outcome, []).append(record)
        ordered = sorted(by_outcome.items(), key=lambda item: -len(item[1]))
        return [Failure(outcome, len(found), tuple(found[:examples])) for outcome, found in ordered]


def outcome_text(record: Record) -> str:
    """How a trial ended; of one that was stopped also after which step, where that was told."""
    if record.outcome is Outcome.STOPPED and STEP in record.evidence:
        return f"{record.outcome} at step {record.evidence[STEP]}"
    return str(record.outcome)


def objective_text(metric: str) -> str:
    """The objective with its unit, where it has one."""
    return f"{metric} in s" if metric.endswith("Seconds") else metric


# --- by another metric ----------------------------------------------------------------------------------------------


def ranked_by(experiment: Experiment, entries: Entries, metric: str, direction: Direction | None = None) -> Results:
    """The results by `metric`, of which less or more is better as `direction` says, else as is known of it.

    Raises:
        UserError: it is a scale test, no trial recorded the metric, or its direction is not known.
    """
    if not isinstance(experiment, HyperparamSearch):
        raise UserError("--by: ranks the trials of a search, and this is a scale test, whose cells have no order")
    trials = entries.trials(experiment)
    own = experiment.spec.objective
    ids = {trial.id for trial in trials}
    counted = [record for record in latest(entries.records).values() if record.id in ids]
    if metric not in (known := recorded(counted)):
        have = f"recorded are {', '.join(known)}" if known else "no trial has recorded any yet"
        raise UserError(f"--by: must be a metric that a trial recorded, got {metric}{nearest(metric, known)}; {have}")
    own_direction = direction_of(own)
    wanted = direction or (own_direction if metric == own.metric else better(metric))
    if wanted is None:
        raise UserError(
            f"--by {metric}: whether less or more of it is better is not known; add --direction Minimize or "
            "--direction Maximize"
        )
    # A recorded metric may have a name that no file could give.
    objective = Objective.model_construct(metric=metric, direction=wanted)
    changed = experiment.model_copy(update={"spec": experiment.spec.model_copy(update={"objective": objective})})
    planned, rungs = entries.planned(experiment), entries.rungs
    as_it_is = summarize(experiment, trials, entries.records, planned=planned, rungs=rungs)
    as_if = summarize(changed, trials, entries.records, planned=planned, rungs=rungs)
    update = {name: getattr(as_if, name) for name in _OF_OBJECTIVE}
    if (metric, wanted) != (own.metric, own_direction):
        update["caveats"] = (*_said(experiment, metric), *as_if.caveats)
    return Results(changed, trials, entries.records, as_it_is.model_copy(update=update))


def recorded(records: Sequence[Record]) -> list[str]:
    """The metrics that trials which succeeded have, in the order in which they were first recorded, then times."""
    metrics = dict.fromkeys(name for record in records for name in record.metrics)
    times = [name for name, known in OBJECTIVES.items() if known.part == "seconds"]
    found = [name for name in metrics if any(objective_value(record, name) is not None for record in records)]
    return found + [name for name in times if any(objective_value(record, name) for record in records)]


def file_name(metric: str) -> str:
    """The name of the page: no other metric's, also where the metric's own has letters that a file's can't have."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", metric)[:100]
    if name != metric:
        name += f"-{hashlib.sha256(metric.encode()).hexdigest()[:8]}"
    return f"report-by-{name}.html"


def _said(search: HyperparamSearch, metric: str) -> Iterator[str]:
    own = search.spec.objective.metric
    if metric == own:
        was, is_now = ("less", "more") if direction_of(search.spec.objective) == "Minimize" else ("more", "less")
        yield f"The search took {was} {own} for better; here its trials are ranked with {is_now} of it for better."
        return
    learnt = []
    if search.spec.algorithm == "TPE":
        learnt.append("chose its points")
    if search.spec.early_stopping is not None:
        learnt.append("stopped trials")
    said = f"The search optimised {own}; here its trials are ranked by {metric}."
    yield f"{said} It {' and '.join(learnt)} by {own}, so others may do better by {metric}." if learnt else said
    if metric.startswith("test"):
        yield (
            f"{metric} is measured on the test samples. A trial that is chosen by it has no samples left that it was "
            "not chosen by, so its figures look better than they are."
        )
