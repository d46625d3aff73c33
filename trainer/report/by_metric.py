"""A search ranked by another of the metrics that its trials recorded, as if that had been its objective. Pure."""

import re
from collections.abc import Iterator, Sequence

from trainer.experiment.best import direction as direction_of
from trainer.experiment.best import objective_value
from trainer.experiment.entries import Entries
from trainer.experiment.error_messages import nearest
from trainer.experiment.errors import UserError
from trainer.experiment.metrics import OBJECTIVES, Direction, better
from trainer.experiment.record import Record, latest
from trainer.experiment.spec import Experiment, HyperparamSearch, Objective
from trainer.experiment.summary import summarize
from trainer.report.results import Results

# What of a summary follows from the objective; all else stays as the search itself has it.
_OF_OBJECTIVE = (
    "best", "naive", "groups", "other_data", "unverified", "leaders", "course", "importance",
)  # fmt: skip


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
    """The name of the page, also where that of the metric has letters that a file's can't have."""
    return f"report-by-{re.sub(r'[^A-Za-z0-9._-]', '-', metric)[:100]}.html"


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
