"""Builds experiments, trials and records for tests: everything has a value that a test may replace."""

from functools import cache
from typing import Any

import pytest

from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.expand import Trial, expand
from trainer.experiment.load import load
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Environment, Memory, Record, Seconds
from trainer.experiment.spec import Experiment

START = 1_700_000_000_000
GRID = (
    {"name": "train.learningRate", "choices": [0.0001, 0.001, 0.01]},
    {"name": "model.hiddenSize", "choices": [32, 64, 128]},
    {"name": "model.layers", "choices": [1, 2]},
)


class Silent:
    """A display that shows nothing."""

    def grown(self, *_: object) -> None: ...
    def started(self, *_: object) -> None: ...
    def reported(self, *_: object) -> None: ...
    def waits(self, *_: object) -> None: ...
    def ended(self, *_: object) -> None: ...


def a_document(*, name: str = "sp500-grid", kind: str = "HyperparamSearch", **spec: Any) -> dict[str, Any]:
    """The search of the README as a file says it, or a scale test; keywords replace fields of its spec."""
    whole: dict[str, Any] = {}
    if kind == "HyperparamSearch":
        whole = {"objective": {"metric": "validMse"}, "parameters": list(GRID)}
    return {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": whole | spec,
    }


def an_experiment(*, name: str = "sp500-grid", kind: str = "HyperparamSearch", **spec: Any) -> Experiment:
    """The same as a value."""
    return load(a_document(name=name, kind=kind, **spec))


def load_changed(document: dict[str, Any], **metadata: Any) -> Experiment:
    """The experiment of a document; keywords replace fields of its metadata, as the API server adds some."""
    return load(document | {"metadata": document["metadata"] | metadata})


def mistakes_of(source: str | dict[str, Any]) -> tuple[str, ...]:
    """What `load` has against a document."""
    with pytest.raises(InvalidExperiment) as refusal:
        load(source)
    return refusal.value.mistakes


def a_trial(index: int = 0, experiment: Experiment | None = None) -> Trial:
    """One trial of the experiment."""
    return expand(experiment or an_experiment())[index]


def a_record(trial: Trial | None = None, *, value: float = 0.0002, seconds: float = 2.0, **fields: Any) -> Record:
    """The record of a trial that succeeded; keywords replace its fields."""
    trial = trial or a_trial()
    began = fields.get("started_at", START + round(trial.index * seconds * 1000))
    succeeded = fields.get("outcome", Outcome.SUCCEEDED) is Outcome.SUCCEEDED
    whole: dict[str, Any] = {
        "id": trial.id,
        "index": trial.index,
        "parameters": trial.parameters,
        "repeat": trial.repeat,
        "workers": trial.workers,
        "seed": trial.training.train.seed,
        "outcome": Outcome.SUCCEEDED,
        "exit_code": 0 if succeeded else 1,
        "evidence": {"data": "0da7a0000000", "validation": "0a11d0000000"},
        "metrics": {"validMse": value, "validMae": value * 40} if succeeded else {},
        "seconds": Seconds(start=0.05 * seconds, data=0.1 * seconds, train=0.8 * seconds, total=seconds),
        "memory": (Memory(peak_bytes=412 * 2**20, mean_bytes=400 * 2**20),) * trial.workers,
        "samples": 860,
        "epochs": trial.training.train.epochs,
        "environment": Environment(packages={"python": "3.12.3", "torch": "2.10.0"}, cpu="A CPU", threads=1),
        "accepted_at": START,
        "started_at": began,
        "finished_at": began + round(seconds * 1000),
    }
    return Record(**(whole | fields))


def four(**spec: Any) -> Experiment:
    """A search of four trials; keywords replace fields of its spec."""
    return an_experiment(**({"parameters": [{"name": "model.layers", "choices": [1, 2, 3, 4]}]} | spec))


def ran(start: float, end: float, *, trial: int = 0, accepted: float = 0, **fields: Any) -> Record:
    """The record of the trial of `four` with this index; all times in seconds after START."""
    at = {"started_at": start, "finished_at": end, "accepted_at": accepted}
    times = {name: START + round(1000 * seconds) for name, seconds in at.items()}
    return a_record(_trials_of_four()[trial], **{"seconds": end - start, **times, **fields})


@cache
def _trials_of_four() -> tuple[Trial, ...]:
    return tuple(expand(four()))
