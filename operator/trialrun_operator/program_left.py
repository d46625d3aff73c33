"""What a user's program has left in its termination message: its last reports, or the end of its log. Pure."""

from collections.abc import Mapping
from typing import Any

from trainer.experiment.cost import quantity
from trainer.experiment.judge import LAST_SIGNAL, RankExit, last_words
from trainer.experiment.outcome import Outcome
from trainer.experiment.program_report import SILENT, Told, outcome_of, rank_report, told
from trainer.experiment.progress import ProgressReport, decode
from trainer.experiment.record import CODE, MAX_REPORT_BYTES, Environment, MemoryLimit, RankReport, cut_error
from trainer.experiment.spec import Scalar
from trialrun_operator.backends import backend_of_pod
from trialrun_operator.names import IN_IMAGE

Document = Mapping[str, Any]

DELETED = "Deleted: the pod was deleted before it had ended by itself"
UNKNOWN = "the pod failed, and nothing is known about its container"
_WHERE = "the reports"
_CUT_OFF = f"; a report has at most {MAX_REPORT_BYTES} bytes, and what is longer is cut off"


def program_exit(
    document: Document,
    terminated: Document,
    rank: int,
    code: str,
    platform: Outcome | None,
    error: str,
    evidence: Mapping[str, Scalar],
) -> RankExit:
    """How a rank of a program ended. `platform`, `error` and `evidence` are what was done to it from outside.

    `code` is the hash of the code that it ran, or that it was in its image.
    """
    exit_code = terminated.get("exitCode")
    found, words = _told(terminated.get("message") or "", orderly=exit_code == 0)
    beside: dict[str, Scalar] = {}
    if rank == 0:
        beside = found.beside() | ({} if code == IN_IMAGE else {CODE: code})
    read = frozenset(found.read) if rank == 0 and found.read is not None else None

    def report(outcome: Outcome | None, why: str = "") -> RankReport | None:
        return rank_report(found, rank, outcome, error=why, **_of_pod(document, found))

    def end(left: RankReport | None, platform: Outcome | None, why: str) -> RankExit:
        return RankExit(rank, exit_code, left, platform, why, evidence, beside=beside, read=read)

    if platform is None and rank == 0 and found.wrong:
        return end(None, Outcome.INVALID_CONFIG, found.wrong)
    if platform is not None or exit_code is None:
        return end(report(None), platform, error or UNKNOWN)
    if exit_code == 0:
        return end(report(Outcome.SUCCEEDED), None, SILENT if found.last is None else "")
    outcome = outcome_of(exit_code)
    if outcome is None and "deletionTimestamp" in document["metadata"]:
        return end(report(None), Outcome.EVICTED, DELETED)
    why = _how(document, exit_code, found.error or " ".join(last_words(words).split()))
    return end(report(outcome, why), None, why)


def _told(message: str, *, orderly: bool) -> tuple[Told, str]:
    """What a message holds of reports, and what else: the end of the log of a program that failed and told nothing.

    Of what is longer a kubelet keeps the end: the first line may be the rest of one. So may the last be a beginning,
    where the program did not end in `orderly` fashion.
    """
    text = message.encode()
    lines = [line for line in text.split(b"\n") if line.strip()]
    cut = len(text) >= MAX_REPORT_BYTES
    if cut and len(lines) > 1:
        lines = lines[1:]
    if not orderly:
        if not any(map(_is_report, lines)):
            return Told(_WHERE), message
        if not _is_report(lines[-1]):
            lines = lines[:-1]
    found = told(lines, _WHERE)
    if found.wrong and cut:
        found.wrong += _CUT_OFF
    return found, ""


def _is_report(line: bytes) -> bool:
    try:
        decode(line)
    except ValueError:
        return False
    return True


def _of_pod(document: Document, found: Told) -> dict[str, Any]:
    """What a rank tells of itself, with the limits that its pod has."""
    last = found.last or ProgressReport()
    memory, environment = last.memory, in_pod(last.environment or Environment(), document)
    if memory is not None and environment.memory_limit_bytes is not None:
        limit = MemoryLimit(bytes=environment.memory_limit_bytes, kept_by="Cgroup")
        memory = memory.model_copy(update={"limit": limit})
    return {"memory": memory, "environment": environment, "clock": last.clock}


def in_pod(environment: Environment, document: Document) -> Environment:
    """What a program tells of where it ran, with the limits that its pod has: it does not know them."""
    limits = limits_of(document)
    cpus, most = (quantity(limits[name]) if name in limits else None for name in ("cpu", "memory"))
    told = {
        "cpus": None if cpus is None else float(cpus),
        "memory_limit_bytes": None if most is None else int(most),
    }
    return environment.model_copy(update=told)


def limits_of(document: Document) -> Mapping[str, str]:
    """The limits of a pod's training container, by resource."""
    backend, containers = backend_of_pod(document), (document.get("spec") or {}).get("containers") or ()
    ours: Document = next((each for each in containers if backend and each["name"] == backend.container), {})
    return (ours.get("resources") or {}).get("limits") or {}


def is_signal(exit_code: int) -> bool:
    """Whether a container's exit code tells of a signal: of 128 and its number. What lies beyond is an exit code."""
    return 128 < exit_code <= 128 + LAST_SIGNAL


def how_ended(exit_code: int) -> str:
    """How a container ended, in words."""
    if is_signal(exit_code):
        return f"killed by signal {exit_code - 128} (exit code {exit_code})"
    return f"ended with exit code {exit_code}"


def _how(document: Document, exit_code: int, words: str) -> str:
    """How a program ended that failed, and what it said last, or where that stands."""
    how = how_ended(exit_code)
    if words:
        return cut_error(f"{how}; it said: {words}")
    return f"{how}; `kubectl logs {document['metadata']['name']}` has what it said"
