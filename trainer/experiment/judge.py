"""How an attempt ended, from how each of its ranks ended: the same verdict locally and on a cluster.

Of several ranks that went wrong the one nearest to the cause decides: see `Nearness`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from trainer.experiment.expand import Trial
from trainer.experiment.memory_words import out_of_memory
from trainer.experiment.metrics import OBJECTIVES
from trainer.experiment.outcome import RETRIED, Outcome
from trainer.experiment.record import HASHES, NAIVE, Environment, RankReport, Record, cut_error, hash_text
from trainer.experiment.spec import Scalar


@dataclass(frozen=True)
class Ending:
    """How one rank ended.

    `platform` is what was done to it from outside, in a sentence in `error` and in figures in `evidence`: killed for
    memory, by a deadline, evicted. `exit_code` is None where no process ever ended, negative for a signal.
    """

    rank: int
    exit_code: int | None = None
    report: RankReport | None = None
    platform: Outcome | None = None
    error: str = ""
    evidence: Mapping[str, Scalar] = field(default_factory=dict)

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


def judge(endings: Sequence[Ending], metric: str | None) -> Verdict:
    """The verdict on an attempt whose ranks ended so; `metric` is the objective, which rank 0 must have measured."""
    causes = [(nearness, end) for end in endings if (nearness := _nearness(end)) is not None]
    if causes:
        _, end = min(causes, key=lambda cause: (cause[0], _clock(cause[1]), cause[1].rank))
        return Verdict(_outcome(end), _about(end, endings), end.rank, end.exit_code, end.evidence)
    first = next((end for end in endings if end.rank == 0), None)
    report = first.said if first is not None else None
    if report is None:
        why = f": {first.error}" if first is not None and first.error else ""
        return Verdict(Outcome.METRICS_MISSING, f"rank 0 ended without a report{why}", 0, 0)
    if metric is not None and metric not in report.metrics:
        return Verdict(Outcome.METRICS_MISSING, _missing(metric, report.metrics), 0, 0)
    return Verdict(Outcome.SUCCEEDED, exit_code=0)


def make_record(
    trial: Trial,
    *,
    attempt: int,
    endings: Sequence[Ending],
    metric: str | None,
    times: Times,
    retries_left: bool = False,
    oversubscribed: bool = False,
) -> Record:
    """The record of an attempt. `metric` is the objective where it is one of the trial's metrics."""
    verdict = judge(endings, metric)
    reports = {end.rank: end.report for end in endings if end.report is not None}
    lead = reports[min(reports)] if reports else RankReport()
    total = max(0, times.finished - times.started) / 1000
    queued = max(0, times.started - times.accepted) / 1000
    began = times.process if times.process is not None else times.started
    start = lead.seconds.start + max(0, began - times.started) / 1000
    metrics = dict(lead.metrics)
    rests_on = {key: hash_text(metrics.pop(name)) for name, key in HASHES.items() if name in metrics}
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
        evidence={**verdict.evidence, **rests_on},
        metrics=metrics if verdict.outcome is Outcome.SUCCEEDED else {},
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


class Nearness(IntEnum):
    """How near a rank's ending is to the cause of an attempt's failure; of equals, the earliest by its report."""

    KILLED_FOR_MEMORY = 0
    REMOVED = 1  # evicted, lost with its node, never started: whatever its peers say follows from it
    OWN_ERROR = 2
    OUT_OF_TIME = 3  # its peers may have waited for a rank that failed until their time was up
    MUTE = 4
    LOST_PEER = 5


def _nearness(end: Ending) -> Nearness | None:
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
    said = f"the objective {metric} was not reported"
    known = OBJECTIVES.get(metric)
    # Our trainer measures all metrics of a part or none of it.
    if known is not None and known.undefined and metric.removesuffix("R2") + "Mse" in reported:
        return f"{said}: {known.undefined}"
    found = [name for name in reported if name not in HASHES and not name.startswith(NAIVE)]
    return f"{said}; reported: {', '.join(found) or 'none'}"


def _clock(end: Ending) -> int:
    return end.report.clock if end.report is not None else 0


def _outcome(end: Ending) -> Outcome:
    if end.platform is not None:
        return end.platform
    # One that reported success and then failed crashed on its way out.
    if end.said is None or end.said.outcome is Outcome.SUCCEEDED:
        return out_of_memory(end.error) or Outcome.CRASHED  # what it said last, where it could not report
    return end.said.outcome


def _about(end: Ending, endings: Sequence[Ending]) -> str:
    where = f"rank {end.rank}: " if len(endings) > 1 else ""
    if end.error or (end.said is not None and end.said.error):
        return where + (end.error or (end.said.error if end.said is not None else ""))
    if end.exit_code is None:
        return f"{where}ended without an exit code"
    if end.exit_code < 0:
        return f"{where}was killed by signal {-end.exit_code} without a report"
    return f"{where}ended with exit code {end.exit_code} without a report"
