"""What is known of a search's baseline, in the words of the condition Comparable. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.experiment.baseline import figures, rests_on
from trainer.experiment.comparable import CONTENT
from trainer.experiment.outcome import advice
from trainer.experiment.record import VALIDATION, RunFigures, cut_error
from trainer.experiment.spec import HyperparamSearch, Scalar
from trainer.experiment.summary import Summary
from trainer.scheduling.history import Ledger
from trainer.scheduling.workload import Workload
from trialrun_operator import conditions as c
from trialrun_operator.ledger_format import read
from trialrun_operator.names import imported_name, job_name
from trialrun_operator.orders import baseline_bytes
from trialrun_operator.plan import Plan
from trialrun_operator.status_model import Holds
from trialrun_operator.workload import most_baseline_bytes

FILE = "results.jsonl"
Verdict = tuple[Holds, str, str]  # status, reason and sentence of a condition


@dataclass(frozen=True)
class BaselineStatus:
    """The figures to compare with or, without any, the condition that says why: status, reason and sentence.

    `rests_on` are hashes of what its results rest on, as far as the baseline tells them.
    """

    figures: RunFigures | None = None
    rests_on: Mapping[str, Scalar] = field(default_factory=dict)
    verdict: Verdict = ("False", c.NO_BASELINE, c.NO_BASELINE_MESSAGE)


NONE = BaselineStatus()


def measured(
    work: Workload, plan: Plan | None, ledger: Ledger, found: RunFigures | None, problem: c.Problem | None
) -> BaselineStatus:
    """The status of a baseline that the operator measures; `found` are the figures of its run."""
    baseline, search = work.baseline, work.experiment
    assert isinstance(search, HyperparamSearch)  # noqa: S101 - a scale test has no baseline
    if plan is None or not plan.over:
        return _without("Unknown", c.BASELINE_PENDING, c.BASELINE_PENDING_MESSAGE)
    if not plan.worthwhile:
        return _without("False", c.SEARCH_FAILED, c.SEARCH_FAILED_MESSAGE)
    if baseline is None:
        return _without(
            "False", c.BASELINE_TOO_LARGE, c.baseline_too_large(baseline_bytes(work), most_baseline_bytes(work))
        )
    latest = next(iter(ledger.get(baseline.id, ())[-1:]), None)
    if found is not None and latest is not None:
        told = {key: latest.evidence[key] for key in (*CONTENT, VALIDATION) if key in latest.evidence}
        return BaselineStatus(found, told)
    if plan.measuring is not None:
        job = job_name(search.name, baseline.id, plan.measuring)
        message = c.baseline_running(job, len(work.trials), work.deadline_of(baseline))
        return _without("Unknown", c.BASELINE_RUNNING, message)
    if latest is not None and latest.final and plan.idle:
        error, program = cut_error(latest.error, 500), search.spec.program is not None
        what_to_do = advice(latest.outcome, program=program)
        message = c.baseline_failed(latest.attempt, latest.outcome, error, what_to_do)
        return _without("False", c.BASELINE_FAILED, message)
    if problem is not None:
        return _without("Unknown", problem.reason, problem.message)
    if search.spec.suspend:
        return _without("Unknown", c.SUSPENDED, c.BASELINE_SUSPENDED_MESSAGE)
    return _without("Unknown", c.BASELINE_PENDING, c.BASELINE_PENDING_MESSAGE)


def imported(work: Workload, data: Mapping[str, Any] | None) -> BaselineStatus:
    """The status of a baseline that a user gives; `data` is of the ConfigMap, None where there is none."""
    name = imported_name(work.experiment.name)
    command = c.import_command(name)
    if data is None:
        return _without("False", c.BASELINE_MISSING, c.baseline_missing(name, command))
    if FILE not in data:
        return _without("False", c.BASELINE_UNREADABLE, c.baseline_without_file(name, FILE, command))
    lines = [line for line in str(data[FILE]).splitlines() if line.strip()]
    records, complaints = read(lines)
    if complaints:
        wrong = c.baseline_unreadable(name, FILE, len(complaints), len(lines), cut_error(complaints[0], 300), command)
        return _without("False", c.BASELINE_UNREADABLE, wrong)
    found = figures(work.experiment, work.trials, records)
    if found is None:
        return _without("False", c.BASELINE_UNREADABLE, c.baseline_of_others(name, len(records), command))
    return BaselineStatus(found, rests_on(work.experiment, work.trials, records))


def comparable(baseline: BaselineStatus, summary: Summary) -> Verdict:
    """The condition Comparable: what the comparison says, or why there is none."""
    compared, timing = summary.comparison, summary.timing
    if compared is None or timing is None:
        status, reason, message = baseline.verdict
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


def _without(status: Holds, reason: str, message: str) -> BaselineStatus:
    return BaselineStatus(verdict=(status, reason, message))
