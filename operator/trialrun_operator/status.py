"""Makes an experiment's status from its ledger and its plan. Pure: the same values give the same status."""

from collections.abc import Mapping
from typing import Any

from trainer.experiment.expand import Kind
from trainer.experiment.outcome import Outcome, advice
from trainer.experiment.record import Record
from trainer.experiment.redact import redacted
from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.summary import Summary, summarize
from trainer.scheduling.history import Ledger, is_done
from trainer.scheduling.limits import FloorUnknown, LimitBelowFloor, Limits
from trainer.scheduling.workload import Workload
from trialrun_operator import conditions as c
from trialrun_operator.baseline_status import NONE, BaselineStatus, Verdict, comparable
from trialrun_operator.ledger_format import range_of
from trialrun_operator.names import Key, ledger_name
from trialrun_operator.observe import timestamp
from trialrun_operator.plan import Plan
from trialrun_operator.status_model import Condition, Phase, ScaleTestStatus, SearchStatus, Status
from trialrun_operator.table import table

_MAX_MESSAGE = 32_000
_OOM = (Outcome.HOST_OOM, Outcome.DEVICE_OOM)


def invalid(mistakes: tuple[str, ...], generation: int, old: Mapping[str, Any], now: int) -> Status:
    """The status of an experiment that can't be run: one condition with all its mistakes."""
    message = "\n".join(mistakes)
    verdicts: dict[str, Verdict] = {
        c.ACCEPTED: ("False", c.INVALID, message),
        c.PROGRESSING: ("False", c.INVALID, message),
        c.FINISHED: ("True", c.INVALID, "Nothing will run before the mistakes are mended."),
        c.SUCCEEDED: ("False", c.INVALID, message),
    }
    made = Status(
        observed_generation=generation, phase="Invalid", conditions=_conditions(verdicts, generation, old, now)
    )
    return taken_up_as(made, old)


def taken_up_as(made: Status, old: Mapping[str, Any]) -> Status:
    """The status `made`, of an experiment that was last taken up when its status was `old`."""
    known = {
        "accepted_at": old.get("acceptedAt"),
        "rerun": old.get("rerun"),
        "code": old.get("code"),
        "backend": old.get("backend"),
    }
    return made.model_copy(update={name: value for name, value in known.items() if value is not None})


def status(
    work: Workload,
    key: Key,
    uid: str,
    generation: int,
    *,
    ledger: Ledger,
    plan: Plan | None,
    running: frozenset[str] = frozenset(),
    baseline: BaselineStatus = NONE,
    accepted: int | None,
    problem: c.Problem | None,
    makes_room: bool = False,
    code: str | None = None,
    backend: str | None = None,
    learnt: str = "",
    queued: tuple[int, str] = (0, ""),
    old: Mapping[str, Any],
    now: int,
) -> Status:
    """The status of a valid experiment, of which `running` are the trials and floors with a live attempt.

    `makes_room` says that recorded jobs were deleted for others, `learnt` is what a search began with, in a sentence.
    `queued` are how many jobs a queue holds back, and its words. `code` is the hash of what a program's trials run,
    `backend` the kind of job that they run as.

    `plan` and `accepted` are None until it is taken up; `old` is the status before.
    """
    runs = work.by_id
    ledger = {
        identity: records
        for identity, records in ledger.items()
        if identity in runs and runs[identity].kind is not Kind.BASELINE
    }
    latest = _latest(work, ledger, accepted)
    earlier = (record for of_run in ledger.values() for record in of_run[:-1])
    records = [*earlier, *latest.values()]
    summary = summarize(
        work.experiment, work.trials, records, baseline.figures, baseline.rests_on, planned=work.points
    )
    counts = summary.counts
    over = plan is not None and plan.over
    limits = plan.limits if plan is not None else Limits()
    verdicts = _verdicts(work, summary, len(running), over, problem, limits, plan.ended if plan is not None else None)
    if learnt and verdicts[c.ACCEPTED][1] == c.VALID:
        verdicts[c.ACCEPTED] = _saying(verdicts[c.ACCEPTED], f"\n{learnt}")
    if queued[0] and verdicts[c.PROGRESSING][1] == c.RUNNING:
        value, reason, message = verdicts[c.PROGRESSING]
        if queued[0] >= len(running):
            value, reason = "False", c.QUEUED
        message = f"{message} {c.queued(queued[0], work.experiment.spec.queue, queued[1])}"
        verdicts[c.PROGRESSING] = value, reason, message
    if plan is not None and plan.some_nodes and verdicts[c.PROGRESSING][1] == c.RUNNING:
        verdicts[c.PROGRESSING] = _saying(verdicts[c.PROGRESSING], f" {c.SOME_NODES_MESSAGE}")
    if makes_room:
        verdicts[c.PROGRESSING] = _saying(verdicts[c.PROGRESSING], f" {c.MADE_ROOM_MESSAGE}")
    if isinstance(work.experiment, HyperparamSearch):
        verdicts[c.COMPARABLE] = comparable(baseline, summary)
    finished_at = max(record.finished_at for record in latest.values()) if over and latest else None
    shards = sorted({range_of(record.index) for record in latest.values()})
    of_kind = SearchStatus if isinstance(work.experiment, HyperparamSearch) else ScaleTestStatus
    return of_kind(
        observed_generation=generation,
        phase=_phase(work, summary, over, bool(running)),
        accepted_at=timestamp(accepted) if accepted is not None else None,
        finished_at=timestamp(finished_at) if finished_at is not None else None,
        rerun=work.experiment.spec.rerun if accepted is not None else None,
        code=code if accepted is not None else None,
        backend=backend or old.get("backend") if accepted is not None else None,
        done=f"{counts.done}/{counts.total}",
        running=len(running),
        failed=counts.failed,
        conditions=_conditions(verdicts, generation, old, now),
        ledger=tuple(ledger_name(key, uid, shard) for shard in shards),
        summary=summary,
    ).model_copy(update={"trials": table(work, latest, running), **_columns(work, summary)})


def was_taken(old: Mapping[str, Any]) -> bool:
    """Whether an operator, of whatever version, has found the experiment valid before."""
    return "acceptedAt" in old or any(
        each.get("type") == c.ACCEPTED and each.get("status") == "True" for each in old.get("conditions") or ()
    )


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two statuses say the same; the API server may leave out a null."""
    return bool(_without_nulls(one) == _without_nulls(other))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item) for item in value]
    return value


def _saying(verdict: Verdict, more: str) -> Verdict:
    value, reason, message = verdict
    return value, reason, message + more


def _latest(work: Workload, ledger: Ledger, accepted: int | None) -> dict[str, Record]:
    """Each trial's latest record; one that is to be run again counts as not final."""
    latest = {identity: records[-1] for identity, records in ledger.items() if records}
    if accepted is not None:
        for identity, record in latest.items():
            if record.final and not is_done(work, record, accepted):
                latest[identity] = record.model_copy(update={"final": False})
    return latest


def _phase(work: Workload, summary: Summary, over: bool, running: bool) -> Phase:
    if over:
        return "Succeeded" if summary.state == "Succeeded" else "Failed"
    if work.experiment.spec.suspend:
        return "Suspended"
    return "Running" if running or summary.counts.outcomes else "Pending"


def _columns(work: Workload, summary: Summary) -> dict[str, object]:
    """What `kubectl get` shows besides the counts, by field."""
    if isinstance(work.experiment, HyperparamSearch):
        speedup = summary.comparison.speedup if summary.comparison is not None else None
        return {
            "best": f"{summary.best.value:.6g}" if summary.best is not None else None,
            "speedup": f"{speedup:.2f}x" if speedup is not None else None,
        }
    assert summary.scale is not None  # noqa: S101 - it is a scale test
    sizes = [reach.multiplier for reach in summary.scale.frontier if reach.multiplier is not None]
    return {
        "largest": f"{max(sizes)}x" if sizes else None,
        "oom": sum(summary.counts.outcomes.get(outcome, 0) for outcome in _OOM),
    }


def _verdicts(
    work: Workload,
    summary: Summary,
    running: int,
    over: bool,
    problem: c.Problem | None,
    limits: Limits | None,
    ended: str | None,
) -> dict[str, Verdict]:
    """Status, reason and sentence of each condition."""
    counts, spec = summary.counts, work.experiment.spec
    budget = work.max_failed_trials
    exhausted = budget is not None and counts.failed > budget
    verdicts: dict[str, Verdict] = {c.ACCEPTED: ("True", c.VALID, c.valid(work.ignored))}
    if work.doubts:
        verdicts[c.ACCEPTED] = ("True", c.DOUBTFUL, c.doubtful(work.doubts))
    if over and limits is not None and limits.problem is not None:
        reason, sentence = _no_limit(limits.problem)
        verdicts[c.PROGRESSING] = ("False", reason, sentence)
        verdicts[c.FINISHED] = ("True", reason, sentence)
        verdicts[c.SUCCEEDED] = ("False", reason, sentence)
    elif over:
        reason = c.TOO_MANY_FAILURES if exhausted else c.ALL_TRIALS_DONE
        sentence = c.finished(counts.done, counts.total, summary.caveats[0] if exhausted else "")
        if not exhausted and ended is not None and counts.done < counts.total:
            reason, sentence = c.BUDGET_USED_UP, c.ended(ended, counts.done, counts.total)
        verdicts[c.PROGRESSING] = ("False", reason, sentence)
        kept = f" {c.KEPT_MESSAGE}" if spec.ttl_seconds_after_finished is None else ""
        verdicts[c.FINISHED] = ("True", reason, f"{sentence}{kept}")
        verdicts[c.SUCCEEDED] = _succeeded(summary, exhausted=exhausted, program=spec.program is not None)
    else:
        verdicts[c.FINISHED] = ("False", c.UNFINISHED, c.UNFINISHED_MESSAGE)
        verdicts[c.SUCCEEDED] = ("Unknown", c.UNFINISHED, c.UNFINISHED_MESSAGE)
        if problem is not None:
            verdicts[c.PROGRESSING] = ("False", problem.reason, problem.message)
        elif spec.suspend:
            verdicts[c.PROGRESSING] = ("False", c.SUSPENDED, c.suspended(running))
        elif exhausted and budget is not None:
            verdicts[c.PROGRESSING] = ("True", c.WINDING_UP, c.winding_up(counts.failed, budget, running))
        elif ended is not None:
            verdicts[c.PROGRESSING] = ("True", c.BUDGET_USED_UP, c.ending(ended, running))
        elif limits is None:
            verdicts[c.PROGRESSING] = ("True", c.MEASURING_FLOOR, c.MEASURING_FLOOR_MESSAGE)
        elif running or counts.outcomes:
            sentence = c.running(running, counts.done, counts.total, work.parallel_trials)
            verdicts[c.PROGRESSING] = ("True", c.RUNNING, sentence)
        else:
            verdicts[c.PROGRESSING] = ("True", c.NOT_STARTED, c.NOT_STARTED_MESSAGE)
    return verdicts


def _no_limit(problem: FloorUnknown | LimitBelowFloor) -> tuple[str, str]:
    """Reason and sentence of why no cell can run."""
    if isinstance(problem, LimitBelowFloor):
        return c.LIMIT_BELOW_FLOOR, problem.error
    found = c.floor_unknown(problem.workers, problem.outcome, problem.error)
    return found.reason, found.message


def _succeeded(summary: Summary, *, exhausted: bool, program: bool) -> Verdict:
    counts = summary.counts
    others = {name: count for name, count in counts.outcomes.items() if name != Outcome.SUCCEEDED}
    listed = ", ".join(f"{count} {name}" for name, count in others.items())
    # The most frequent failure's advice; of equals, the first by name.
    told = advice(Outcome(max(others, key=lambda name: others[name])), program=program) if others else ""
    if exhausted:
        return "False", c.TOO_MANY_FAILURES, c.too_many_failures(summary.caveats[0], listed, told)
    if not counts.succeeded:
        return "False", c.NO_TRIAL_SUCCEEDED, c.no_trial_succeeded(listed, told)
    ended = (summary.ended_by,) if summary.ended_by is not None and counts.done < counts.total else ()
    sentences = (c.succeeded(counts.succeeded, counts.total, listed), *ended, *summary.caveats)
    return "True", c.TRIALS_SUCCEEDED, " ".join(sentences)


def _conditions(
    verdicts: Mapping[str, Verdict], generation: int, old: Mapping[str, Any], now: int
) -> tuple[Condition, ...]:
    before = {condition.get("type"): condition for condition in old.get("conditions") or ()}
    made = []
    for kind, (value, reason, said) in verdicts.items():
        message = redacted(said)
        known = before.get(kind) or {}
        since = known.get("lastTransitionTime") if known.get("status") == value else None
        made.append(
            Condition(
                type=kind,
                status=value,
                reason=reason,
                message=message if len(message) <= _MAX_MESSAGE else message[: _MAX_MESSAGE - 4] + " ...",
                observed_generation=generation,
                last_transition_time=since or timestamp(now - now % 1000),
            )
        )
    return tuple(made)
