"""`logs NAME [TRIAL]`: what a rank of a trial has said on a cluster, by `kubectl logs` of the right pod."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from trainer import arguments
from trainer.commands.trial_pods import TrialPod, trial_pods
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.outcome import Outcome, advice
from trainer.experiment.record import Record, latest
from trainer.experiment.spec import Experiment
from trainer.kubectl import Reference, find, pods_of, show, with_ledger

_MOST_NAMED = 5


def main(options: argparse.Namespace) -> int:
    """Prints the log of a trial's latest attempt; whose it is stands on stderr."""
    wanted, found = find(options.experiment, options.namespace)
    pods = trial_pods(pods_of(wanted, found))
    if options.trial is None:
        pod = _of_rank(_running(options, wanted, pods), options.rank)
    else:
        pod = _of_trial(options, wanted, found, pods)
    if pod.waits:
        raise UserError(
            f"{wanted.text}: {pod.said} has no log yet, because pod {pod.name} has not started: {pod.waits}"
        )
    print(f"{pod.said}, attempt {pod.attempt}, rank {pod.rank}: pod {pod.name}", file=sys.stderr)
    follow = ["--follow"] if options.follow else []
    what = f"the log of pod {pod.name}"
    show(wanted.namespace, "logs", pod.name, f"--container={pod.container}", *follow, what=what)
    return 0


def _running(options: argparse.Namespace, wanted: Reference, pods: Sequence[TrialPod]) -> list[TrialPod]:
    """The pods of the attempt that began last of those that run.

    Raises:
        UserError: none runs.
    """
    running = [pod for pod in pods if pod.phase == "Running" and pod.started is not None]
    if running:
        last = max(running, key=lambda pod: (pod.started, pod.trial, pod.attempt))
        return [pod for pod in pods if (pod.trial, pod.attempt) == (last.trial, last.attempt)]
    waiting = [pod for pod in pods if pod.waits]
    why = f", and {waiting[-1].said} waits: {waiting[-1].waits.rstrip('.')}" if waiting else ""
    named = f"{arguments.call(options, 'logs', wanted.text, 'TRIAL')} prints the log of one that has ended"
    raise UserError(f"{wanted.text}: no trial runs now{why}; {named}")


def _of_trial(
    options: argparse.Namespace, wanted: Reference, found: dict[str, Any], pods: Sequence[TrialPod]
) -> TrialPod:
    """The pod of a rank of the latest attempt at the trial that is named.

    Raises:
        UserError: it names none, or there is no such pod; the sentence says what is known of the trial.
    """
    experiment, entries = with_ledger(wanted, found)
    trials = entries.trials(experiment)
    identity = _identity(wanted, options.trial, trials, pods)
    trial = next((each for each in trials if each.id == identity), None)
    record = latest(entries.records).get(identity)
    attempts = [pod.attempt for pod in pods if pod.trial == identity] + ([record.attempt] if record else [])
    there = [pod for pod in pods if pod.trial == identity and pod.attempt == max(attempts)]
    if there:
        return _of_rank(there, options.rank, trial.workers if trial is not None else None)
    said = identity if trial is None else f"trial {trial.index} ({identity})"
    raise UserError(f"{wanted.text}: {said} {_no_pod(options, wanted, experiment, record)}")


def _identity(wanted: Reference, text: str, trials: Sequence[Trial], pods: Sequence[TrialPod]) -> str:
    """The id that is meant: one itself, else an index, else the only one that begins so.

    Raises:
        UserError: none is, or several are.
    """
    ids = dict.fromkeys([trial.id for trial in trials] + [pod.trial for pod in pods])
    if text in ids:
        return text
    if text.isascii() and text.isdigit() and int(text) < len(trials):
        return trials[int(text)].id
    meant = [identity for identity in ids if identity.startswith(text)] if text else []
    if len(meant) == 1:
        return meant[0]
    if meant:
        few = ", ".join(meant[:_MOST_NAMED]) + (", …" if len(meant) > _MOST_NAMED else "")
        raise UserError(
            f"{wanted.text}: {len(meant)} trials have an id that begins with {text} ({few}); write more of it"
        )
    most = f"an index from 0 to {len(trials) - 1}" if trials else "an index"
    raise UserError(
        f"{wanted.text}: has no trial {text}; must be {most}, or an id or its beginning; `list` shows those of a file"
    )


def _of_rank(pods: Sequence[TrialPod], rank: int, workers: int | None = None) -> TrialPod:
    """The pod of a rank among those of an attempt.

    Raises:
        UserError: there is none.
    """
    for pod in pods:
        if pod.rank == rank:
            return pod
    ranks = sorted(pod.rank for pod in pods)
    if workers is not None and rank < workers:
        raise UserError(
            f"{pods[0].said}: attempt {pods[0].attempt} has no pod of rank {rank}, of {workers} ranks; it was not "
            "made yet, or is gone"
        )
    known = ", ".join(map(str, ranks))
    raise UserError(f"{pods[0].said}: attempt {pods[0].attempt} has no rank {rank}; its ranks are {known}")


def _no_pod(options: argparse.Namespace, wanted: Reference, experiment: Experiment, record: Record | None) -> str:
    """What is known of a trial without a pod, and what to do."""
    if record is None:
        status = arguments.call(options, "status", wanted.text)
        return f"has not started, so it has no log yet; {status} says what is waited for"
    if record.outcome is Outcome.SKIPPED:
        return f"was not run, so it has no log: {record.error or advice(record.outcome, program=False)}"
    error = f": {record.error.rstrip('.')}" if record.error else ""
    told = (
        ""
        if record.outcome is Outcome.SUCCEEDED
        else f" {advice(record.outcome, program=experiment.spec.program is not None)}"
    )
    return (
        f"has no pod any more, and its log went with that. Attempt {record.attempt} ended as {record.outcome}{error}."
        f"{told} spec.ttlSecondsAfterFinished says how long pods are kept, by default a day"
    )
