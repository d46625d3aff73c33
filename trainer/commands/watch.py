"""`watch NAME`: an experiment on a cluster while it runs, shown as `run` shows one here, to its end."""

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from trainer import arguments
from trainer.commands.trial_pods import trial_pods
from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial
from trainer.experiment.record import latest
from trainer.experiment.spec import Experiment
from trainer.experiment.summary import summarize
from trainer.kubectl import Reference, find, find_experiment, pods_of, with_ledger
from trainer.report.progress import Progress, progress
from trainer.report.results import Results
from trainer.report.text import closing
from trainer.scheduling.history import is_done
from trainer.scheduling.workload import workload

INTERRUPTED = 130
_POLL_SECONDS = 2.0  # between two looks, or as long as a look takes
_MOST_FAILURES = 30  # in a row of looks at the cluster

Document = dict[str, Any]


def main(options: argparse.Namespace) -> int:
    """0 when the experiment succeeded, 1 when it did not, 130 when watching was ended before."""
    wanted, found = find(options.experiment, options.namespace)
    cluster = _Cluster(wanted, found)
    try:
        while not _is_over(cluster.found):
            _await_acceptance(options, cluster)
            _show(cluster)
    except KeyboardInterrupt:
        goes_on = "" if _is_over(cluster.found) else "; the experiment goes on"
        print(f"{wanted.text}: no longer watched{goes_on}", file=sys.stderr)
        return INTERRUPTED
    status = cluster.found["status"]
    if status.get("phase") == "Invalid":
        raise UserError(f"{wanted.text}: cannot run: {_message(status, 'Accepted')}")
    experiment, entries = with_ledger(wanted, cluster.found)
    trials = entries.trials(experiment)
    summary = summarize(experiment, trials, entries.records, planned=entries.planned(experiment))
    fetch = f"{arguments.call(options, 'fetch', wanted.text)} brings them here"
    print(closing(Results(experiment, trials, entries.records, summary), fetch), file=sys.stderr)
    return 0 if status["phase"] == "Succeeded" else 1


@dataclass
class _Cluster:
    """An experiment as the cluster had it last."""

    wanted: Reference
    found: Document
    _failures: int = field(default=0, init=False)

    @property
    def status(self) -> Mapping[str, Any]:
        return self.found.get("status") or {}

    @property
    def run(self) -> tuple[object, ...]:
        """What is another one where it was changed, or its trials run again."""
        return self.found["metadata"].get("generation"), self.status.get("acceptedAt")

    @property
    def is_taken_up(self) -> bool:
        """Whether an operator has acted on the object as it is now."""
        generation = self.found["metadata"].get("generation")
        return "acceptedAt" in self.status and self.status.get("observedGeneration") == generation

    def look(self) -> str:
        """Looks again; why that failed, if it did, which it may for a while.

        Raises:
            UserError: it was deleted, or can't be read for long.
        """
        try:
            found = find_experiment(self.wanted)
        except UserError as error:
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise
            return str(error)
        self._failures = 0
        if not found or found["metadata"]["uid"] != self.found["metadata"]["uid"]:
            raise UserError(f"{self.wanted.text}: was deleted while it was watched")
        self.found = found
        return ""


def _await_acceptance(options: argparse.Namespace, cluster: _Cluster) -> None:
    """Waits until an operator has acted on what the object says."""
    said = False
    while not _is_over(cluster.found) and not cluster.is_taken_up:
        if not said:
            status = arguments.call(options, "status", cluster.wanted.text)
            print(
                f"{cluster.wanted.text}: waiting for the operator to take it up; {status} says more", file=sys.stderr
            )
        said = True
        time.sleep(_POLL_SECONDS)
        cluster.look()


def _show(cluster: _Cluster) -> None:
    """Shows it until it is over, or is another run."""
    if _is_over(cluster.found):
        return
    run = cluster.run
    experiment, entries = with_ledger(cluster.wanted, cluster.found)
    shown = _Shown(experiment, entries, cluster)
    with progress(
        experiment,
        shown.trials,
        [record for record in latest(entries.records).values() if (record.id, record.attempt) in shown.recorded],
        slots=experiment.spec.parallel_trials,
        stream=sys.stderr,
        planned=entries.planned(experiment),
        told=False,
    ) as display:
        shown.update(display, entries)
        took = 0.0
        while not _is_over(cluster.found) and cluster.run == run:
            time.sleep(max(_POLL_SECONDS, took))
            began, version = time.monotonic(), cluster.found["metadata"]["resourceVersion"]
            if failure := cluster.look():
                shown.wait(display, failure)
                continue
            if cluster.found["metadata"]["resourceVersion"] != version:
                entries = with_ledger(cluster.wanted, cluster.found)[1]
            shown.update(display, entries)
            took = time.monotonic() - began


class _Shown:
    """What the display has been told of one run: trials, records, and what is waited for."""

    def __init__(self, experiment: Experiment, entries: Entries, cluster: _Cluster) -> None:
        self.trials = entries.trials(experiment)
        self._experiment = experiment
        self._cluster = cluster
        self._by_id = {trial.id: trial for trial in self.trials}
        self._running: set[str] = set()
        self._waits: set[str] = set()
        work = workload(experiment, entries.suggested(experiment))
        accepted = _milliseconds(cluster.status["acceptedAt"])
        # Of attempts before, those count by which a trial is done with; others are no news either.
        self._earlier = {(record.id, record.attempt) for record in entries.records}
        self.recorded = {
            (record.id, record.attempt)
            for record in latest(entries.records).values()
            if is_done(work, record, accepted)
        }

    def update(self, display: Progress, entries: Entries) -> None:
        """Tells what is new."""
        grown = [trial for trial in entries.trials(self._experiment) if trial.id not in self._by_id]
        if grown:
            self._by_id |= {trial.id: trial for trial in grown}
            display.grown(grown)
        self._start(display)
        for record in entries.records:
            key = (record.id, record.attempt)
            if key in self._earlier:
                continue
            self._earlier.add(key)
            self._running.discard(record.id)
            display.ended(self._by_id[record.id], record)
        condition = _condition(self._cluster.status, "Progressing", "False")
        if condition is not None and not _is_over(self._cluster.found):
            self.wait(display, condition["message"], "the cluster: ")

    def wait(self, display: Progress, why: str, of: str = "") -> None:
        """Tells once what is waited for; of what waits for one thing, only of the first."""
        if why not in self._waits:
            self._waits.add(why)
            display.waits(f"{of}{why}")

    def _start(self, display: Progress) -> None:
        """Tells which trials run, and why others that should don't."""
        if not self._cluster.status.get("running"):
            return
        try:
            pods = trial_pods(pods_of(self._cluster.wanted, self._cluster.found))
        except UserError as error:  # who may not list pods sees how trials end all the same
            self.wait(display, str(error))
            return
        for pod in pods:
            trial: Trial | None = self._by_id.get(pod.trial)
            if trial is None or (pod.trial, pod.attempt) in self._earlier:
                continue
            if pod.waits:
                if pod.is_stuck:
                    self.wait(display, pod.waits, f"{pod.said}: ")
            elif pod.trial not in self._running and pod.phase == "Running" and pod.started is not None:
                self._running.add(pod.trial)
                display.started(trial, max(0.0, (datetime.now(UTC) - pod.started).total_seconds()))


def _is_over(found: Document) -> bool:
    """Whether nothing more will run, by what the operator says of the object as it is now."""
    status = found.get("status") or {}
    current = status.get("observedGeneration") == found["metadata"].get("generation")
    return current and _condition(status, "Finished", "True") is not None


def _condition(status: Mapping[str, Any], kind: str, value: str) -> Mapping[str, Any] | None:
    return next(
        (each for each in status.get("conditions") or () if (each["type"], each["status"]) == (kind, value)), None
    )


def _message(status: Mapping[str, Any], kind: str) -> str:
    return next((str(each["message"]) for each in status.get("conditions") or () if each["type"] == kind), "")


def _milliseconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1000)
