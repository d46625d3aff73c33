"""An experiment's trials beside the records that count: what the tables and the page read from."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from trainer.experiment.best import direction, objective_value
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import STEP, Record, latest
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.experiment.summary import Summary
from trainer.report.wording import count, duration, listed, number, short_names


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
        known = {trial.id for trial in trials}
        self.experiment = experiment
        self.trials = tuple(trials)
        self.records = {identity: record for identity, record in latest(records).items() if identity in known}
        self.summary = summary
        self.metric = experiment.spec.objective.metric if isinstance(experiment, HyperparamSearch) else None
        self.repeats = experiment.spec.repeats
        self.names = short_names(dict.fromkeys(path for trial in self.trials for path in trial.parameters))

    @cached_property
    def minimize(self) -> bool:
        """Whether less of the objective is better."""
        return not isinstance(self.experiment, HyperparamSearch) or (
            direction(self.experiment.spec.objective) == "Minimize"
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
        point = next(trial.point for trial in self.trials if trial.id == best.id)
        return frozenset(trial.id for trial in self.trials if trial.point == point)

    @cached_property
    def noun(self) -> str:
        """What a trial is called here."""
        return "trial" if isinstance(self.experiment, HyperparamSearch) else "cell"

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
    def all_break(self) -> bool:
        """Whether points were measured in all their repeats, each of which breaks a constraint of the search."""
        measured = Counter(trial.point for trial in self.trials if trial.id in self.values)
        missing = self.summary.best is None and not self.summary.groups
        return missing and any(number == self.repeats for number in measured.values())

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
