"""What a ledger says: counts, best, time, and what a baseline makes of it. Pure; status and report both show it.

Only what was measured is computed. Anything that can't be is None, never a guess.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from trainer.experiment.baseline import figures, rests_on
from trainer.experiment.best import Best, Leading, Naive, Ranked, Ranking, rank
from trainer.experiment.bounds import Budget
from trainer.experiment.budget import Spending
from trainer.experiment.caveats import budget_used_up, caveats
from trainer.experiment.comparable import comparable, contents
from trainer.experiment.comparison import Comparison, compare, differing_digests, remark
from trainer.experiment.cost import worker_hour
from trainer.experiment.expand import Trial
from trainer.experiment.learnt import MOST_IMPROVEMENTS, Improvement, course, importance
from trainer.experiment.outcome import LEFT_OUT, Outcome
from trainer.experiment.record import Record, Reported, RunFigures, latest
from trainer.experiment.rung import RungEntry
from trainer.experiment.saved import Saved, saved
from trainer.experiment.scaling import ScaleFigures, scale_figures
from trainer.experiment.spec import Experiment, HyperparamSearch, Scalar, ScaleTest
from trainer.experiment.timing import Timing, spent, timing

MOST_GROUPS = 16


class Counts(Reported):
    """How many trials. `done` = succeeded + failed + skipped + stopped; one that will be tried again is in none."""

    total: int = Field(description="All of them, those included that a learning search has yet to supply.")
    done: int = Field(description="Those done with; succeeded, failed, skipped and stopped ones.")
    succeeded: int = Field(description="Those that trained to the end.")
    failed: int = Field(description="Those that failed for good.")
    skipped: int = Field(description="Those not run, because a smaller one had shown that they would fail.")
    stopped: int = Field(0, description="Those stopped early, because they did worse than others at the same step.")
    outcomes: Annotated[dict[str, int], Field(max_length=32)] = Field(description="How many ended in which outcome.")


class Summary(Reported):
    """Everything that is computed from the records of one experiment."""

    experiment: str = Field(description="The experiment's name.")
    kind: str = Field(description="Its kind.")
    state: Literal["Incomplete", "Succeeded", "Failed"] = Field(
        description="Incomplete while trials are missing, unless its budget has ended a search."
    )
    counts: Counts = Field(description="How many trials.")
    success_rate: float | None = Field(
        description="Succeeded trials as a share of those that ran; null when none did."
    )
    best: Best | None = Field(
        description="The point with the best mean over its repeats, all of which succeeded; null when there is none."
    )
    naive: Naive | None = Field(
        None, description="What a prediction gets that has learnt nothing; null where it was not measured."
    )
    groups: Annotated[tuple[Ranked, ...], Field(max_length=MOST_GROUPS)] = Field(
        (),
        description="Where trials were validated on different samples, those that can be ranked together, with the "
        "best of each; empty where all can. There is no best then.",
    )
    other_data: int = Field(
        0, description="How many trials trained on other data than the first, and are not ranked for that."
    )
    unverified: int = Field(0, description="How many ranked trials don't tell what data they trained on.")
    caveats: Annotated[tuple[str, ...], Field(max_length=16)] = Field(
        (), description="What has to be known beside the best, in sentences."
    )
    timing: Timing | None = Field(description="Where the time went, in seconds; null before a trial has run.")
    cost: float | None = Field(
        description="What was allocated to pods, by spec.prices; null without prices or without resources."
    )
    comparison: Comparison | None = Field(
        description="What running trials at once bought over one at a time; null without a measured baseline."
    )
    remark: str | None = Field(
        description="What ate the gain, in a sentence with the measured figures; null where nothing did."
    )
    scale: ScaleFigures | None = Field(description="What a scale test measured of its cells; null for a search.")
    ended_by: str | None = Field(
        None, description="What of spec.budget has ended the search, in a sentence; null where nothing has."
    )
    leaders: Annotated[tuple[Leading, ...], Field(max_length=16)] = Field(
        (), description="The five best points, the best first; empty where there is no best of all."
    )
    course: Annotated[tuple[Improvement, ...], Field(max_length=MOST_IMPROVEMENTS)] = Field(
        (), description="How the best improved, point by point as they ended; of many some between are left out."
    )
    importance: Annotated[dict[str, float], Field(max_length=32)] = Field(
        default_factory=dict,
        description="How much each parameter set the best tenth of the points apart from all, as shares of 1, by "
        "path (PED-ANOVA); empty where too few points were measured.",
    )
    saved: Saved | None = Field(
        None, description="What stopping trials early saved; null where none was, or none tells its steps."
    )


def summarize(
    experiment: Experiment,
    trials: Sequence[Trial],
    records: Iterable[Record],
    baseline: RunFigures | None = None,
    baseline_rests_on: Mapping[str, Scalar] = {},
    *,
    planned: int | None = None,
    rungs: Sequence[RungEntry] = (),
) -> Summary:
    """The summary of `records`, of which only those of `trials` count, beside the figures of a baseline.

    What the baseline rests on is as `baseline.rests_on` tells it. `planned` are the points that a learning search is
    to have, None for those that there are; `rungs` the rung entries of its ledger.
    """
    attempts = _of(trials, records)
    counted = latest(attempts)
    counts = _counts(trials, counted, (planned or 0) * experiment.spec.repeats)
    ended = counts.succeeded + counts.failed
    times, rate = timing(attempts, counted), worker_hour(experiment)
    ranking = _ranking(experiment, trials, attempts, counted)
    ended_by = _ended_by(experiment, trials, attempts)
    compared = None
    if baseline is not None and (ours := figures(experiment, trials, attempts)) is not None:
        data: tuple[str, ...] = ()
        if baseline_rests_on and ours.digest == baseline.digest:
            data = tuple(differing_digests(rests_on(experiment, trials, attempts), baseline_rests_on))
        compared = compare(ours, baseline, rate, data)
    return Summary(
        experiment=experiment.name,
        kind=experiment.kind,
        state=_state(experiment, counts, ended_by),
        counts=counts,
        success_rate=counts.succeeded / ended if ended else None,
        best=ranking.best,
        naive=ranking.groups[0].naive if len(ranking.groups) == 1 else None,
        groups=ranking.groups[:MOST_GROUPS] if len(ranking.groups) > 1 else (),
        other_data=len(ranking.other),
        unverified=ranking.unverified,
        caveats=(*_budget(experiment, counts), *caveats(experiment, ranking)),
        timing=times,
        cost=None if rate is None or times is None else rate * spent(attempts).total / 3600,
        comparison=compared,
        remark=remark(times, compared, on_cluster=experiment.metadata.uid is not None),
        scale=scale_figures(_without(trials, ranking.other), counted) if isinstance(experiment, ScaleTest) else None,
        ended_by=ended_by,
        saved=saved(trials, counted, rungs, rate),
        **_learnt(experiment, trials, attempts, counted, ranking),
    )


def _ranking(
    experiment: Experiment, trials: Sequence[Trial], attempts: Sequence[Record], counted: Mapping[str, Record]
) -> Ranking:
    """A search's points in order; of a scale test only which cells can't be compared with the others."""
    by_id = {trial.id: trial for trial in trials}
    first = contents((by_id[record.id], record) for record in attempts)
    if isinstance(experiment, HyperparamSearch):
        return rank(experiment.spec.objective, trials, counted, first, experiment.spec.constraints)
    succeeded = {identity: record for identity, record in counted.items() if record.outcome is Outcome.SUCCEEDED}
    found = comparable("trainSeconds", trials, succeeded, first)
    return Ranking((), found.other, found.unverified)


def _learnt(
    experiment: Experiment,
    trials: Sequence[Trial],
    attempts: Sequence[Record],
    counted: Mapping[str, Record],
    ranking: Ranking,
) -> dict[str, Any]:
    """What a search has come to know, where its points can be ranked together."""
    points = ranking.points
    if points is None or not isinstance(experiment, HyperparamSearch):
        return {}
    return {
        "leaders": points.leaders(),
        "course": course(trials, attempts, counted, points),
        "importance": importance(experiment.spec, points),
    }


def _ended_by(experiment: Experiment, trials: Sequence[Trial], attempts: Sequence[Record]) -> str | None:
    """What of its budget has ended a search, by what its records say."""
    if not isinstance(experiment, HyperparamSearch) or experiment.spec.budget == Budget():
        return None
    spending, by_id = Spending(experiment), {trial.id: trial for trial in trials}
    for record in attempts:
        spending.add(by_id[record.id], record)
    ended = spending.ended()
    return None if ended is None else ended.sentence


def _without(trials: Sequence[Trial], left_out: Sequence[Trial]) -> Sequence[Trial]:
    names = {trial.id for trial in left_out}
    return [trial for trial in trials if trial.id not in names] if names else trials


def _of(trials: Sequence[Trial], records: Iterable[Record]) -> list[Record]:
    wanted = {trial.id for trial in trials}
    return [record for record in records if record.id in wanted]


def _counts(trials: Sequence[Trial], counted: dict[str, Record], planned: int) -> Counts:
    final = [record for record in counted.values() if record.final]
    outcomes = Counter([str(record.outcome) for record in final])
    succeeded = outcomes[Outcome.SUCCEEDED]
    return Counts(
        total=max(len(trials), planned),
        done=len(final),
        succeeded=succeeded,
        failed=len(final) - succeeded - sum(outcomes[left_out] for left_out in LEFT_OUT),
        skipped=outcomes[Outcome.SKIPPED],
        stopped=outcomes[Outcome.STOPPED],
        outcomes=dict(sorted(outcomes.items())),
    )


def _budget(experiment: Experiment, counts: Counts) -> Iterator[str]:
    if isinstance(experiment, HyperparamSearch) and counts.failed > experiment.spec.max_failed_trials:
        yield budget_used_up(experiment, counts.failed, counts.total - counts.done)


def _state(
    experiment: Experiment, counts: Counts, ended_by: str | None
) -> Literal["Incomplete", "Succeeded", "Failed"]:
    # A scale test is there to find where trials fail; a search has a budget for it.
    if isinstance(experiment, HyperparamSearch) and counts.failed > experiment.spec.max_failed_trials:
        return "Failed"
    if counts.done < counts.total and ended_by is None:
        return "Incomplete"
    return "Succeeded" if counts.succeeded else "Failed"
