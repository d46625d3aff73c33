"""How a search's baseline stands, in the words of the condition Comparable. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.experiment.baseline import figures, rests_on
from trainer.experiment.outcome import ADVICE
from trainer.experiment.record import DATA, VALIDATION, RunFigures, cut_error
from trainer.experiment.spec import Scalar
from trainer.experiment.summary import Summary
from trainer.scheduling.workload import BASELINE, Workload
from trialrun_operator import conditions as c
from trialrun_operator.baseline import MAX_ORDER_BYTES, BaselinePlan, Measured, too_long
from trialrun_operator.ledger import read
from trialrun_operator.names import imported_name, job_name
from trialrun_operator.plan import Plan

FILE = "results.jsonl"
Verdict = tuple[str, str, str]


@dataclass(frozen=True)
class Standing:
    """The figures to compare with or, without any, the condition that says why: status, reason and sentence.

    `rests_on` are hashes of what the baseline trained on and was validated on, as far as it tells them.
    """

    figures: RunFigures | None = None
    rests_on: Mapping[str, Scalar] = field(default_factory=dict)
    verdict: Verdict = ("False", c.NO_BASELINE, c.NO_BASELINE_MESSAGE)


NONE = Standing()


def measuring(
    work: Workload, search: Plan | None, plan: BaselinePlan, known: Sequence[Measured], problem: c.Problem | None
) -> Standing:
    """How a baseline stands that the operator measures."""
    if search is None or not search.over:
        return _waits("Unknown", c.BASELINE_PENDING, c.BASELINE_PENDING_MESSAGE)
    if not search.worthwhile:
        return _waits("False", c.SEARCH_FAILED, c.SEARCH_FAILED_MESSAGE)
    if known and known[-1].figures is not None:
        evidence = known[-1].record.evidence
        return Standing(known[-1].figures, {key: evidence[key] for key in (DATA, VALIDATION) if key in evidence})
    if plan.running is not None:
        job = job_name(work.experiment.name, BASELINE, plan.running)
        message = c.baseline_running(job, len(work.trials), work.deadline_of(work.baseline))
        return _waits("Unknown", c.BASELINE_RUNNING, message)
    if (size := too_long(work)) is not None:
        return _waits("False", c.BASELINE_TOO_LARGE, c.baseline_too_large(size, MAX_ORDER_BYTES))
    if known and known[-1].record.final and plan.over:
        record = known[-1].record
        message = c.baseline_failed(
            record.attempt, record.outcome, cut_error(record.error, 500), ADVICE[record.outcome]
        )
        return _waits("False", c.BASELINE_FAILED, message)
    if problem is not None:
        return _waits("Unknown", problem.reason, problem.message)
    if work.experiment.spec.suspend:
        return _waits("Unknown", c.SUSPENDED, c.BASELINE_SUSPENDED_MESSAGE)
    return _waits("Unknown", c.BASELINE_PENDING, c.BASELINE_PENDING_MESSAGE)


def imported(work: Workload, data: Mapping[str, Any] | None) -> Standing:
    """How a baseline stands that a user gives; `data` is of the ConfigMap, None where there is none."""
    name = imported_name(work.experiment.name)
    command = c.import_command(name)
    if data is None:
        return _waits("False", c.BASELINE_MISSING, c.baseline_missing(name, command))
    if FILE not in data:
        return _waits("False", c.BASELINE_UNREADABLE, c.baseline_without_file(name, FILE, command))
    lines = [line for line in str(data[FILE]).splitlines() if line.strip()]
    records, complaints = read(lines)
    if complaints:
        wrong = c.baseline_unreadable(name, FILE, len(complaints), len(lines), cut_error(complaints[0], 300), command)
        return _waits("False", c.BASELINE_UNREADABLE, wrong)
    found = figures(work.experiment, work.trials, records)
    if found is None:
        return _waits("False", c.BASELINE_UNREADABLE, c.baseline_of_others(name, len(records), command))
    return Standing(found, rests_on(work.experiment, work.trials, records))


def comparable(standing: Standing, summary: Summary) -> Verdict:
    """The condition Comparable: what the comparison says, or why there is none."""
    compared, timing = summary.comparison, summary.timing
    if compared is None or timing is None:
        status, reason, message = standing.verdict
    elif compared.differences:
        message = c.different(compared.elapsed_ratio, compared.baseline_wall, timing.wall, compared.differences)
        status, reason = "False", c.DIFFERENT
    else:
        assert compared.efficiency is not None  # noqa: S101
        message = c.same(
            compared.elapsed_ratio, compared.baseline_wall, timing.wall, compared.slots, compared.efficiency
        )
        status, reason = "True", c.SAME
    return status, reason, f"{message} {summary.remark}" if summary.remark else message


def _waits(status: str, reason: str, message: str) -> Standing:
    return Standing(verdict=(status, reason, message))
