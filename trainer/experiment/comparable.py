"""Which trials may be ranked together: those that trained on the same content and were validated alike. Pure.

A record tells both by hashes (`Record.evidence`), that of a program also its inputs and code. One without them, of
version 0.1 or of another trainer, is unverified: it counts as what its parameters say
(docs/decisions/0016-what-results-rest-on.md).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from trainer.experiment.expand import Trial
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import CODE, DATA, INPUTS, VALIDATION, Record
from trainer.experiment.spec import Scalar
from trainer.experiment.training import Training

# The fields of `data` that choose the content. Trials that agree in them must find the same.
_CHOOSE_CONTENT = (
    "source", "path", "tickers", "period", "interval", "rows", "seed", "brokers", "topic", "ranges", "format",
    "compression", "export",
)  # fmt: skip
# The fields of `data` that leave the validation targets as they are.
_LEAVE_VALIDATION = (
    "columns", "features", "normalize", "multiplier", "residency", "format", "compression", "warmupMessages",
    "timeoutSeconds",
)  # fmt: skip

# Varied fields by path, with a trial's values.
Fields = tuple[tuple[str, Scalar], ...]

CONTENT = (DATA, INPUTS, CODE)
# The content that each choice of it stands for: by the key that records have it under, and the fields that choose.
Contents = Mapping[tuple[str, Fields], Scalar]


@dataclass(frozen=True)
class Group:
    """Trials that were validated on the same samples. `fields` of `data` are varied, and have one value in it."""

    trials: tuple[Trial, ...]
    fields: Fields


@dataclass(frozen=True)
class Comparable:
    """The trials that measured a metric, by what they may be ranked with.

    `groups` stand in the listed order of their first trials. `other` have other content than the first record.
    `unverified` are how many trials of the groups don't tell their content.
    """

    groups: tuple[Group, ...]
    other: tuple[Trial, ...]
    unverified: int


def comparable(metric: str, trials: Sequence[Trial], measured: Mapping[str, Record], first: Contents) -> Comparable:
    """What `metric` may be compared between. `measured` has the records that have it; `first` is of `contents`."""
    same, other, unverified = [], [], 0
    for trial in trials:
        if (record := measured.get(trial.id)) is None:
            continue
        told = {key: record.evidence[key] for key in CONTENT if key in record.evidence}
        fields = content_fields(trial) if told else ()
        if any(first.get((key, fields), content) != content for key, content in told.items()):
            other.append(trial)
            continue
        unverified += DATA not in told and INPUTS not in told
        same.append(trial)
    groups = _by_validation(same, measured) if depends_on_validation(metric) else [same] if same else []
    return Comparable(tuple(Group(tuple(each), _shared(each)) for each in groups), tuple(other), unverified)


def depends_on_validation(metric: str) -> bool:
    """Whether a metric is measured on validation samples, unlike a time."""
    known = OBJECTIVES.get(metric)
    return known is None or known.task is not None


def contents(attempts: Iterable[tuple[Trial, Record]]) -> Contents:
    """The content that each choice of content stands for: that of the first record that tells it.

    A program that failed may have been mended since: of programs only what succeeded counts.
    """
    first: dict[tuple[str, Fields], tuple[int, Scalar]] = {}
    for trial, record in attempts:
        if not isinstance(trial.runs, Training) and record.outcome is not Outcome.SUCCEEDED:
            continue
        for key in CONTENT:
            if (content := record.evidence.get(key)) is None:
                continue
            chosen = key, content_fields(trial)
            known = first.get(chosen)
            if known is None or record.finished_at < known[0]:
                first[chosen] = record.finished_at, content
    return {chosen: content for chosen, (_, content) in first.items()}


def content_fields(trial: Trial) -> Fields:
    """The varied fields that choose a trial's content. Of a program nobody knows which do."""
    if not isinstance(trial.runs, Training):
        return ()
    return tuple(item for item in trial.parameters.items() if _chooses_content(item[0]))


def unlike(metric: str, one: tuple[Trial, Record], other: tuple[Trial, Record]) -> str | None:
    """Why `metric` can't be compared between two trials of different experiments; None where nothing speaks against.

    The text has no subject: "trained on other data". Content that was chosen otherwise is no reason by itself, as
    long as both were validated on the same samples. Neither is other code: it may be what is compared.
    """
    (trial, record), (against, theirs) = one, other
    told = [(record.evidence.get(key), theirs.evidence.get(key)) for key in (DATA, INPUTS, VALIDATION)]
    data, inputs, validation = ((a, b) if a is not None and b is not None else None for a, b in told)
    same_samples = validation is not None and validation[0] == validation[1]
    for content in (data, inputs):
        if content is None or content[0] == content[1]:
            continue
        if isinstance(trial.runs, Training) and isinstance(against.runs, Training):
            if _chosen(trial, _chooses_content) == _chosen(against, _chooses_content):
                return f"trained on other data, {content[0]} and {content[1]}, though both files name the same"
        elif not same_samples:
            return f"read other data, {content[0]} and {content[1]}"
    if not depends_on_validation(metric) or same_samples:
        return None
    if validation is not None:
        return f"were validated on other samples, {validation[0]} and {validation[1]}"
    if _chosen(trial, _decides_validation) != _chosen(against, _decides_validation):
        return "were validated on other samples by what their files say of data, and the records don't tell"
    return None


def _chosen(trial: Trial, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """The fields of a trial's data that are wanted; none of a program, of which nobody knows."""
    if not isinstance(trial.runs, Training):
        return {}
    return {name: value for name, value in trial.runs.data.document().items() if wanted(f"data.{name}")}


def _by_validation(trials: Sequence[Trial], measured: Mapping[str, Record]) -> list[list[Trial]]:
    """The trials by what they were validated on; an unverified one joins those whose parameters say the same."""
    verified = [trial for trial in trials if VALIDATION in measured[trial.id].evidence]
    told: dict[Fields, Scalar | Fields] = {}
    if len(verified) < len(trials):
        told = {_validation_fields(trial): measured[trial.id].evidence[VALIDATION] for trial in reversed(verified)}
    groups: dict[Scalar | Fields, list[Trial]] = {}
    for trial in trials:
        validation: Scalar | Fields | None = measured[trial.id].evidence.get(VALIDATION)
        if validation is None:
            fields = _validation_fields(trial)
            validation = told.get(fields, fields)
        groups.setdefault(validation, []).append(trial)
    return list(groups.values())


def _validation_fields(trial: Trial) -> Fields:
    if not isinstance(trial.runs, Training):
        return ()
    return tuple(item for item in trial.parameters.items() if _decides_validation(item[0]))


def _shared(trials: Sequence[Trial]) -> Fields:
    shared = set(_validation_fields(trials[0]))
    for trial in trials[1:]:
        if not shared:  # as where no such field is varied: thousands of trials need not be asked
            break
        shared.intersection_update(_validation_fields(trial))
    return tuple(item for item in trials[0].parameters.items() if item in shared)


@cache
def _chooses_content(path: str) -> bool:
    section, _, name = path.partition(".")
    return section == "data" and name in _CHOOSE_CONTENT


@cache
def _decides_validation(path: str) -> bool:
    section, _, name = path.partition(".")
    return section == "data" and name not in _LEAVE_VALIDATION
