"""Searches and ledgers that exports are tested with: one for each thing that a ledger may hold."""

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer.experiment.entries import Entries
from trainer.experiment.expand import Trial, expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import STEP, STEP_SECONDS, Record, encode
from trainer.experiment.rung import RungEntry
from trainer.experiment.rung import encode as encode_rung
from trainer.experiment.spec import Experiment
from trainer.experiment.suggestion import Suggestion
from trainer.experiment.suggestion import encode as encode_suggestion
from trainer.experiment.summary import Summary, summarize
from trainer.export.run import Curves, Run
from unit.builders import START, a_record, a_trial, an_experiment

PROGRAM = {"command": ["train"]}
SPACE: list[dict[str, Any]] = [
    {"name": "lr", "range": {"min": 1e-5, "max": 1.0, "scale": "Log"}},
    {"name": "optimizer", "choices": ["sgd", "adamw"]},
    {"name": "momentum", "range": {"min": 0.0, "max": 0.9, "step": 0.1}, "when": {"optimizer": "sgd"}},
    {"name": "width", "range": {"min": 32, "max": 512, "step": 32}},
    {"name": "nesterov", "choices": [True, False]},
]


@dataclass(frozen=True)
class Case:
    """A run as it lies in a folder. `curves` are the lines of a trial's file by its id."""

    experiment: Experiment
    entries: Entries
    curves: dict[str, list[dict[str, Any]]]

    @property
    def trials(self) -> list[Trial]:
        return self.entries.trials(self.experiment)

    def summary(self) -> Summary:
        """What `report` leaves in summary.json."""
        return summarize(
            self.experiment,
            self.trials,
            self.entries.records,
            planned=self.entries.planned(self.experiment),
            rungs=self.entries.rungs,
        )

    def run(self, folder: Path | None = None) -> Run:
        return Run(self.experiment, self.entries, Curves(folder, ours=self.experiment.spec.program is None))

    def leave(self, folder: Path) -> Path:
        """Makes `folder` hold it, as `run` does."""
        folder.mkdir(parents=True)
        (folder / "experiment.json").write_text(json.dumps(self.experiment.document(sparse=True)))
        (folder / "results.jsonl").write_text("".join(encode(each) + "\n" for each in self.entries.records))
        (folder / "rungs.jsonl").write_text("".join(encode_rung(each) + "\n" for each in self.entries.rungs))
        suggested = "".join(encode_suggestion(each) + "\n" for each in self.entries.suggestions)
        (folder / "suggestions.jsonl").write_text(suggested)
        name = "history.jsonl" if self.experiment.spec.program is None else "reports.jsonl"
        for identity, lines in self.curves.items():
            (folder / "trials" / identity).mkdir(parents=True)
            (folder / "trials" / identity / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder


def a_search(trials: int = 60, parameters: Sequence[dict[str, Any]] = SPACE, **spec: Any) -> Experiment:
    """A search of a program."""
    whole: dict[str, Any] = {
        "program": PROGRAM,
        "objective": {"metric": "loss", "direction": "Minimize"},
        "algorithm": "Random",
        "trials": trials,
        "maxFailedTrials": 1000,
        "parameters": list(parameters),
    }
    return an_experiment(**(whole | spec))


def of_program(trial: Trial, loss: float = 1.0, **fields: Any) -> Record:
    """The record of a program's trial."""
    told = {"loss": loss, "val/accuracy": 1 / (1 + abs(loss))}
    succeeded = fields.get("outcome", Outcome.SUCCEEDED) is Outcome.SUCCEEDED
    like = a_record(
        replace(trial, runs=a_trial().runs),
        **{"metrics": told if succeeded else {}, "evidence": {STEP: 3, STEP_SECONDS: 0.5}} | fields,
    )
    return like.model_copy(update={"epochs": 0, "seed": trial.seed})


def loss_at(trial: Trial, rng: random.Random) -> float:
    """Depends on the rate most, then on the optimizer."""
    worse = {"sgd": 0.5}.get(str(trial.parameters.get("optimizer")), 0.0)
    return (math.log10(float(trial.parameters["lr"])) + 2) ** 2 + worse + rng.gauss(0, 0.1)


def a_case(experiment: Experiment, make: Callable[[Trial, float], Record | None], **entries: Any) -> Case:
    """A case whose trials left what `make` says, of each by its loss, with curves of three steps."""
    rng = random.Random(0)
    suggestions = entries.pop("suggestions", ())
    trials = Entries(suggestions=suggestions).trials(experiment)
    losses = {trial.id: loss_at(trial, rng) for trial in trials}
    records = [record for trial in trials if (record := make(trial, losses[trial.id])) is not None]
    curves = {
        record.id: [
            {"step": step, "metrics": {"loss": losses[record.id] + 3 - step, "val/accuracy": 0.1 * step}}
            for step in (1, 2, 3)
        ]
        for record in records
    }
    return Case(experiment, Entries(records, suggestions, **entries), curves)


def the_default_search() -> Case:
    """The 18 trials of the README."""
    experiment, rng = an_experiment(), random.Random(0)
    trials = expand(experiment)
    records = [a_record(trial, value=abs(rng.gauss(1, 0.3)) * 1e-5) for trial in trials]
    curves = {
        trial.id: [
            {"epoch": epoch, "trainLoss": 1 / epoch, "validLoss": 2 / epoch, "validMse": 2 / epoch, "seconds": 0.08}
            for epoch in range(1, 21)
        ]
        for trial in trials
    }
    return Case(experiment, Entries(records), curves)


def stopped_and_learnt() -> Case:
    """A search that learns, and stops every third trial at its first rung."""
    experiment = a_search(algorithm="TPE", earlyStopping={"rule": "ASHA", "minStep": 1, "reduction": 3})
    drawn = expand(a_search())
    suggestions = [Suggestion(number=trial.index, parameters=trial.parameters) for trial in drawn]
    trials = Entries(suggestions=suggestions).trials(experiment)

    def make(trial: Trial, loss: float) -> Record:
        if trial.index % 3:
            return of_program(trial, loss)
        return of_program(trial, outcome=Outcome.STOPPED, metrics={"loss": loss}, evidence={STEP: 1})

    rungs = [
        RungEntry(number=n, trial=trial.id, attempt=1, rung=1, step=1, value=7.5 + n, metrics={"loss": 7.5 + n})
        for n, trial in enumerate(trials)
    ]
    case = a_case(experiment, make, suggestions=suggestions, rungs=rungs)
    ended = {record.id for record in case.entries.records if record.outcome is Outcome.STOPPED}
    return replace(case, curves={identity: lines for identity, lines in case.curves.items() if identity not in ended})


def repeated() -> Case:
    """Points that are run three times; of one a repeat crashed, of another one was stopped."""

    def make(trial: Trial, loss: float) -> Record:
        if trial.index == 4:
            return of_program(trial, outcome=Outcome.CRASHED, error="no")
        return of_program(trial, loss + 0.01 * trial.repeat)

    return a_case(a_search(40, repeats=3), make)


def constrained() -> Case:
    """The best points break a constraint."""
    bound = [{"metric": "val/accuracy", "atMost": 0.5}, {"metric": "totalSeconds", "atMost": 60.0}]
    return a_case(a_search(constraints=bound), of_program)


def all_breaking() -> Case:
    """Every point breaks a constraint."""
    return a_case(a_search(constraints=[{"metric": "val/recall", "atLeast": 0.5}]), of_program)


def failing() -> Case:
    """Of five points one crashed, one diverged, one is to be tried again and one has not run."""

    def make(trial: Trial, loss: float) -> Record | None:
        fate = trial.index % 5
        if fate == 1:
            return of_program(
                trial, outcome=Outcome.CRASHED, error="=cmd token=hunter2secret <script>alert(1)</script>"
            )
        if fate == 2:
            return of_program(trial, outcome=Outcome.DIVERGED, metrics={"val/accuracy": 0.5}, error="NaN")
        if fate == 3:
            return of_program(trial, outcome=Outcome.EVICTED, final=False)
        return None if fate == 4 else of_program(trial, loss)

    return a_case(a_search(100), make)


def upwards_with_ties() -> Case:
    """More is better, and several points have the best."""
    experiment = a_search(objective={"metric": "loss", "direction": "Maximize"})
    return a_case(experiment, lambda trial, loss: of_program(trial, -1.0 if trial.index in (7, 9, 30) else -2 - loss))


CASES: dict[str, Callable[[], Case]] = {
    each.__name__: each
    for each in (
        the_default_search, stopped_and_learnt, repeated, constrained, all_breaking, failing, upwards_with_ties
    )
}  # fmt: skip


def windows() -> Case:
    """Trials of two windows, validated on different samples; of each one failed, and one trained on other data."""
    parameters = [
        {"name": "data.window", "choices": [30, 60]},
        {"name": "train.learningRate", "choices": [0.001, 0.002, 0.003, 0.004, 0.005, 0.006]},
    ]
    experiment = an_experiment(parameters=parameters)
    records = []
    for trial in expand(experiment):
        window = int(trial.parameters["data.window"])
        evidence: dict[str, Any] = {"data": "0da7a0000000", "validation": f"0000000000{window}"}
        if trial.index == 5:
            evidence["data"] = "ffffffffffff"
        failed = {"outcome": Outcome.CRASHED, "error": "no"} if trial.index in (0, 6) else {}
        records.append(a_record(trial, value=0.1 / (1 + trial.index), evidence=evidence, **failed))
    return Case(experiment, Entries(records), {})


HOSTILE = ("</script>", "=1+1", "\u202eright to left \u05e9\u05dc\u05d5\u05dd", "x" * 200, 'a,"b"\r\nc', "-1.5", "é")


def hostile() -> Case:
    """Choices that other programs might take for something else than text."""
    parameters = [
        {"name": "text", "choices": list(HOSTILE)},
        {"name": "mixed", "choices": [1, True, "1", 0.5]},
        {"name": "lr", "choices": [1, 0.5]},
    ]
    return a_case(a_search(parameters=parameters, algorithm="Grid", trials=None), of_program)


def many(trials: int = 5000) -> Case:
    """A large search with curves."""
    return a_case(a_search(trials), of_program)


def moment(seconds: float) -> int:
    """Milliseconds since 1970, of so many seconds after the start of all records."""
    return START + round(1000 * seconds)
