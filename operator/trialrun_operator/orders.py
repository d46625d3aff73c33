"""What a pod is told: one JSON text in one environment variable, and what is run with it. Pure."""

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.experiment.expand import Kind, Trial
from trainer.experiment.space import Point
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.workload import Workload, one_at_a_time

TRIAL_VARIABLE = "TRIALRUN_TRIAL"
BASELINE_VARIABLE = "TRIALRUN_BASELINE"

Document = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What a container is to do: a command of the trainer, and the variable that it is told by."""

    command: str
    variable: str
    text: str


def order(work: Workload, uid: str, trial: Trial, attempt: int, ran: Container[str] | None) -> Order:
    """The order of an attempt. `ran` are the ids of trials that a baseline runs again, None for all."""
    if isinstance(work.experiment, HyperparamSearch) and trial.kind is Kind.BASELINE:
        only = None if ran is None else [each.index for each in work.trials if each.id in ran]
        if only is not None and len(only) == len(work.trials):
            only = None
        told = baseline_document(work.experiment, uid, attempt, suggested_points(work), only)
        return Order("baseline", BASELINE_VARIABLE, told)
    return Order("pod", TRIAL_VARIABLE, trial_document(work, uid, trial, attempt))


def baseline_document(
    search: HyperparamSearch,
    uid: str,
    attempt: int,
    suggested: Sequence[Point] = (),
    only: Sequence[int] | None = None,
) -> str:
    """The one thing a baseline's pod is told: the search as one worker at a time trains it.

    `suggested` are the points of one that learns, and `only` the indices of the trials to run, None for all.
    """
    document = one_at_a_time(search).document(sparse=True)
    for name in ("pod", "prices", "baseline"):  # which are for the cluster only, and may be long
        document["spec"].pop(name, None)
    told: Document = {"uid": uid, "attempt": attempt, "search": document}
    if suggested:
        told["suggested"] = list(suggested)
    if only is not None:
        told["only"] = list(only)
    return _json(told)


def baseline_bytes(work: Workload) -> int:
    """How long what a baseline's pod is told is at most, but for the UID and the attempt."""
    search = work.experiment
    assert isinstance(search, HyperparamSearch), "a scale test has no baseline"  # noqa: S101
    suggested = suggested_points(work)
    only = [each.index for each in work.trials] if suggested else None
    return len(baseline_document(search, "", 0, suggested, only).encode())


def suggested_points(work: Workload) -> list[Point]:
    """The points of a search that learns, but for those that its file gives."""
    if work.points is None or not isinstance(work.experiment, HyperparamSearch):
        return []
    first = len(work.experiment.spec.points)
    return [trials[0].parameters for number, trials in sorted(work.by_point.items()) if number >= first]


def trial_document(work: Workload, uid: str, trial: Trial, attempt: int) -> str:
    """The one thing a trial's pod is told: JSON with everything that its training and its report need."""
    return _json(
        {
            "experiment": work.experiment.name,
            "uid": uid,
            "kind": work.experiment.kind,
            "id": trial.id,
            "index": trial.index,
            "parameters": trial.parameters,
            "repeat": trial.repeat,
            "attempt": attempt,
            "workers": trial.workers,
            "metric": work.metric,
            "training": trial.training.portable(),
        }
    )


def _json(value: Document) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
