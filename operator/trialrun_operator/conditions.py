"""All conditions, their reasons and their sentences, in one place, so that tests and docs can name them. Pure."""

from dataclasses import dataclass

from trialrun_operator.names import JOBS

ACCEPTED = "Accepted"
PROGRESSING = "Progressing"
FINISHED = "Finished"
SUCCEEDED = "Succeeded"
COMPARABLE = "Comparable"

# Reasons. Of Accepted:
VALID = "Valid"
INVALID = "Invalid"
# Of Progressing:
NOT_STARTED = "NotStarted"
RUNNING = "Running"
SUSPENDED = "Suspended"
BACKEND_MISSING = "BackendMissing"
NAME_CONFLICT = "NameConflict"
CREATION_REFUSED = "CreationRefused"
WINDING_UP = "WindingUp"
# Of Finished and Succeeded:
UNFINISHED = "Unfinished"
ALL_TRIALS_DONE = "AllTrialsDone"
TOO_MANY_FAILURES = "TooManyFailures"
NO_TRIAL_SUCCEEDED = "NoTrialSucceeded"
TRIALS_SUCCEEDED = "TrialsSucceeded"
# Of Comparable:
NO_BASELINE = "NoBaseline"

INSTALL_BACKEND = (
    "kubectl apply --server-side -k "
    '"github.com/kubeflow/training-operator.git/manifests/overlays/standalone?ref=v1.8.1"'
)


@dataclass(frozen=True)
class Problem:
    """What keeps an experiment from starting trials: a reason from above and a sentence."""

    reason: str
    message: str


MISSING_BACKEND = Problem(
    BACKEND_MISSING,
    f"This cluster has no {JOBS.kind} ({JOBS.api_version}), so no trial can run. Install Kubeflow's training "
    f"operator: {INSTALL_BACKEND}. Trials start by themselves within two minutes after that.",
)


def name_conflict(job: str) -> Problem:
    """A job that should be made has a namesake that belongs to something else."""
    return Problem(
        NAME_CONFLICT,
        f"The {JOBS.kind} {job} exists and belongs to something else. Delete it with "
        f"`kubectl delete {JOBS.plural} {job}`, or apply the experiment under another name.",
    )


def creation_refused(job: str, said: str) -> Problem:
    """The API server does not take a job, for a reason that may go away: a quota, a policy, a permission."""
    return Problem(CREATION_REFUSED, f"The API server refuses the {JOBS.kind} {job}: {said} It is tried again.")


def running(count: int, done: int, total: int, parallel: int) -> str:
    """The sentence of a Progressing experiment."""
    return f"{_trials(count)} running, {done} of {total} done (parallelTrials {parallel})."


def suspended(count: int) -> str:
    """The sentence of a suspended experiment."""
    return f"Nothing new starts; {_trials(count)} still running. Set spec.suspend to false to go on."


def winding_up(failed: int, budget: int, count: int) -> str:
    """The sentence of an experiment that has failed and still runs."""
    return (
        f"{_trials(failed)} failed, more than maxFailedTrials ({budget}): no new one starts, {count} still running."
    )


def finished(done: int, total: int) -> str:
    """The sentence of a finished experiment."""
    return (
        f"{done} of {total} trials are done; nothing more will run. Raise spec.rerun to run failed and missing ones."
    )


def succeeded(succeeded: int, total: int, others: str) -> str:
    """The sentence of an experiment that went well."""
    return f"{succeeded} of {total} trials succeeded." + (f" The others: {others}." if others else "")


def too_many_failures(failed: int, budget: int, outcomes: str, advice: str) -> str:
    """The sentence of an experiment whose failure budget is used up."""
    return (
        f"{_trials(failed)} failed, more than maxFailedTrials ({budget}): {outcomes}. {advice} "
        "Then raise spec.rerun, or apply the experiment under another name."
    )


def no_trial_succeeded(outcomes: str, advice: str) -> str:
    """The sentence of an experiment without a single result."""
    return f"No trial succeeded: {outcomes or 'there was none'}. {advice}"


NOT_STARTED_MESSAGE = "No trial has started yet."
UNFINISHED_MESSAGE = "Trials are still to be run."
VALID_MESSAGE = "All fields are valid."
NO_BASELINE_MESSAGE = "There is no speedup, because no baseline was measured (spec.baseline is None)."


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"
