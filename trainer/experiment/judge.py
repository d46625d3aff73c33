"""How an attempt ended, from how each of its ranks ended: the same verdict locally and on a cluster.

Precedence: what the platform did to a rank (killed for memory before all else), then a rank's own error, the
earliest first, then the loss of a peer, then missing metrics.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.experiment.expand import Trial
from trainer.experiment.outcome import RETRIED, Outcome
from trainer.experiment.record import Environment, RankReport, Record, cut_error


@dataclass(frozen=True)
class Ending:
    """How one rank ended.

    `platform` is what was done to it from outside, with the evidence in `error`: killed for memory, by a deadline,
    evicted. `exit_code` is None where no process ever ended, negative for a signal.
    """

    rank: int
    exit_code: int | None = None
    report: RankReport | None = None
    platform: Outcome | None = None
    error: str = ""


@dataclass(frozen=True)
class Times:
    """When an attempt was accepted, started and finished: milliseconds since 1970."""

    accepted: int
    started: int
    finished: int


@dataclass(frozen=True)
class Verdict:
    """The outcome of an attempt and the rank it is about."""

    outcome: Outcome
    error: str = ""
    rank: int | None = None
    exit_code: int | None = None


def judge(endings: Sequence[Ending], metric: str | None) -> Verdict:
    """The verdict on an attempt whose ranks ended so; `metric` is the objective, which rank 0 must have measured."""
    for wanted in (Outcome.HOST_OOM, None):
        for end in endings:
            if end.platform is not None and wanted in (None, end.platform):
                return Verdict(end.platform, _about(end, endings), end.rank, end.exit_code)
    failed = [end for end in endings if _failed(end)]
    if failed:
        first = min(failed, key=_blame)
        outcome = first.report.outcome if first.report is not None else Outcome.CRASHED
        if outcome is Outcome.SUCCEEDED:  # it reported success, then its process failed
            outcome = Outcome.CRASHED
        return Verdict(outcome, _about(first, endings), first.rank, first.exit_code)
    report = next((end.report for end in endings if end.rank == 0), None)
    if report is None:
        return Verdict(Outcome.METRICS_MISSING, "rank 0 ended without a report", 0, 0)
    if metric is not None and metric not in report.metrics:
        found = ", ".join(report.metrics) or "none"
        return Verdict(Outcome.METRICS_MISSING, f"the objective {metric} was not reported; reported: {found}", 0, 0)
    return Verdict(Outcome.SUCCEEDED, exit_code=0)


def make_record(
    trial: Trial,
    *,
    attempt: int,
    endings: Sequence[Ending],
    metric: str | None,
    times: Times,
    retries_left: bool = False,
) -> Record:
    """The record of an attempt. `metric` is the objective where it is one of the trial's metrics."""
    verdict = judge(endings, metric)
    reports = {end.rank: end.report for end in endings if end.report is not None}
    lead = reports.get(0) or next(iter(reports.values()), RankReport())
    total = max(0, times.finished - times.started) / 1000
    queued = max(0, times.started - times.accepted) / 1000
    return Record(
        id=trial.id,
        index=trial.index,
        parameters=trial.parameters,
        repeat=trial.repeat,
        workers=trial.workers,
        seed=trial.training.train.seed,
        attempt=attempt,
        final=not (retries_left and verdict.outcome in RETRIED),
        outcome=verdict.outcome,
        exit_code=verdict.exit_code,
        error=cut_error(verdict.error),
        failed_rank=verdict.rank if trial.workers > 1 else None,
        metrics=lead.metrics if verdict.outcome is Outcome.SUCCEEDED else {},
        seconds=lead.seconds.model_copy(update={"queued": queued, "total": total}),
        memory=tuple(
            report.memory if (report := reports.get(rank)) is not None else None for rank in range(trial.workers)
        ),
        samples=lead.samples,
        dataset_bytes=lead.dataset_bytes,
        epochs=lead.epochs,
        environment=lead.environment or Environment(),
        accepted_at=times.accepted,
        started_at=times.started,
        finished_at=times.finished,
    )


def _failed(end: Ending) -> bool:
    reported = end.report is not None and end.report.outcome is not Outcome.SUCCEEDED
    return reported or end.exit_code not in (0, None) or (end.exit_code is None and end.report is None)


def _blame(end: Ending) -> tuple[int, int, int]:
    """A rank with an error of its own comes before one that died mute, and that before one that lost its peer."""
    if end.report is None:
        return 1, 0, end.rank
    return (2 if end.report.lost_peer else 0), end.report.clock, end.rank


def _about(end: Ending, endings: Sequence[Ending]) -> str:
    where = f"rank {end.rank}: " if len(endings) > 1 else ""
    if end.error or (end.report is not None and end.report.error):
        return where + (end.error or (end.report.error if end.report is not None else ""))
    if end.exit_code is None:
        return f"{where}ended without an exit code"
    if end.exit_code < 0:
        return f"{where}was killed by signal {-end.exit_code} without a report"
    return f"{where}ended with exit code {end.exit_code} without a report"
