"""How an attempt ended, from how each of its ranks ended: the same verdict locally and on a cluster.

Of several ranks that went wrong the one nearest to the cause decides: see `Nearness`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import dropwhile, takewhile

from trainer.experiment.expand import Trial
from trainer.experiment.memory_words import out_of_memory
from trainer.experiment.metrics import UNDEFINED_BECAUSE
from trainer.experiment.outcome import RETRIED, Outcome
from trainer.experiment.program import Invocation
from trainer.experiment.record import (
    HASHES,
    NAIVE,
    PACKED_WITH,
    UNREAD,
    Environment,
    RankReport,
    Record,
    apart,
    cut_error,
    undefined_name,
)
from trainer.experiment.spec import Scalar

LAST_SIGNAL = 64  # on Linux
_MEASURED = (Outcome.SUCCEEDED, Outcome.METRICS_MISSING, Outcome.STOPPED)
_MOST_EVIDENCE = 300  # characters of a sentence
_MOST_LINES = 5  # of a log that ends without an exception: torch adds four to what CUDA says


@dataclass(frozen=True)
class RankExit:
    """How one rank ended.

    `platform` is what was done to it from outside, in a sentence in `error` and in figures in `evidence`: killed for
    memory, by a deadline, evicted. `exit_code` is None where no process ever ended, negative for a signal. Without a
    `platform`, `error` is what else is known of its end. `unread` says why what it left is no report. `beside` stands
    in the record's evidence however it ended, such as hashes of what the result rests on. `read` are the parameters
    that a program has asked for, None where it doesn't say.
    """

    rank: int
    exit_code: int | None = None
    report: RankReport | None = None
    platform: Outcome | None = None
    error: str = ""
    evidence: Mapping[str, Scalar] = field(default_factory=dict)
    unread: str = ""
    beside: Mapping[str, Scalar] = field(default_factory=dict)
    read: frozenset[str] | None = None

    @property
    def said(self) -> RankReport | None:
        """Its report, if it lived to make one; a provisional one says nothing about the end."""
        return self.report if self.report is not None and not self.report.provisional else None


@dataclass(frozen=True)
class Times:
    """When an attempt was accepted, started and finished: milliseconds since 1970.

    It starts when it has a place to run. Where that is a node, `process` is when rank 0's process began there: images
    are pulled and containers made between the two.
    """

    accepted: int
    started: int
    finished: int
    process: int | None = None


@dataclass(frozen=True)
class Verdict:
    """The outcome of an attempt and the rank it is about."""

    outcome: Outcome
    error: str = ""
    rank: int | None = None
    exit_code: int | None = None
    evidence: Mapping[str, Scalar] = field(default_factory=dict)


def judge(exits: Sequence[RankExit], metric: str | None) -> Verdict:
    """The verdict on an attempt whose ranks ended so; `metric` is the objective, which rank 0 must have measured."""
    causes = [(nearness, end) for end in exits if (nearness := _nearness(end)) is not None]
    if causes:
        _, end = min(causes, key=lambda cause: (cause[0], _clock(cause[1]), cause[1].rank))
        return Verdict(_outcome(end), _about(end, exits), end.rank, end.exit_code, end.evidence)
    first = next((end for end in exits if end.rank == 0), None)
    report = first.said if first is not None else None
    if report is None:
        why = ""
        if first is not None:
            why = f"rank 0 left what is {first.unread}" if first.unread else first.error
        return Verdict(Outcome.METRICS_MISSING, why or "rank 0 ended without a report", 0, 0)
    if metric is not None and metric not in report.metrics:
        return Verdict(Outcome.METRICS_MISSING, _missing(metric, report.metrics), 0, 0)
    if metric is not None and not math.isfinite(value := report.metrics[metric]):
        return Verdict(Outcome.DIVERGED, f"the objective {metric} was reported as {value}", 0, 0)
    unread = "; ".join(f"rank {end.rank} left what is {end.unread}" for end in exits if end.unread)
    return Verdict(Outcome.SUCCEEDED, exit_code=0, evidence={"unread": unread} if unread else {})


def make_record(
    trial: Trial,
    *,
    attempt: int,
    exits: Sequence[RankExit],
    metric: str | None,
    times: Times,
    retries_left: bool = False,
    oversubscribed: bool = False,
) -> Record:
    """The record of an attempt. `metric` is the objective where it is one of the trial's metrics."""
    verdict = judge(exits, metric)
    reports = {end.rank: end.report for end in exits if end.report is not None}
    lead = reports[min(reports)] if reports else RankReport()
    total = max(0, times.finished - times.started) / 1000
    packed_with = next((each.beside[PACKED_WITH] for each in exits if PACKED_WITH in each.beside), None)
    if packed_with is not None:
        total = lead.seconds.total or total / (1 + int(packed_with))
    queued = max(0, times.started - times.accepted) / 1000
    began = times.process if times.process is not None else times.started
    start = lead.seconds.start + max(0, began - times.started) / 1000
    metrics, beside = _metrics(lead)
    return Record(
        id=trial.id,
        index=trial.index,
        parameters=trial.parameters,
        repeat=trial.repeat,
        workers=trial.workers,
        seed=trial.seed,
        attempt=attempt,
        final=not (retries_left and verdict.outcome in RETRIED),
        outcome=verdict.outcome,
        exit_code=verdict.exit_code,
        error=cut_error(verdict.error),
        failed_rank=verdict.rank if trial.workers > 1 else None,
        evidence={
            **verdict.evidence,
            **beside,
            **{key: each.beside[key] for each in exits for key in each.beside},
            **_unread(trial, exits),
        },
        # What was measured beside an objective that is missing stands, and what was told until a trial was stopped.
        metrics=metrics if verdict.outcome in _MEASURED else {},
        seconds=lead.seconds.model_copy(update={"queued": queued, "start": start, "total": total}),
        memory=tuple(
            report.memory if (report := reports.get(rank)) is not None else None for rank in range(trial.workers)
        ),
        samples=lead.samples,
        dataset_bytes=lead.dataset_bytes,
        epochs=lead.epochs,
        resumed_from=lead.resumed_from,
        oversubscribed=oversubscribed,
        environment=lead.environment or Environment(),
        accepted_at=times.accepted,
        started_at=times.started,
        finished_at=times.finished,
    )


def _unread(trial: Trial, exits: Sequence[RankExit]) -> dict[str, Scalar]:
    """Which of its parameters a program was neither given nor has asked for, where it tells what it asked for."""
    read = next((end.read for end in exits if end.rank == 0), None)
    if read is None or not isinstance(trial.runs, Invocation):
        return {}
    unread = trial.parameters.keys() - read - trial.runs.placed
    return {UNREAD: ", ".join(sorted(unread))} if unread else {}


def _metrics(report: RankReport) -> tuple[dict[str, float], dict[str, Scalar]]:
    """The metrics that have a value, and what else a report says under that name: hashes, and why one has none."""
    metrics, beside = apart(report.metrics)
    if odd := [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]:
        beside["notFinite"] = cut_error(", ".join(odd), _MOST_EVIDENCE)
    return {name: value for name, value in metrics.items() if math.isfinite(value)}, beside


class Nearness(IntEnum):
    """How near a rank's ending is to the cause of an attempt's failure; of equals, the earliest by its report."""

    KILLED_FOR_MEMORY = 0
    REMOVED = 1  # evicted, lost with its node, never started: whatever its peers say follows from it
    OWN_ERROR = 2
    OUT_OF_TIME = 3  # its peers may have waited for a rank that failed until their time was up
    MUTE = 4
    LOST_PEER = 5


def _nearness(end: RankExit) -> Nearness | None:
    """None for a rank that ended well."""
    if end.platform is not None:
        known = {Outcome.HOST_OOM: Nearness.KILLED_FOR_MEMORY, Outcome.TIMED_OUT: Nearness.OUT_OF_TIME}
        return known.get(end.platform, Nearness.REMOVED)
    if end.said is None:
        return None if end.exit_code == 0 else Nearness.MUTE
    if end.said.outcome is Outcome.SUCCEEDED and end.exit_code in (0, None):
        return None
    return Nearness.LOST_PEER if end.said.lost_peer else Nearness.OWN_ERROR


def _missing(metric: str, reported: Mapping[str, float]) -> str:
    ours = {undefined_name(name): because for name, because in UNDEFINED_BECAUSE.items()}
    found = [name for name in reported if name not in HASHES and name not in ours and not name.startswith(NAIVE)]
    if undefined_name(metric) in reported:
        listed = ", ".join(name for name in found if name.startswith("valid"))
        return f"the objective {metric} has no value: {ours[undefined_name(metric)]}; of this data choose {listed}"
    return f"the objective {metric} was not reported; reported: {', '.join(found) or 'none'}"


def _clock(end: RankExit) -> int:
    return end.report.clock if end.report is not None else 0


def _outcome(end: RankExit) -> Outcome:
    if end.platform is not None:
        return end.platform
    # One that reported success and then failed crashed on its way out.
    if end.said is None or end.said.outcome is Outcome.SUCCEEDED:
        return out_of_memory(last_words(end.error)) or Outcome.CRASHED
    return end.said.outcome


def _about(end: RankExit, exits: Sequence[RankExit]) -> str:
    where = f"rank {end.rank}: " if len(exits) > 1 else ""
    text = end.error or (end.said.error if end.said is not None else "") or exit_text(end.exit_code, end.said)
    return where + text + (f"; it left what is {end.unread}" if end.unread else "")


def exit_text(code: int | None, said: RankReport | None) -> str:
    """How a rank ended that does not tell of a failure itself; `code` is negative for a signal."""
    if code is None:
        return "ended without an exit code"
    how = f"was killed by signal {-code}" if -LAST_SIGNAL <= code < 0 else f"ended with exit code {code}"
    if said is None:
        return f"{how} without a report"
    return f"reported success, then {how}" if said.outcome is Outcome.SUCCEEDED else f"{how}, and gives no reason"


_HEADER = re.compile(r"terminate called|Traceback \(most recent call last\)")
_BEFORE, _AFTER = re.compile(r"\[rank\d+\]: ?"), re.compile(r"\s*$|frame #|Exception raised from ")


def last_words(log: str) -> str:
    """What the end of a log gives as the reason of its process's end, on one or several lines.

    That is the text of an exception that nothing caught, in Python or in C++, else the last lines up to a blank one.
    What lies before may tell of errors that the process survived.
    """
    lines = [line[found.end() :] if (found := _BEFORE.match(line)) else line for line in log.splitlines()]
    start = max((at for at, line in enumerate(lines) if _HEADER.match(line.lstrip())), default=None)
    if start is not None:
        words = lines[start:]
        if not words[0].lstrip().startswith("terminate"):
            words = words[next((at for at, line in enumerate(words[1:], 1) if line[:1].strip()), len(words)) :]
        end = next((at for at, line in enumerate(words) if _AFTER.match(line)), len(words))
        if end:
            return "\n".join(line.strip() for line in words[:end])
    told = list(dropwhile(lambda line: not line.strip(), reversed(lines)))
    return "\n".join(line.strip() for line in reversed(list(takewhile(str.strip, told[:_MOST_LINES]))))
