"""Tells users through Kubernetes Events what has happened to their experiment. Best effort: the status has it too."""

import hashlib
import logging

from trainer.experiment.outcome import ADVICE, Outcome
from trainer.experiment.record import Record, cut_error
from trialrun_operator.kube import ApiFailure, Kube
from trialrun_operator.names import EVENTS, Key
from trialrun_operator.observe import timestamp

_log = logging.getLogger(__name__)
_MAX_MESSAGE = 1000
# Of the failures of one beat the first few are told; a search of thousands must not flood the API server.
MAX_FAILURES = 5


async def tell(
    kube: Kube, key: Key, uid: str, rerun: int, *, reason: str, message: str, now: int, warning: bool = False
) -> None:
    """An Event about an experiment. Its name follows from what it says, so that saying it again makes no other.

    `rerun` is the one that it is about: the next may say the same, and that is news.
    """
    digest = hashlib.sha256(f"{uid}/{rerun}/{reason}/{message}".encode()).hexdigest()[:16]
    body = {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{key.name}.{digest}", "namespace": key.namespace},
        "involvedObject": {
            "apiVersion": key.resource.api_version,
            "kind": key.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": uid,
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


def failure_message(record: Record) -> str:
    """What to tell about a failed attempt."""
    parameters = ", ".join(f"{name}={value}" for name, value in record.parameters.items())
    what = "" if record.final else " It is tried again."
    error = record.error.rstrip(".")
    said = f": {error}" if error else ""
    return (
        f"Trial {record.index} ({record.id}; {parameters}), attempt {record.attempt}, "
        f"ended as {record.outcome}{said}.{what or ' ' + ADVICE[record.outcome]}"
    )


def worth_telling(records: list[Record]) -> list[Record]:
    """Of the records just written, those that users should hear of one by one."""
    return [record for record in records if record.outcome not in (Outcome.SUCCEEDED, Outcome.SKIPPED)][:MAX_FAILURES]
