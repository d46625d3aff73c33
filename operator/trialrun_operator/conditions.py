"""All conditions, their reasons and their sentences, in one place, so that tests and docs can name them. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from trialrun_operator import backends
from trialrun_operator.backends.backend import Backend
from trialrun_operator.names import Resource

ACCEPTED = "Accepted"
PROGRESSING = "Progressing"
FINISHED = "Finished"
SUCCEEDED = "Succeeded"
COMPARABLE = "Comparable"

# Reasons. Of Accepted:
VALID = "Valid"
INVALID = "Invalid"
DOUBTFUL = "ValidWithDoubts"
# Of Progressing:
NOT_STARTED = "NotStarted"
RUNNING = "Running"
QUEUED = "Queued"
MEASURING_FLOOR = "MeasuringFloor"
SUSPENDED = "Suspended"
BACKEND_MISSING = "BackendMissing"
NAME_CONFLICT = "NameConflict"
CREATION_REFUSED = "CreationRefused"
CANNOT_SUGGEST = "CannotSuggest"
CODE_UNAVAILABLE = "CodeUnavailable"
NOT_PERMITTED = "NotPermitted"
WINDING_UP = "WindingUp"
# Of Finished and Succeeded:
UNFINISHED = "Unfinished"
ALL_TRIALS_DONE = "AllTrialsDone"
BUDGET_USED_UP = "BudgetUsedUp"  # of Progressing as well
TOO_MANY_FAILURES = "TooManyFailures"
NO_TRIAL_SUCCEEDED = "NoTrialSucceeded"
TRIALS_SUCCEEDED = "TrialsSucceeded"
FLOOR_UNKNOWN = "FloorUnknown"
LIMIT_BELOW_FLOOR = "LimitBelowFloor"
# Of Comparable:
NO_BASELINE = "NoBaseline"
BASELINE_PENDING = "BaselinePending"
BASELINE_RUNNING = "BaselineRunning"
BASELINE_FAILED = "BaselineFailed"
BASELINE_TOO_LARGE = "BaselineTooLarge"
BASELINE_MISSING = "BaselineMissing"
BASELINE_UNREADABLE = "BaselineUnreadable"
SEARCH_FAILED = "SearchFailed"
DIFFERENT = "DifferentConditions"
SAME = "SameConditions"


@dataclass(frozen=True)
class Problem:
    """What keeps an experiment from starting trials: a reason from above and a sentence."""

    reason: str
    message: str


def backend_missing(wanted: str, enabled: Collection[str]) -> Problem:
    """The cluster has no jobs of the kind that trials should run as; `enabled` are those that the chart allows."""
    kinds = [kind for kind in backends.BACKENDS if wanted in (backends.AUTO, kind)]
    if not any(kind in enabled for kind in kinds):
        return Problem(
            BACKEND_MISSING,
            f"spec.backend: {wanted} is turned off in the values of Trialrun's chart (backends). Turn it on there, "
            f"or apply the experiment under another name with one of {', '.join(enabled)}.",
        )
    lacks = " and no ".join(f"{kind} ({backends.BACKENDS[kind].jobs.api_version})" for kind in kinds)
    ways = "; or ".join(backends.BACKENDS[kind].install for kind in kinds if kind in enabled)
    return Problem(
        BACKEND_MISSING,
        f"This cluster has no {lacks}, so no trial can run. Install {ways}. Trials start by themselves within two "
        "minutes after that.",
    )


def name_too_long(name: str, backend: Backend) -> str:
    """The experiment's name leaves too little room for those of its jobs' pods."""
    return (
        f"metadata.name: must have at most {backend.longest_name} characters where trials run as "
        f"{backend.jobs.kind}s, got {len(name)}"
    )


def name_conflict(name: str, kind: Resource) -> Problem:
    """A job, or what its pods are told by, has a namesake that belongs to something else."""
    return Problem(
        NAME_CONFLICT,
        f"The {kind.kind} {name} exists and belongs to something else. Delete it with "
        f"`kubectl delete {kind.plural} {name}`, or apply the experiment under another name.",
    )


def creation_refused(name: str, said: str, kind: Resource) -> Problem:
    """The API server does not take what should be created, for a reason that may go away: a quota, a policy."""
    return Problem(CREATION_REFUSED, f"The API server refuses the {kind.kind} {name}: {said} It is tried again.")


def cannot_suggest(error: str) -> Problem:
    """A learning search is supplied with no points, so it starts nothing new."""
    return Problem(CANNOT_SUGGEST, f"No new point can be suggested: {error.rstrip('.')}. It is tried again.")


def unreadable_ledger(complaint: str) -> Problem:
    """What was suggested stands in the ledger, but in words of another version."""
    return Problem(
        CANNOT_SUGGEST,
        f"No new point can be suggested, because the ledger can't be read: {complaint.rstrip('.')}. Run the version "
        "of the operator that wrote it, or delete that key.",
    )


def code_missing(name: str) -> Problem:
    """The ConfigMap with a program's code is not there."""
    return Problem(
        CODE_UNAVAILABLE,
        f"There is no ConfigMap {name} in this namespace, which spec.program.code names. Make it with "
        f"`kubectl create configmap {name} --from-file=FOLDER`, or of `code: FOLDER` with `python -m trainer apply "
        "FILE`. Trials start by themselves a few seconds after that.",
    )


def code_empty(name: str) -> Problem:
    """The ConfigMap of a program's code holds nothing."""
    return Problem(
        CODE_UNAVAILABLE,
        f"ConfigMap {name}, which spec.program.code names, holds no file. Put the program's files into it.",
    )


def code_lost(copy: str, name: str) -> Problem:
    """The code that a trial has succeeded with is nowhere."""
    return Problem(
        CODE_UNAVAILABLE,
        f"ConfigMap {copy}, which held the code that trials have succeeded with, is gone, and {name} holds other "
        "code, whose results could not be compared with theirs. Put the earlier code back there, or apply the "
        "experiment under another name.",
    )


def code_gone(copy: str) -> Problem:
    """The code that trials run was deleted."""
    return Problem(
        CODE_UNAVAILABLE,
        f"ConfigMap {copy}, which held the code that trials run, is gone. Raise spec.rerun to have it made again.",
    )


def code_name_taken(name: str) -> Problem:
    """What should be the copy of a program's code is something else."""
    return Problem(
        CODE_UNAVAILABLE,
        f"ConfigMap {name} exists and is not the copy of the program's code. Delete it with `kubectl delete "
        f"configmap {name}`.",
    )


def code_refused(name: str, said: str) -> Problem:
    """The API server does not take the copy of a program's code."""
    return Problem(
        CODE_UNAVAILABLE,
        f"The API server refuses ConfigMap {name}, the copy of the program's code: {said} It is tried again.",
    )


def not_permitted(sentences: Sequence[str]) -> Problem:
    """An experiment that was taken up asks for what the chart has come to forbid."""
    return Problem(NOT_PERMITTED, "No new trial starts. " + "\n".join(sentences))


def floor_unknown(workers: int, outcome: str, error: str) -> Problem:
    """The floor that a scale test's limits count from could not be measured."""
    said = f" ({error.rstrip('.')})" if error else ""
    return Problem(
        FLOOR_UNKNOWN,
        "spec.cell.memoryAboveFloor: needs the floor of a worker. The smallest cell with "
        f"{_workers(workers)}, run without a limit to measure it, ended as {outcome}{said}, and its report has no "
        "memory.floorBytes. Mend that and raise spec.rerun, or apply the test under another name with memoryLimit in "
        "its place.",
    )


def valid(ignored: Sequence[str]) -> str:
    """The sentence of a valid experiment, and what it gives to no effect."""
    return "\n".join((VALID_MESSAGE, *ignored))


def doubtful(doubts: Sequence[str]) -> str:
    """The sentence of an experiment that was accepted before its doubts were known: it goes on."""
    return "It was accepted before, and goes on; a new one would be refused. " + "\n".join(doubts)


def running(count: int, done: int, total: int, parallel: int) -> str:
    """The sentence of a Progressing experiment."""
    return f"{_trials(count)} running, {done} of {total} done (parallelTrials {parallel})."


def queued(count: int, queue: str | None, words: str) -> str:
    """The sentence of jobs that a queue holds back; `words` are the queue's own for one of them."""
    jobs, where = "1 job waits" if count == 1 else f"{count} jobs wait", f" in queue {queue}" if queue else ""
    return f"{jobs}{where}" + (f"; {words.rstrip('.')}." if words else ", suspended.")


def queue_unknown(refused: int) -> str:
    """Why it is not known what a queue says."""
    if refused == 404:
        return (
            "this cluster has no Kueue (kueue.x-k8s.io/v1beta2), which would release them. Install it: "
            "https://kueue.sigs.k8s.io/docs/installation"
        )
    return "why is not known, since the operator may not read Workloads (the chart's kueue.enabled)"


NO_WORKLOAD = (
    "Kueue has made no Workload for them. Turn on its integration for their kind, and see that it manages this "
    "namespace"
)


def suspended(count: int) -> str:
    """The sentence of a suspended experiment."""
    return f"Nothing new starts; {_trials(count)} still running. Set spec.suspend to false to go on."


def winding_up(failed: int, budget: int, count: int) -> str:
    """The sentence of an experiment that has failed and still runs."""
    return (
        f"{_trials(failed)} failed, more than maxFailedTrials ({budget}): no new one starts, {count} still running."
    )


def ending(ended: str, count: int) -> str:
    """The sentence of a search that its budget has ended and that still runs."""
    return f"{ended} No new trial starts, {count} still running."


def finished(done: int, total: int, used_up: str = "") -> str:
    """The sentence of a finished experiment; `used_up` says so of its failure budget."""
    advice = used_up or "Raise spec.rerun to run failed and missing ones."
    return f"{done} of {total} trials are done; nothing more will run. {advice}"


def ended(sentence: str, done: int, total: int) -> str:
    """The sentence of a search that its budget has ended."""
    return f"{sentence} {done} of {total} trials are done; nothing more will run. Raise spec.budget to go on."


def begun_with(lessons: int, source: str) -> str:
    """What a search has learnt from another."""
    points = "1 point" if lessons == 1 else f"{lessons} points"
    return f"spec.warmStart: began with what {points} of {source} came to; whether it had the same data is unverified"


def succeeded(succeeded: int, total: int, others: str) -> str:
    """The sentence of an experiment that went well."""
    return f"{succeeded} of {total} trials succeeded." + (f" The others: {others}." if others else "")


def too_many_failures(used_up: str, outcomes: str, advice: str) -> str:
    """The sentences of a search whose failure budget is used up."""
    return f"{used_up} The failed: {outcomes}. {advice}"


def no_trial_succeeded(outcomes: str, advice: str) -> str:
    """The sentence of an experiment without a single result."""
    return f"No trial succeeded: {outcomes or 'there was none'}. {advice}"


def baseline_running(job: str, trials: int, deadline: int) -> str:
    """The sentence of a search whose baseline is being measured."""
    return f"Job {job} runs the {_trials(trials)} once more, one at a time; it may take {deadline} s."


def baseline_failed(attempt: int, outcome: str, error: str, advice: str) -> str:
    """The sentence of a search whose baseline could not be measured."""
    said = error if error.endswith(".") else f"{error}." if error else ""
    return (
        f"The baseline could not be measured: attempt {attempt} ended as {outcome}. {said} {advice} "
        "Then raise spec.rerun to measure it again; trials that succeeded are not run again."
    )


def baseline_too_large(size: int, most: int) -> str:
    """The sentence of a search that does not fit into the one variable that its baseline's pod is told by."""
    return (
        f"The baseline can't be measured: the search has {size} bytes, and a pod can be told at most {most}. Run it "
        "elsewhere with `python -m trainer run`, and set spec.baseline to Import."
    )


def import_command(name: str) -> str:
    """The command that hands a ledger to the operator."""
    return f"kubectl create configmap {name} --from-file=results.jsonl"


def baseline_missing(name: str, command: str) -> str:
    """The sentence of a search whose baseline is to be imported, and is not there."""
    return f"There is no ConfigMap {name} in this namespace. Make it of a run's ledger: {command}"


def baseline_without_file(name: str, file: str, command: str) -> str:
    """The sentence of an import that holds something else."""
    return f"ConfigMap {name} has no key {file}. Delete it and make it of a run's ledger: {command}"


def baseline_unreadable(name: str, file: str, bad: int, total: int, first: str, command: str) -> str:
    """The sentence of an import that is no ledger."""
    lines = "line is" if total == 1 else "lines are"
    return (
        f"ConfigMap {name}: {bad} of {total} {lines} no record in {file}; the first: {first}. Delete it and make it "
        f"of a run's ledger: {command}"
    )


def baseline_of_others(name: str, records: int, command: str) -> str:
    """The sentence of an import that has nothing to do with this search."""
    return (
        f"ConfigMap {name} holds {records} records, and none is of a trial of this search. Run this file with "
        f"`python -m trainer run`, delete the ConfigMap and make it of that ledger: {command}"
    )


def different(ratio: float, baseline: float, wall: float, differences: Sequence[str]) -> str:
    """The sentence of a search that has a baseline it can't be compared with."""
    return (
        f"The baseline took {baseline:.1f} s, {ratio:.2f} times as long as the search ({wall:.1f} s), which is no "
        f"speedup, because the two differ. {'; '.join(differences)}."
    )


def same(ratio: float, baseline: float, wall: float, slots: int, efficiency: float) -> str:
    """The sentence of a search that has been compared with its baseline."""
    return (
        f"The baseline took {baseline:.1f} s, {ratio:.2f} times as long as the search ({wall:.1f} s) in {slots} "
        f"slots: an efficiency of {efficiency:.2f}."
    )


BASELINE_PENDING_MESSAGE = "The baseline is measured when the search has finished."
BASELINE_SUSPENDED_MESSAGE = "The baseline is not measured while spec.suspend is true."
SEARCH_FAILED_MESSAGE = "The search failed, so its baseline is not measured. Raise spec.rerun once it can succeed."
MEASURING_FLOOR_MESSAGE = "What a worker has before it holds a sample is measured; the cells run after that."
SOME_NODES_MESSAGE = (
    "A trial has nodes for only some of its workers, and no other starts meanwhile; `kubectl trialrun status` says "
    "what its pods wait for."
)
MADE_ROOM_MESSAGE = (
    "A quota takes no more jobs, so ended ones are deleted for others; the ledger keeps their records."
)
KEPT_MESSAGE = "Its jobs go a day after they ended, by default of spec.ttlSecondsAfterFinished; the ledger stays."
NOT_STARTED_MESSAGE = "No trial has started yet."
UNFINISHED_MESSAGE = "Trials are still to be run."
VALID_MESSAGE = "All fields are valid."
NO_BASELINE_MESSAGE = "There is no speedup, because no baseline was measured (spec.baseline is None)."


def _workers(count: int) -> str:
    return f"{count} worker" if count == 1 else f"{count} workers"


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"
