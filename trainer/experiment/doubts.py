"""What is valid and yet not what its author means: refused in a new experiment, warned of in an accepted one. Pure.

An experiment that runs already, or of which there are records, goes on.
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from trainer.experiment import pod_rules
from trainer.experiment.bounds import PEAK_MEMORY
from trainer.experiment.error_messages import show
from trainer.experiment.expand import Trial, canonical
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.experiment.training import Training

_MOST_POINTS = 3


class Case(NamedTuple):
    """What decides whether a field makes a difference.

    `metric` is the objective's, "" of a scale test; `constrained` are those that constraints are on.
    """

    training: Training
    workers: int
    metric: str
    constrained: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that is compared of trials."""
        return (self.metric, *self.constrained)


class Effect(NamedTuple):
    """When a field of `training` makes a difference, and why not else."""

    when: Callable[[Case], bool]
    else_why: str


class Meaning(NamedTuple):
    """What the trainer takes a field for, so that some values of it are the same training, and why."""

    value: Callable[[Case], Any]
    why: str


_ROWS = ("sp500", "yfinance", "csv", "parquet", "synthetic")  # sources that windows are cut from
_KAFKA = ("brokers", "topic", "ranges", "format", "compression", "split", "checksum", "warmupMessages",
          "timeoutSeconds", "message", "export", "client", "clientSecrets")  # fmt: skip


def _only(*sources: str) -> Effect:
    listed = " and ".join([", ".join(sources[:-1]), sources[-1]] if len(sources) > 1 else sources)
    return Effect(
        lambda case: case.training.data.source in sources,
        f"only data.source {listed} {'reads' if len(sources) == 1 else 'read'} it",
    )


def _is_split(case: Case) -> bool:
    return case.training.data.source == "kafka" and bool(case.training.data.split)


def _times(case: Case) -> bool:
    return any(metric.endswith("Seconds") for metric in case.metrics)


# Every field that no trial reads under some condition. A test holds each row against the trainer.
EFFECTS: Mapping[str, Effect] = {
    "data.path": _only("csv", "parquet", "npz"),
    "data.tickers": _only("yfinance", "csv", "parquet"),
    "data.period": _only("sp500", "yfinance"),
    "data.interval": _only("yfinance"),
    "data.rows": _only("synthetic"),
    "data.seed": _only("synthetic"),
    "data.target": _only(*_ROWS),
    **{f"data.{name}": _only("kafka") for name in _KAFKA},
    "data.lookback": Effect(
        lambda case: case.training.data.valid_fraction > 0 or case.training.data.test_fraction > 0,
        "there is neither a validation nor a test part that could look back",
    ),
    "data.classes": Effect(
        lambda case: case.training.data.task == "Classification", "only data.task Classification has classes"
    ),
    "data.validFraction": Effect(lambda case: not _is_split(case), "data.split says which messages are which part"),
    "data.testFraction": Effect(
        lambda case: case.training.data.source != "npz" and not _is_split(case),
        "an npz file and data.split say themselves which samples are for the test",
    ),
    "model.heads": Effect(
        # Attention to a single row is that row, however many heads share it; dropout draws for each head.
        lambda case: (
            case.training.model.kind == "Transformer"
            and (case.training.data.window > 1 or case.training.model.dropout > 0)
        ),
        "only model.kind Transformer has heads, which share out the rows of a window of several",
    ),
    "train.momentum": Effect(
        lambda case: case.training.train.optimizer == "SGD", "only train.optimizer SGD has momentum"
    ),
    "train.batchPer": Effect(lambda case: case.workers > 1, "with one worker both are the same"),
    "train.learningRateScaling": Effect(lambda case: case.workers > 1, "with one worker there is nothing to scale"),
    "evaluate.threshold": Effect(
        lambda case: case.training.data.task == "Classification" and case.training.data.classes == 2,
        "only Classification with two classes has a threshold",
    ),
}
# Fields that do their work, and change no figure that is compared. Not train.threads and train.device, by which
# figures may differ in rounding.
COMPARED: Mapping[str, Effect] = {
    "evaluate.threshold": Effect(
        lambda case: not {"validAccuracy", "validF1"}.isdisjoint(case.metrics),
        "of what an objective can name it changes validAccuracy and validF1 alone",
    ),
    "data.residency": Effect(
        lambda case: _times(case) or PEAK_MEMORY in case.metrics,
        "it changes times and memory, and no metric of what is trained",
    ),
    "train.checkpointEvery": Effect(_times, "it changes times, and no metric of what is trained"),
    "data.warmupMessages": Effect(_times, "it changes times, and no metric of what is trained"),
    "data.timeoutSeconds": Effect(lambda _: False, "it only says when reading has failed"),
    "data.checksum": Effect(lambda _: False, "it only says which samples are the right ones"),
    "data.compression": Effect(
        lambda case: "{compression}" in (case.training.data.topic or ""),
        "messages are read as they are; only {compression} in data.topic would choose others",
    ),
}
_BATCH_WHY = "with batchPer Worker a step has batchSize times the workers"
_RATE_WHY = "learningRateScaling Linear multiplies learningRate by the workers"
# Fields some of whose values are the same training, by what the trainer takes them for.
MEANINGS: Mapping[str, Meaning] = {
    "data.path": Meaning(
        lambda case: _plain_path(case.training.data.path or ""), "the values are spellings of one path"
    ),
    "data.period": Meaning(
        lambda case: _plain_period(case.training.data.period), "12mo is spelled 1y as well, and 7d 1wk"
    ),
    "data.topic": Meaning(
        lambda case: case.training.data.topic_name, "{format} and {compression} in it stand for those fields"
    ),
    "data.predict": Meaning(
        lambda case: "Return" if _by_sign(case) else case.training.data.predict,
        "two classes are told by the sign, which a Return and a Difference share",
    ),
    "train.optimizer": Meaning(
        lambda case: (
            "Adam"
            if case.training.train.optimizer == "AdamW" and not case.training.train.weight_decay
            else case.training.train.optimizer
        ),
        "AdamW with train.weightDecay 0 is Adam",
    ),
    "train.patience": Meaning(
        # The first epoch is always the best so far, and after the last nothing is stopped.
        lambda case: (
            0 if case.training.train.patience >= case.training.train.epochs - 1 else case.training.train.patience
        ),
        "train.epochs are over before that many have passed without a better one, so it never stops anything",
    ),
    "train.batchSize": Meaning(
        lambda case: (
            case.training.train.batch_size * (case.workers if case.training.train.batch_per == "Worker" else 1)
        ),
        _BATCH_WHY,
    ),
    "train.batchPer": Meaning(lambda _: None, _BATCH_WHY),
    "train.learningRate": Meaning(
        lambda case: (
            case.training.train.learning_rate
            * (case.workers if case.training.train.learning_rate_scaling == "Linear" else 1)
        ),
        _RATE_WHY,
    ),
    "train.learningRateScaling": Meaning(lambda _: None, _RATE_WHY),
}
_SEED = "train.seed"
_SEED_WHY = "repeat r of a seed trains with seed + r"


def _by_sign(case: Case) -> bool:
    data = case.training.data
    return data.task == "Classification" and data.classes == 2 and data.predict == "Difference"


def _plain_path(path: str) -> str:
    plain = posixpath.normpath(path)
    return plain[1:] if plain.startswith("//") else plain  # two slashes at the start are one everywhere but in POSIX


def _plain_period(period: str) -> str:
    if (found := re.fullmatch("([0-9]+)(y|wk)", period)) is None:
        return period
    return f"{12 * int(found[1])}mo" if found[2] == "y" else f"{7 * int(found[1])}d"


def why_without_effect(path: str, case: Case) -> str | None:
    """Why a field makes no difference to what is compared; None where it may."""
    rows = (EFFECTS.get(path), COMPARED.get(path))
    return next((row.else_why for row in rows if row is not None and not row.when(case)), None)


def doubts(experiment: Experiment, trials: Sequence[Trial]) -> list[str]:
    """The sentences, each `<yaml path>: <what, and what to do>`.

    `trials` are the experiment's; of a learning search, such as it may come to have.
    """
    found = [*_objective(experiment), *pod_rules.refusals(experiment)]
    if experiment.spec.program is None:
        found += [*_spelling(experiment), *_columns(experiment), *_parameters(experiment, trials)]
    return found


def ignored(experiment: Experiment, trials: Sequence[Trial]) -> list[str]:
    """What `training` gives and no trial reads, a sentence each. That harms nothing, so it is only ever warned of."""
    if experiment.spec.program is not None:
        return []
    varied = {name for trial in trials for name in trial.parameters}
    return [
        f"spec.training.{section}.{name}: is without effect, got {show(value)}: {EFFECTS[path].else_why}"
        for section, fields in experiment.spec.training.document(sparse=True).items()
        for name, value in fields.items()
        if (path := f"{section}.{name}") in EFFECTS
        and path not in varied
        and not any(EFFECTS[path].when(_case(experiment, trial)) for trial in trials)
    ]


def _case(experiment: Experiment, trial: Trial) -> Case:
    if not isinstance(experiment, HyperparamSearch):
        return Case(trial.training, trial.workers, "")
    constrained = tuple(constraint.metric for constraint in experiment.spec.constraints)
    return Case(trial.training, trial.workers, experiment.spec.objective.metric, constrained)


def _objective(experiment: Experiment) -> Iterator[str]:
    """A direction against the metric's nature makes the worst trial the best."""
    if not isinstance(experiment, HyperparamSearch):
        return
    objective = experiment.spec.objective
    known = OBJECTIVES.get(objective.metric)
    if known is not None and objective.direction not in (None, better := known.better):
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
        if path is not None and path != (plain := _plain_path(path)):
            yield f"{where}: must be written as {plain}, got {path}; another spelling gives trials other ids"


def _columns(experiment: Experiment) -> Iterator[str]:
    columns = experiment.spec.training.data.columns
    for name in dict.fromkeys(name for name in columns if columns.count(name) > 1):
        yield f"spec.training.data.columns: must name a column once, got {name} {columns.count(name)} times"


def _parameters(experiment: Experiment, trials: Sequence[Trial]) -> Iterator[str]:
    """Parameters without effect, and points that are the same training."""
    if not isinstance(experiment, HyperparamSearch) or not trials:
        return
    useless = False
    for i, parameter in enumerate(experiment.spec.parameters):
        reasons: dict[str, None] = {}
        for trial in trials:
            if (why := why_without_effect(parameter.name, _case(experiment, trial))) is None:
                break
            reasons[why] = None
        else:
            useless = True
            yield (
                f"spec.parameters[{i}]: must make a difference, but {parameter.name} makes none here: "
                f"{'; '.join(reasons)}; leave the parameter out"
            )
    if not useless:
        yield from _same_training(experiment, trials)


def _same_training(experiment: HyperparamSearch, trials: Sequence[Trial]) -> Iterator[str]:
    first: dict[str, Trial] = {}
    same: list[tuple[Trial, Trial]] = []
    for trial in trials:
        other = first.setdefault(_what_is_trained(experiment, trial), trial)
        if other.point != trial.point:
            same.append((other, trial))
    if not same:
        return
    reasons: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for trial in trials for name in trial.parameters):
        if (why := _why_alike(experiment, name, same)) is not None:
            reasons.setdefault(why, []).append(name)
    if all(a.parameters == b.parameters | {_SEED: a.parameters.get(_SEED)} for a, b in same):
        yield (
            f"spec.repeats: must be 1 where train.seed is a parameter, got {experiment.spec.repeats}: {_SEED_WHY}, "
            f"so {len(same)} of {len(trials)} trials are the same training as another, and statistics would take "
            "them for independent; leave out the parameter, or the repeats"
        )
        return
    pairs = ", ".join(f"{b.index} as {a.index}" for a, b in same[:_MOST_POINTS])
    more = "" if len(same) <= _MOST_POINTS else f" and {len(same) - _MOST_POINTS} more"
    told = [
        f"{' and '.join(names)} {'makes' if len(names) == 1 else 'make'} no difference there, as {why}"
        for why, names in reasons.items()
    ]
    are = f"trials are the same training as another (trial {pairs}{more})"
    if experiment.spec.algorithm == "TPE":  # whose trials have no numbers yet
        are = "trials drawn at random are the same training as another"
    yield (
        f"spec.parameters: must make points that differ, but {len(same)} of {len(trials)} {are}: {'; '.join(told)}. "
        "Search them in files of their own, or leave out what makes no difference"
    )


def _why_alike(experiment: HyperparamSearch, name: str, same: Sequence[tuple[Trial, Trial]]) -> str | None:
    """Why a parameter keeps no pair apart; None where it is the same in each."""
    pair = next(((a, b) for a, b in same if a.parameters.get(name) != b.parameters.get(name)), None)
    if pair is None:
        return None
    if name == _SEED:
        return _SEED_WHY
    reasons = (why_without_effect(name, _case(experiment, trial)) for trial in pair)
    return next((why for why in reasons if why is not None), None) or MEANINGS[name].why


def _what_is_trained(experiment: HyperparamSearch, trial: Trial) -> str:
    """A training in one spelling, without the fields that make no difference to what is compared."""
    case = _case(experiment, trial)
    document: dict[str, dict[str, Any]] = trial.training.document(sparse=True)
    for path, meaning in MEANINGS.items():
        section, _, name = path.partition(".")
        document.setdefault(section, {})[name] = meaning.value(case)
    matters = {
        section: {
            name: value for name, value in fields.items() if why_without_effect(f"{section}.{name}", case) is None
        }
        for section, fields in document.items()
    }
    return canonical([{section: fields for section, fields in matters.items() if fields}, trial.workers])
