"""Decides what of a look is worth an Event and a log line: attempts that failed, and conditions that changed."""

import logging
from collections.abc import Mapping
from typing import Any

from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, cut_error
from trialrun_operator import conditions as c
from trialrun_operator.events import failure_message, tell, worth_telling
from trialrun_operator.kube import Kube
from trialrun_operator.metrics import Metrics
from trialrun_operator.store import ExperimentObject

_log = logging.getLogger(__name__)
# Reasons of Progressing that a user should hear of, and whether they are a warning.
_TOLD = {
    c.RUNNING: False,
    c.SUSPENDED: False,
    c.WINDING_UP: True,
    c.BACKEND_MISSING: True,
    c.NAME_CONFLICT: True,
    c.CREATION_REFUSED: True,
    c.INVALID: True,
}


# Reasons of Comparable by which a user hears that a comparison is there.
_COMPARED = (c.SAME, c.DIFFERENT)


async def records(kube: Kube, metrics: Metrics, seen: ExperimentObject, written: list[Record], now: int) -> None:
    """Counts the records just written, and tells of the failures among them."""
    if not written:
        return
    for record in written:
        metrics.trials.labels(seen.key.kind, str(record.outcome)).inc()
    counts = {str(record.outcome): 0 for record in written}
    for record in written:
        counts[str(record.outcome)] += 1
    listed = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    _log.info("%s: recorded %d attempts (%s)", seen.key, len(written), listed)
    for record in worth_telling(written):
        reason = "TrialFailed" if record.final else "TrialRetried"
        message = failure_message(record)
        await tell(
            kube, seen.key, seen.uid, _rerun(seen.status), reason=reason, message=message, now=now, warning=True
        )


async def baseline(kube: Kube, seen: ExperimentObject, written: list[Record], now: int) -> None:
    """Tells of the attempts at measuring a baseline just written that failed."""
    for record in written:
        _log.info("%s: its baseline's attempt %d ended as %s", seen.key, record.attempt, record.outcome)
        if record.outcome is not Outcome.SUCCEEDED:
            reason = "BaselineFailed" if record.final else "BaselineRetried"
            message = f"Baseline, attempt {record.attempt}: {record.outcome}. {cut_error(record.error, 500)}"
            await tell(
                kube, seen.key, seen.uid, _rerun(seen.status), reason=reason, message=message, now=now, warning=True
            )


async def changes(kube: Kube, seen: ExperimentObject, made: Mapping[str, Any], now: int) -> None:
    """Tells how the status just written differs from the one before in what matters to a user."""
    before, after = _conditions(seen.status), _conditions(made)
    progressing, finished = after.get(c.PROGRESSING, {}), after.get(c.FINISHED, {})
    if finished.get("status") == "True" and before.get(c.FINISHED, {}).get("status") != "True":
        how = after[c.SUCCEEDED]
        _log.info("%s: finished, %s: %s", seen.key, how["reason"], how["message"].replace("\n", "; "))
        bad = how["status"] != "True"
        await tell(
            kube, seen.key, seen.uid, _rerun(made), reason=how["reason"], message=how["message"], now=now, warning=bad
        )
        return
    compared = after.get(c.COMPARABLE, {})
    if compared.get("reason") in _COMPARED and compared["reason"] != before.get(c.COMPARABLE, {}).get("reason"):
        _log.info("%s: %s: %s", seen.key, compared["reason"], compared["message"])
        message = compared["message"]
        await tell(
            kube, seen.key, seen.uid, _rerun(made), reason=compared["reason"], message=message, now=now, warning=False
        )
    reason = progressing.get("reason", "")
    if reason in _TOLD and reason != before.get(c.PROGRESSING, {}).get("reason"):
        message = progressing["message"]
        _log.info("%s: %s: %s", seen.key, reason, message.replace("\n", "; "))
        await tell(
            kube, seen.key, seen.uid, _rerun(made), reason=reason, message=message, now=now, warning=_TOLD[reason]
        )


def _rerun(status: Mapping[str, Any]) -> int:
    """The rerun that a status is about."""
    return int(status.get("rerun", 0))


def _conditions(status: Mapping[str, Any]) -> dict[str, Any]:
    return {condition["type"]: condition for condition in status.get("conditions") or ()}
