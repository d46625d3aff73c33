"""Runs an experiment on this machine: which trials are left, up to N at once, each ending recorded as it comes."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainer.cgroup import cores
from trainer.experiment.cells import reason_to_skip, skipped
from trainer.experiment.expand import Trial, running_order
from trainer.experiment.judge import Ending, Times, make_record
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import RankReport, Record, latest
from trainer.experiment.spec import Experiment, HyperparamSearch, ScaleTest
from trainer.local.folder import trial_folder
from trainer.local.launcher import Begun, Epoch, Launcher, RankEnded, Waits
from trainer.local.ledger import Ledger
from trainer.report.live import Progress

# How long the other ranks of a trial may take to notice that one has failed.
_PEER_GRACE_SECONDS = 5.0


@dataclass
class _Running:
    """A trial whose ranks run."""

    trial: Trial
    attempt: int
    started: int
    begun: int
    deadline: float
    endings: dict[int, Ending] = field(default_factory=dict)
    killed: Outcome | None = None
    first_failed: int | None = None

    @property
    def over(self) -> bool:
        return len(self.endings) == self.trial.workers


def left_to_run(experiment: Experiment, trials: Sequence[Trial], records: Sequence[Record]) -> list[Trial]:
    """The trials without a success on record, in running order."""
    counted = latest(records)
    return [
        trial
        for trial in running_order(experiment, list(trials))
        if trial.id not in counted or counted[trial.id].outcome is not Outcome.SUCCEEDED
    ]


def run(
    experiment: Experiment,
    todo: Sequence[Trial],
    records: Sequence[Record],
    *,
    folder: Path,
    jobs: int,
    ledger: Ledger,
    launcher: Launcher,
    progress: Progress,
    accepted: int,
) -> list[Record]:
    """Runs `todo`, at most `jobs` trials at once; returns their records, each in the ledger before the next starts.

    `records` are those the ledger holds already: they number attempts. No trial starts once more have failed than
    the experiment's budget allows. A cell larger than one that ran out of memory is skipped. The launcher is ready;
    `accepted` is when it was first waited for (milliseconds since 1970).

    Raises:
        UserError: the ledger can't be written.
        LauncherEnded: trials can't be started any more.
    """
    attempts = {trial: record.attempt for trial, record in latest(records).items()}
    budget = experiment.spec.max_failed_trials if isinstance(experiment, HyperparamSearch) else len(todo)
    metric = _reported_metric(experiment)
    waiting, running, made = list(reversed(todo)), dict[str, _Running](), list[Record]()
    while running or (waiting and _failures(made) <= budget):
        while waiting and len(running) < jobs and _failures(made) <= budget:
            trial = waiting.pop()
            attempt, begun = attempts.get(trial.id, 0) + 1, now()
            if isinstance(experiment, ScaleTest) and (reason := reason_to_skip(experiment, trial, made)):
                record = skipped(trial, attempt=attempt, reason=reason, accepted=accepted, now=begun)
                ledger.append([record])
                made.append(record)
                progress.ended(trial, record)
                continue
            launcher.start(trial, trial_folder(folder, trial))
            until = time.monotonic() + launcher.start_seconds + deadline(experiment)
            running[trial.id] = _Running(trial, attempt, begun, begun, until)
            progress.started(trial)
        if not running:  # the last ones were skipped
            break
        for event in launcher.events(timeout=_until_next_deadline(running.values())):
            if isinstance(event, Epoch):
                trial = running[event.trial].trial
                epoch = int(event.figures["epoch"])
                progress.epoch(trial, epoch, trial.training.train.epochs, event.figures)
            elif isinstance(event, Begun):
                running[event.trial].begun = now()
                running[event.trial].deadline = time.monotonic() + deadline(experiment)
            elif isinstance(event, Waits):
                if event.trial in running:
                    progress.waits(f"trial {running[event.trial].trial.index}: {event.why}")
            elif (one := running.get(event.trial)) is not None and event.ending.rank not in one.endings:
                _take_ending(one, event)
        for one in [one for one in running.values() if one.over]:
            times = Times(accepted, one.started, now())
            endings = [one.endings[rank] for rank in sorted(one.endings)]
            record = make_record(
                one.trial,
                attempt=one.attempt,
                endings=endings,
                metric=metric,
                times=times,
                oversubscribed=jobs * one.trial.workers * one.trial.training.train.threads > cores(),
            )
            ledger.append([record])
            made.append(record)
            del running[one.trial.id]
            progress.ended(one.trial, record)
        for one in running.values():
            if one.killed is None and time.monotonic() >= one.deadline:
                one.killed = Outcome.CRASHED if one.first_failed is not None else Outcome.TIMED_OUT
                launcher.kill(one.trial)
    return made


def deadline(experiment: Experiment) -> int:
    """The seconds that a trial may run."""
    return (
        experiment.spec.cell.deadline_seconds
        if isinstance(experiment, ScaleTest)
        else experiment.spec.deadline_seconds
    )


def _take_ending(one: _Running, event: RankEnded) -> None:
    ending = event.ending
    if one.killed is not None and ending.platform is None and ending.said is None:
        ending = _killed(one, ending)
    one.endings[ending.rank] = ending
    if ending.exit_code != 0 and one.first_failed is None:
        one.first_failed = ending.rank
        one.deadline = min(one.deadline, time.monotonic() + _PEER_GRACE_SECONDS)


def _killed(one: _Running, ending: Ending) -> Ending:
    """The ending of a rank that this runner has killed, with why."""
    if one.killed is Outcome.TIMED_OUT:
        seconds = (now() - one.begun) / 1000
        evidence = {**ending.evidence, "secondsUntilKilled": seconds}
        error = f"killed by its deadline after {seconds:.1f} s"
        return replace(ending, platform=Outcome.TIMED_OUT, error=error, evidence=evidence)
    lost = f"killed: it did not notice that rank {one.first_failed} had failed"
    report = (ending.report or RankReport(rank=ending.rank)).model_copy(
        update={"outcome": Outcome.CRASHED, "error": lost, "lost_peer": True, "provisional": False, "clock": now()}
    )
    return replace(ending, report=report, error="")


def _until_next_deadline(running: Iterable[_Running]) -> float | None:
    waiting = [one.deadline for one in running if one.killed is None]
    return max(0.0, min(waiting) - time.monotonic()) if waiting else None


def _failures(records: Sequence[Record]) -> int:
    return sum(record.outcome not in (Outcome.SUCCEEDED, Outcome.SKIPPED) for record in records)


def _reported_metric(experiment: Experiment) -> str | None:
    """The objective where ranks report it; times are measured from outside."""
    if isinstance(experiment, ScaleTest):
        return None
    metric = experiment.spec.objective.metric
    return metric if OBJECTIVES[metric].part == "metrics" else None


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
