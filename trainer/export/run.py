"""A run as exports read it: its trials beside the records that count, and what each trial told step by step."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path

from trainer.experiment.entries import Entries
from trainer.experiment.expand import Trial
from trainer.experiment.progress import HISTORY, REPORTS, Step, read_steps
from trainer.experiment.record import Record, latest
from trainer.experiment.spec import Experiment, Scalar
from trainer.local.folder import trial_folder

_MOST_WHOLE, _MOST_EXACT = 2**63, 2**53  # beyond them a whole number doesn't fit into 64 bits, or a float


class Kind(Enum):
    """What all values of a column are. A mixture of numbers and others is text."""

    TRUTH = "bool"
    WHOLE = "int64"
    NUMBER = "double"
    TEXT = "string"


class Curves:
    """The steps of each trial in a run's folder; what has not changed is not read again."""

    def __init__(self, folder: Path | None, *, ours: bool) -> None:
        """`ours` is whether Trialrun's trainer ran; without a folder no trial has steps."""
        self._folder, self._ours = folder, ours
        self._known: dict[Path, tuple[tuple[int, int], tuple[Step, ...]]] = {}

    def of(self, trial: Trial) -> tuple[Step, ...]:
        """A trial's steps in their order, of equal ones the last that was told; none where it left none."""
        if self._folder is None:
            return ()
        path = trial_folder(self._folder, trial) / (HISTORY if self._ours else REPORTS)
        try:
            about = path.stat()
            stamp = about.st_mtime_ns, about.st_size
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                known = self._known[path] = stamp, _last_of_each(read_steps(path))
        except OSError:
            return ()
        return known[1]

    def begun(self, trial: Trial) -> int | None:
        """When a trial without a record began, in milliseconds since 1970: the time of its folder; None before."""
        if self._folder is None:
            return None
        try:
            return trial_folder(self._folder, trial).stat().st_mtime_ns // 1_000_000
        except OSError:
            return None


class Run:
    """An experiment and its ledger. `records` are those that count, by trial id."""

    def __init__(self, experiment: Experiment, entries: Entries, curves: Curves) -> None:
        self.experiment = experiment
        self.trials = tuple(entries.trials(experiment))
        known = {trial.id for trial in self.trials}
        self.attempts = [record for record in entries.records if record.id in known]
        self.records: dict[str, Record] = latest(self.attempts)
        self.curves = curves
        self._rungs: dict[str, list[Step]] = {}
        for entry in entries.rungs:
            self._rungs.setdefault(entry.trial, []).append(Step(entry.step, entry.metrics))

    def steps(self, trial: Trial) -> list[Step]:
        """What a trial told by step: what its file has and, of the rungs that it reached, the ledger."""
        told = {each.step: each for each in (*self._rungs.get(trial.id, ()), *self.curves.of(trial))}
        return [told[step] for step in sorted(told)]


def kind_of(values: Sequence[Scalar]) -> Kind:
    """The narrowest kind that holds all of these values as they are."""
    found = {type(value) for value in values}
    if found == {bool}:
        return Kind.TRUTH
    most = max((abs(value) for value in values if isinstance(value, int)), default=0)
    if found == {int}:
        return Kind.WHOLE if most < _MOST_WHOLE else Kind.TEXT
    if found and found <= {int, float}:
        return Kind.NUMBER if most <= _MOST_EXACT else Kind.TEXT
    return Kind.TEXT


def as_kind(value: Scalar, kind: Kind) -> Scalar:
    """A value as its column has it; text of what is no text as the experiment's file spells it."""
    if kind is Kind.NUMBER:
        return float(value)
    return json.dumps(value) if kind is Kind.TEXT and not isinstance(value, str) else value


def _last_of_each(told: Iterable[Step]) -> tuple[Step, ...]:
    """The steps in their order, of equal ones the last, each with its finite metrics; none without any."""
    found: dict[int, Step] = {}
    for step in told:
        if metrics := {name: value for name, value in step.metrics.items() if math.isfinite(value)}:
            found[step.step] = replace(step, metrics=metrics)
    return tuple(found[step] for step in sorted(found))
