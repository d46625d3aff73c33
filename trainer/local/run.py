"""Runs an experiment on this machine: starts what the scheduler says, and records each attempt as it ends."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainer.cgroup import cores
from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit, Times, make_record
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import RankReport, Record
from trainer.local.folder import trial_folder
from trainer.local.launcher import Begun, Event, Launcher, RankEnded, Reported, Waits
from trainer.local.ledger import Ledger
from trainer.report.live import Progress
from trainer.scheduling.decide import Start, decide
from trainer.scheduling.history import History
from trainer.scheduling.workload import Workload

# How long the other ranks of a trial may take to notice that one has failed.
_PEER_GRACE_SECONDS = 5.0


@dataclass
class _Running:
    """A trial whose ranks run, for `seconds` at most from when it has begun to train."""

    trial: Trial
    attempt: int
    seconds: int
    started: int
    begun: int
    deadline: float
    exits: dict[int, RankExit] = field(default_factory=dict)
    killed: Outcome | None = None
    first_failed: int | None = None

    @property
    def over(self) -> bool:
        return len(self.exits) == self.trial.workers


def run(
    work: Workload,
    history: History,
    *,
    folder: Path,
    jobs: int,
    ledger: Ledger,
    launcher: Launcher,
    progress: Progress,
) -> list[Record]:
    """Runs what the history has left, at most `jobs` trials at once; returns the records, each written as it comes.

    The launcher is ready.

    Raises:
        UserError: the ledger can't be written.
        LauncherEnded: trials can't be started any more.
    """
    running, made = dict[str, _Running](), list[Record]()

    def record(trial: Trial, ended: Record) -> None:
        ledger.append([ended])
        history.add(ended)
        made.append(ended)
        progress.ended(trial, ended)

    while True:
        decision = decide(work, history, running.keys(), free=jobs - len(running), now=now())
        for skip in decision.skipped:
            record(work.by_id[skip.id], skip)
        for start in decision.starts:
            launcher.start(start.trial, trial_folder(folder, start.trial))
            running[start.trial.id] = _started(start, launcher.start_seconds, work.deadline_seconds)
            progress.started(start.trial)
        if not running and decision.skipped:
            continue  # with nothing to wait for: they may have been the last
        if not running:
            return made
        for event in launcher.events(timeout=_until_next_deadline(running.values())):
            _take(event, running, progress)
        for one in [one for one in running.values() if one.over]:
            del running[one.trial.id]
            record(one.trial, _record(one, work.metric, history.accepted, jobs))
        for one in running.values():
            if one.killed is None and time.monotonic() >= one.deadline:
                one.killed = Outcome.CRASHED if one.first_failed is not None else Outcome.TIMED_OUT
                launcher.kill(one.trial)


def _take(event: Event, running: Mapping[str, _Running], progress: Progress) -> None:
    """Takes in what a launcher tells of a trial."""
    one = running.get(event.trial)
    if one is None:
        return
    if isinstance(event, Reported):
        progress.reported(one.trial, event.step, event.metrics)
    elif isinstance(event, Begun):
        one.begun = now()
        one.deadline = time.monotonic() + one.seconds
    elif isinstance(event, Waits):
        progress.waits(f"trial {one.trial.index}: {event.why}")
    elif event.exit.rank not in one.exits:
        _take_exit(one, event)


def _take_exit(one: _Running, event: RankEnded) -> None:
    end = event.exit
    if one.killed is not None and end.platform is None and end.said is None:
        end = _killed(one, end)
    one.exits[end.rank] = end
    if end.exit_code != 0 and one.first_failed is None:
        one.first_failed = end.rank
        one.deadline = min(one.deadline, time.monotonic() + _PEER_GRACE_SECONDS)


def _killed(one: _Running, end: RankExit) -> RankExit:
    """The exit of a rank that this runner has killed, with why."""
    if one.killed is Outcome.TIMED_OUT:
        seconds = (now() - one.begun) / 1000
        evidence = {**end.evidence, "secondsUntilKilled": seconds}
        error = f"killed by its deadline after {seconds:.1f} s"
        return replace(end, platform=Outcome.TIMED_OUT, error=error, evidence=evidence)
    lost = f"killed: it did not notice that rank {one.first_failed} had failed"
    report = (end.report or RankReport(rank=end.rank)).model_copy(
        update={"outcome": Outcome.CRASHED, "error": lost, "lost_peer": True, "provisional": False, "clock": now()}
    )
    return replace(end, report=report, error="")


def _until_next_deadline(running: Iterable[_Running]) -> float | None:
    waiting = [one.deadline for one in running if one.killed is None]
    return max(0.0, min(waiting) - time.monotonic()) if waiting else None


def _started(start: Start, start_seconds: float, seconds: int) -> _Running:
    begun = now()
    return _Running(start.trial, start.attempt, seconds, begun, begun, time.monotonic() + start_seconds + seconds)


def _record(one: _Running, metric: str | None, accepted: int, jobs: int) -> Record:
    """The record of a trial whose ranks have all ended."""
    return make_record(
        one.trial,
        attempt=one.attempt,
        exits=[one.exits[rank] for rank in sorted(one.exits)],
        metric=metric,
        times=Times(accepted, one.started, now()),
        oversubscribed=jobs * one.trial.workers * (one.trial.threads or 1) > cores(),
    )


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
