"""What is valid and yet not what its author means: refused in a new experiment, warned of in an accepted one. Pure.

An experiment that runs already, or of which there are records, goes on.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.expand import Trial, canonical
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.experiment.training import Training

_MOST_POINTS = 3


@dataclass(frozen=True)
class Effect:
    """When a field of `training` makes a difference to what a trial of so many workers trains, and why not else."""

    when: Callable[[Training, int], bool]
    else_why: str


def _source(*names: str) -> Callable[[Training, int], bool]:
    return lambda training, _: training.data.source in names


def _only(*names: str) -> Effect:
    return Effect(
        _source(*names), f"only data.source {' and '.join(names)} {'reads' if len(names) == 1 else 'read'} it"
    )


_KAFKA = ("brokers", "topic", "ranges", "format", "compression", "split", "checksum", "warmupMessages",
          "timeoutSeconds", "message", "export", "client", "clientSecrets")  # fmt: skip
# Every field that is without effect under some condition. A test holds each against the trainer.
EFFECTS: Mapping[str, Effect] = {
    "data.path": _only("csv", "parquet", "npz"),
    "data.tickers": _only("yfinance", "csv", "parquet"),
    "data.period": _only("sp500", "yfinance"),
    "data.interval": _only("yfinance"),
    "data.rows": _only("synthetic"),
    "data.seed": _only("synthetic"),
    "data.target": _only("sp500", "yfinance", "csv", "parquet", "synthetic"),
    "data.testFraction": _only("sp500", "yfinance", "csv", "parquet", "synthetic", "kafka"),
    **{f"data.{name}": _only("kafka") for name in _KAFKA},
    "data.classes": Effect(
        lambda training, _: training.data.task == "Classification", "only data.task Classification has classes"
    ),
    "model.heads": Effect(
        lambda training, _: training.model.kind == "Transformer", "only model.kind Transformer has heads"
    ),
    "train.momentum": Effect(
        lambda training, _: training.train.optimizer == "SGD", "only train.optimizer SGD has momentum"
    ),
    "train.batchPer": Effect(lambda _, workers: workers > 1, "with one worker both are the same"),
    "train.learningRateScaling": Effect(lambda _, workers: workers > 1, "with one worker there is nothing to scale"),
    "evaluate.threshold": Effect(
        lambda training, _: training.data.task == "Classification" and training.data.classes == 2,
        "only Classification with two classes has a threshold",
    ),
}


def doubts(experiment: Experiment, trials: Sequence[Trial]) -> list[str]:
    """The sentences, each `<yaml path>: <what, and what to do>`; `trials` are the experiment's."""
    return [*_spelling(experiment), *_objective(experiment), *_columns(experiment), *_parameters(experiment, trials)]


def require_sound(experiment: Experiment, trials: Sequence[Trial]) -> None:
    """Raises InvalidExperiment where there is a doubt."""
    if found := doubts(experiment, trials):
        raise InvalidExperiment(found)


def _objective(experiment: Experiment) -> Iterator[str]:
    """A direction against the metric's nature makes the worst trial the best."""
    if not isinstance(experiment, HyperparamSearch):
        return
    objective = experiment.spec.objective
    better = OBJECTIVES[objective.metric].better
    if objective.direction not in (None, better):
        yield (
            f"spec.objective.direction: must be {better} for {objective.metric}, got {objective.direction}, by which "
            "the worst trial would be the best; leave it out"
        )


def _spelling(experiment: Experiment) -> Iterator[str]:
    """Another spelling of a path is another trial, whose results stand apart."""
    given = [("spec.training.data.path", experiment.spec.training.data.path)]
    for i, parameter in enumerate(experiment.spec.parameters if isinstance(experiment, HyperparamSearch) else ()):
        if parameter.name == "data.path":
            choices = enumerate(parameter.choices or ())
            given += [(f"spec.parameters[{i}].choices[{j}]", str(each)) for j, each in choices]
    for where, path in given:
        if path is not None and path != (plain := posixpath.normpath(path)):
            yield f"{where}: must be written as {plain}, got {path}; another spelling gives trials other ids"


def _columns(experiment: Experiment) -> Iterator[str]:
    columns = experiment.spec.training.data.columns
    for name in dict.fromkeys(name for name in columns if columns.count(name) > 1):
        yield f"spec.training.data.columns: must name a column once, got {name} {columns.count(name)} times"


def _parameters(experiment: Experiment, trials: Sequence[Trial]) -> Iterator[str]:
    """Parameters without effect, and points that are the same training."""
    if not isinstance(experiment, HyperparamSearch):
        return
    names = [parameter.name for parameter in experiment.spec.parameters]
    useless = {
        name: effect
        for name in names
        if (effect := EFFECTS.get(name)) is not None
        and not any(effect.when(trial.training, trial.workers) for trial in trials)
    }
    for name, effect in useless.items():
        yield (
            f"spec.parameters[{names.index(name)}]: must make a difference, but {name} makes none here: "
            f"{effect.else_why}; leave the parameter out"
        )
    if not useless:
        yield from _same_training(experiment, trials)


def _same_training(experiment: HyperparamSearch, trials: Sequence[Trial]) -> Iterator[str]:
    first: dict[str, Trial] = {}
    same: list[tuple[Trial, Trial]] = []
    for trial in trials:
        other = first.setdefault(_what_is_trained(trial), trial)
        if other.point != trial.point:
            same.append((other, trial))
    if not same:
        return
    differing = [
        name for name in trials[0].parameters if any(a.parameters[name] != b.parameters[name] for a, b in same)
    ]
    if differing == ["train.seed"]:
        yield (
            f"spec.repeats: must be 1 where train.seed is a parameter, got {experiment.spec.repeats}: repeat r of a "
            f"seed trains with seed + r, so {len(same)} of {len(trials)} trials are the same training as another, "
            "and statistics would take them for independent; leave out the parameter, or the repeats"
        )
        return
    reasons = "; ".join(
        f"{name} makes no difference there, as {EFFECTS[name].else_why}" if name in EFFECTS else f"{name} is the same"
        for name in differing
    )
    pairs = ", ".join(f"{b.index} as {a.index}" for a, b in same[:_MOST_POINTS])
    more = "" if len(same) <= _MOST_POINTS else f" and {len(same) - _MOST_POINTS} more"
    yield (
        f"spec.parameters: must make points that differ, but {len(same)} of {len(trials)} trials are the same "
        f"training as another (trial {pairs}{more}): {reasons}. Search them in files of their own, or leave out what "
        "makes no difference"
    )


def _what_is_trained(trial: Trial) -> str:
    """A training in one spelling, without the fields that make no difference to it."""
    document: dict[str, Any] = trial.training.document(sparse=True)
    for path, effect in EFFECTS.items():
        section, _, name = path.partition(".")
        if name in document.get(section, {}) and not effect.when(trial.training, trial.workers):
            del document[section][name]
    if "path" in document.get("data", {}):
        document["data"]["path"] = posixpath.normpath(document["data"]["path"])
    return canonical([{name: fields for name, fields in document.items() if fields}, trial.workers])
