"""Tells users of what a look has found, in Kubernetes Events and log lines: failed attempts and changed conditions.

Best effort: the status and the ledger have all of it.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.experiment.expand import Kind
from trainer.experiment.outcome import Outcome, advice
from trainer.experiment.record import Record, cut_error
from trainer.scheduling.workload import Workload
from trialrun_operator import conditions as c
from trialrun_operator.kube import ApiFailure, Kube
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import EVENTS
from trialrun_operator.observe import timestamp
from trialrun_operator.store import ExperimentObject

_log = logging.getLogger(__name__)
_MAX_MESSAGE = 1000
# Of the failures that are written at once the first few are told; thousands must not flood the API server.
MAX_FAILURES = 5
# Reasons of Progressing that a user should hear of, and whether they are a warning.
_TOLD = {
    c.RUNNING: False,
    c.SUSPENDED: False,
    c.WINDING_UP: True,
    c.BACKEND_MISSING: True,
    c.NAME_CONFLICT: True,
    c.CREATION_REFUSED: True,
    c.CANNOT_SUGGEST: True,
    c.CODE_UNAVAILABLE: True,
    c.NOT_PERMITTED: True,
    c.BUDGET_USED_UP: False,
    c.INVALID: True,
}
# Reasons of Comparable by which a user hears that a comparison is there.
_COMPARED = (c.SAME, c.DIFFERENT)


async def recorded(
    kube: Kube, metrics: Metrics, seen: ExperimentObject, work: Workload, written: Sequence[Record], now: int
) -> None:
    """Counts the records just written, and tells of the failures among them."""
    if not written:
        return
    counts: dict[str, int] = {}
    baselines = [record for record in written if work.by_id[record.id].kind is Kind.BASELINE]
    trials = [record for record in written if work.by_id[record.id].kind is not Kind.BASELINE]
    for record in trials:
        metrics.trials.labels(seen.key.kind, str(record.outcome)).inc()
        counts[str(record.outcome)] = counts.get(str(record.outcome), 0) + 1
    if trials:
        listed = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        _log.info("%s: recorded %d attempts (%s)", seen.key, len(trials), listed)
    program = work.experiment.spec.program is not None
    for record in worth_telling(trials):
        reason = "TrialFailed" if record.final else "TrialRetried"
        await _tell(kube, seen, seen.status, reason, failure_message(record, program=program), now, warning=True)
    for record in baselines:
        _log.info("%s: its baseline's attempt %d ended as %s", seen.key, record.attempt, record.outcome)
        if record.outcome is not Outcome.SUCCEEDED:
            reason = "BaselineFailed" if record.final else "BaselineRetried"
            message = f"Baseline, attempt {record.attempt}: {record.outcome}. {cut_error(record.error, 500)}"
            await _tell(kube, seen, seen.status, reason, message, now, warning=True)


async def changed(kube: Kube, seen: ExperimentObject, made: Mapping[str, Any], now: int) -> None:
    """Tells how the status just written differs from the one before in what matters to a user."""
    before, after = _conditions(seen.status), _conditions(made)
    progressing, finished = after.get(c.PROGRESSING, {}), after.get(c.FINISHED, {})
    if finished.get("status") == "True" and before.get(c.FINISHED, {}).get("status") != "True":
        how = after[c.SUCCEEDED]
        _log.info("%s: finished, %s: %s", seen.key, how["reason"], how["message"].replace("\n", "; "))
        await _tell(kube, seen, made, how["reason"], how["message"], now, warning=how["status"] != "True")
        return
    compared = after.get(c.COMPARABLE, {})
    if compared.get("reason") in _COMPARED and compared["reason"] != before.get(c.COMPARABLE, {}).get("reason"):
        _log.info("%s: %s: %s", seen.key, compared["reason"], compared["message"])
        await _tell(kube, seen, made, compared["reason"], compared["message"], now, warning=False)
    reason = progressing.get("reason", "")
    if reason in _TOLD and reason != before.get(c.PROGRESSING, {}).get("reason"):
        message = progressing["message"]
        _log.info("%s: %s: %s", seen.key, reason, message.replace("\n", "; "))
        await _tell(kube, seen, made, reason, message, now, warning=_TOLD[reason])


def failure_message(record: Record, *, program: bool) -> str:
    """What to tell about a failed attempt."""
    parameters = ", ".join(f"{name}={value}" for name, value in record.parameters.items())
    what = "" if record.final else " It is tried again."
    error = record.error.rstrip(".")
    said = f": {error}" if error else ""
    return (
        f"Trial {record.index} ({record.id}; {parameters}), attempt {record.attempt}, "
        f"ended as {record.outcome}{said}.{what or ' ' + advice(record.outcome, program=program)}"
    )


def worth_telling(records: list[Record]) -> list[Record]:
    """Of the records just written, those that users should hear of one by one."""
    return [record for record in records if record.outcome not in (Outcome.SUCCEEDED, Outcome.SKIPPED)][:MAX_FAILURES]


async def _tell(
    kube: Kube,
    seen: ExperimentObject,
    status: Mapping[str, Any],
    reason: str,
    message: str,
    now: int,
    *,
    warning: bool,
) -> None:
    """An Event about an experiment. Its name follows from what it says, so that saying it again makes no other.

    The rerun that `status` is about is part of that: the next may say the same, and that is news.
    """
    key = seen.key
    digest = hashlib.sha256(f"{seen.uid}/{status.get('rerun', 0)}/{reason}/{message}".encode()).hexdigest()[:16]
    body = {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{key.name}.{digest}", "namespace": key.namespace},
        "involvedObject": {
            "apiVersion": key.resource.api_version,
            "kind": key.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": seen.uid,
        },
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": cut_error(message, _MAX_MESSAGE),
        "firstTimestamp": timestamp(now - now % 1000),
        "lastTimestamp": timestamp(now - now % 1000),
        "count": 1,
        "source": {"component": "trialrun-operator"},
    }
    try:
        await kube.create(EVENTS.path(key.namespace), body, metadata_only=True)
    except ApiFailure as failure:
        _log.debug("%s: an Event was not taken: %s", key, failure)


def _conditions(status: Mapping[str, Any]) -> dict[str, Any]:
    return {condition["type"]: condition for condition in status.get("conditions") or ()}
