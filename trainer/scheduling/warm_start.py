"""Lessons of an earlier search for one that learns: of its trials those that this one could have run itself. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from trainer.experiment.best import direction
from trainer.experiment.comparable import Contents, contents
from trainer.experiment.entries import Entries
from trainer.experiment.errors import InvalidExperiment, UserError
from trainer.experiment.expand import Trial, TrialMaker, by_point
from trainer.experiment.program import find
from trainer.experiment.record import Record, latest
from trainer.experiment.space import Point, arranged, counts, holds
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.experiment.training import Training
from trainer.scheduling.lessons import Lesson, lesson


def lessons_of(
    source: str,
    before: Experiment,
    entries: Entries,
    search: HyperparamSearch,
    found: Contents = MappingProxyType({}),
) -> tuple[list[Lesson], str]:
    """What an earlier search teaches this one, whose data is as `found`; and a sentence about it.

    `source` is what the earlier one is called.

    Raises:
        UserError: it has another objective or other data, or none of its trials is one of this space.
    """
    if not isinstance(before, HyperparamSearch):
        raise UserError(f"spec.warmStart: must name a HyperparamSearch, got the ScaleTest {source}")
    theirs, ours = _objective(before), _objective(search)
    if theirs != ours:
        raise UserError(f"spec.warmStart: must name a search with the objective {ours}, got {source} with {theirs}")
    trials, counted = entries.trials(before), latest(entries.records)
    verified = _require_same_data(source, trials, entries.records, found)
    lessons, make = list[Lesson](), TrialMaker(search)
    points = [repeats for repeats in by_point(trials).values() if repeats[0].id in counted]
    for repeats in points:
        point = _in_space(search, repeats[0])
        if point is None or not _is(make, search, point, repeats[0]):
            continue
        told = lesson(len(lessons), repeats, counted, search.spec.objective, search.spec.constraints)
        if not told.running:
            lessons.append(replace(told, parameters=point))
    if not lessons:
        raise UserError(
            f"spec.warmStart: must name a search some of whose trials are trainings of this one's space, and of the "
            f"{len(points)} points of {source} none is: compare spec.parameters, spec.training or spec.program, and "
            "spec.workers"
        )
    unverified = "" if verified else "; the data of both is unverified, as records don't tell it"
    return lessons, f"begins with what {len(lessons)} of {len(points)} points of {source} came to{unverified}"


def _objective(search: HyperparamSearch) -> str:
    objective = search.spec.objective
    return f"{direction(objective)} {objective.metric}"


def _require_same_data(source: str, trials: Sequence[Trial], records: Sequence[Record], found: Contents) -> bool:
    """Whether both tell what they rest on. Raises UserError where it is not the same."""
    by_id = {trial.id: trial for trial in trials}
    theirs = contents((by_id[record.id], record) for record in records if record.id in by_id)
    both = theirs.keys() & found.keys()
    for key in sorted(both):
        if theirs[key] != found[key]:
            raise UserError(
                f"spec.warmStart: must name a search of the same {key[0]}, got {source} with content {theirs[key]}, "
                f"and this one has {found[key]}"
            )
    return bool(both)


def _in_space(search: HyperparamSearch, trial: Trial) -> Point | None:
    """The point of this search's space at which a trial of another lies; None outside."""
    point: Point = {}
    for parameter in search.spec.parameters:
        if not counts(parameter, point):
            continue
        try:
            value = _value(trial, parameter.name)
        except KeyError:
            return None
        if not holds(search.spec, parameter, value):
            return None
        point[parameter.name] = value
    return arranged(search.spec, point)


def _value(trial: Trial, name: str) -> Any:
    """What a trial had as a parameter of that name, varied or not."""
    if name in trial.parameters:
        return trial.parameters[name]
    return find(trial.runs.document() if isinstance(trial.runs, Training) else trial.runs.settings, name)


def _is(make: TrialMaker, search: HyperparamSearch, point: Point, trial: Trial) -> bool:
    """Whether this search would run the very same trial at a point."""
    try:
        return make.trials(0, point, search.spec.workers)[0].id == trial.id
    except InvalidExperiment:
        return False
