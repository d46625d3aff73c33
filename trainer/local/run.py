"""Runs an experiment on this machine: starts and stops what the scheduler says, records each attempt as it ends."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.cgroup import cores
from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit, Times, make_record
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import PACKED_WITH, STEP, STEP_SECONDS, RankReport, Record
from trainer.experiment.rung import why
from trainer.experiment.suggestion import Suggestion
from trainer.local.folder import trial_folder
from trainer.local.launcher import WAKE_SECONDS, Begun, Event, Launcher, PackEnded, Reported, Waits
from trainer.local.ledger import Ledger
from trainer.local.suggester import Suggester
from trainer.report.progress import Progress
from trainer.scheduling.decide import Start, decide
from trainer.scheduling.history import History
from trainer.scheduling.workload import Workload

if TYPE_CHECKING:  # it reads data sets, which takes long to import
    from trainer.local.packer import Packer

# How long the other ranks of a trial may take to notice that one has failed.
_PEER_GRACE_SECONDS = 5.0
_NO_METRICS = ("epoch", "seconds")  # of what our trainer tells after an epoch
_LOOK_SECONDS = 0.02  # between looks at what runs while a suggestion is awaited


@dataclass
class _Running:
    """A trial whose ranks run, for `seconds` at most from when it has begun to train, in one of the slots."""

    trial: Trial
    attempt: int
    slot: int
    seconds: int
    started: int
    begun: int
    deadline: float
    told: Reported | None = None
    reports: list[tuple[int, float]] = field(default_factory=list)  # step and moment of the first and the last
    why: str = ""  # it was stopped
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
    packer: "Packer | None" = None,
    suggester: Suggester | None = None,
    ends: Mapping[str, int] = {},
    begun: Callable[[Trial, int, int], None] | None = None,
) -> list[Record]:
    """Runs what the history has left, in `jobs` slots; returns the records, each written as it comes.

    The launcher is ready. A slot has one trial, or those that a `packer` has train together. A learning search needs
    a `suggester`. A trial that `ends` at a step is stopped there. `begun` hears of
    each attempt that starts: its trial, its number, and when (milliseconds since 1970).

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
        if suggester is not None:
            suggester.changed(trial.point)

    def reported(one: _Running, event: Reported) -> None:
        one.reports[1:] = [(event.step, time.monotonic())]
        if one.killed is not None:
            return
        one.told = event
        if (entry := history.entry(one.trial, one.attempt, event.step, event.metrics)) is not None:
            ledger.enter(entry)  # before anything is done about it
            history.enter(entry)
        if event.step >= ends.get(one.trial.id, event.step + 1):
            stop(one, f"ended at step {event.step}, as in the run that is replayed")

    def stop(one: _Running, because: str) -> None:
        if one.killed is None:
            one.killed, one.why = Outcome.STOPPED, because
            launcher.stop(one.trial)

    def grow(suggested: Suggestion) -> None:
        ledger.suggest(suggested)
        progress.grown(work.grow(suggested.parameters))
        history.grow()
        if suggester is not None:
            suggester.changed(suggested.number)

    while True:
        since = min((one.started for one in running.values()), default=None)
        slots = set(range(jobs)) - {one.slot for one in running.values()}
        free = len(slots)
        if packer is not None:  # as many as are known can train together; of points still to come the repeats of each
            free *= len(work.trials) if work.points is None else work.experiment.spec.repeats
        decision = decide(work, history, running.keys(), free=free, now=now(), busy_since=since)
        for skip in decision.skipped:
            record(work.by_id[skip.id], skip)
        dealt = [[start] for start in decision.starts]
        if packer is not None and decision.starts:
            dealt = packer.deal(decision.starts, len(slots))
        for slot, together in zip(slots, dealt, strict=False):
            if len(together) > 1 and packer is not None:
                members = [
                    (one.trial, trial_folder(folder, one.trial), _told(one.trial, history)) for one in together
                ]
                packer.start(members)
            else:
                (start,) = together
                told = _told(start.trial, history)
                launcher.start(start.trial, trial_folder(folder, start.trial), told, ends.get(start.trial.id))
            for start in together:
                # In a pack each waits for the others.
                seconds = work.deadline_seconds * len(together)
                running[start.trial.id] = _started(start, slot, launcher.start_seconds, seconds)
                progress.started(start.trial)
                if begun is not None:
                    begun(start.trial, start.attempt, running[start.trial.id].started)
        for identity in decision.stops:
            entry = history.last_entry(work.by_id[identity])
            stop(running[identity], why(entry, work.metric or "") if entry is not None else "")
        if suggester is not None and decision.wanted:
            suggester.ask()
        asked = suggester if suggester is not None and suggester.asked is not None else None
        for suggested in asked.answer(_LOOK_SECONDS if running else WAKE_SECONDS) if asked is not None else ():
            if suggested is None:
                work.points = len(work.by_point)  # there are no more
            elif decision.wanted:
                grow(suggested)
        if not running and (decision.skipped or asked is not None):
            continue  # with nothing to wait for: they may have been the last
        if not running:
            return made
        for event in launcher.events(timeout=0.0 if asked is not None else _until_next_deadline(running.values())):
            if isinstance(event, Reported) and event.trial in running:
                reported(running[event.trial], event)
            if isinstance(event, PackEnded) and packer is not None and running[event.trial].killed is None:
                # Any of the pack may be to blame: each is tried by itself.
                packer.separate(running.pop(event.trial).trial)
                if event.first:
                    progress.waits(f"trials that train again, one by one: {event.why}")
            else:
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
        _take_exit(one, event.exit)


def _take_exit(one: _Running, end: RankExit) -> None:
    if one.killed is not None and end.platform is None and end.said is None:
        end = _killed(one, end)
    one.exits[end.rank] = end
    if end.exit_code != 0 and one.first_failed is None:
        one.first_failed = end.rank
        one.deadline = min(one.deadline, time.monotonic() + _PEER_GRACE_SECONDS)


def _killed(one: _Running, end: RankExit) -> RankExit:
    """The exit of a rank that this runner has killed, with why."""
    if one.killed is Outcome.STOPPED:
        return _stopped(one, end)
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


def _stopped(one: _Running, end: RankExit) -> RankExit:
    """The exit of a rank that was stopped: what its trial had told last counts."""
    ended = replace(end, platform=Outcome.STOPPED, error=one.why)
    packed = PACKED_WITH in end.beside
    if one.told is None or (end.report is not None and not packed):  # a program's launcher has read all that it told
        return ended
    metrics = {name: value for name, value in one.told.metrics.items() if name not in _NO_METRICS}
    report = end.report or RankReport(rank=end.rank)
    report = report.model_copy(update={"metrics": report.metrics | metrics, "epochs": one.told.step})
    return replace(ended, report=report, evidence={**end.evidence, STEP: one.told.step})


def _told(trial: Trial, history: History) -> list[int]:
    """The epochs of our trainer's that must be told, however many there are a second."""
    return [] if trial.epochs is None or history.rungs is None else history.rungs.steps(trial.epochs)


def _until_next_deadline(running: Iterable[_Running]) -> float:
    left = [one.deadline - time.monotonic() for one in running if one.killed is None]
    return max(0.0, min([*left, WAKE_SECONDS]))


def _started(start: Start, slot: int, start_seconds: float, seconds: int) -> _Running:
    begun, deadline = now(), time.monotonic() + start_seconds + seconds
    return _Running(start.trial, start.attempt, slot, seconds, begun, begun, deadline)


def _record(one: _Running, metric: str | None, accepted: int, jobs: int) -> Record:
    """The record of a trial whose ranks have all ended."""
    ended = make_record(
        one.trial,
        attempt=one.attempt,
        exits=[one.exits[rank] for rank in sorted(one.exits)],
        metric=metric,
        times=Times(accepted, one.started, now()),
        oversubscribed=jobs * one.trial.workers * (one.trial.threads or 1) > cores(),
    )
    if PACKED_WITH in ended.evidence or not (one.trial.epochs is None or ended.outcome is Outcome.STOPPED):
        return ended  # our trainer measures its own, unless it is killed, and its share of a pack's
    if (pace := _step_seconds(one)) is None:
        return ended
    return ended.model_copy(update={"evidence": ended.evidence | {STEP_SECONDS: pace}})


def _step_seconds(one: _Running) -> float | None:
    """What a step took, between the first report of a trial and its last."""
    if len(one.reports) < 2:
        return None
    (first, began), (last, ended) = one.reports
    return (ended - began) / (last - first) if last > first else None


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
