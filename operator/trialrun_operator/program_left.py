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
from trialrun_operator.names import CONTAINER, IN_IMAGE

Document = Mapping[str, Any]

DELETED = "Deleted: the pod was deleted before it had ended by itself"
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

    def ended(outcome: Outcome | None, why: str = "") -> RankReport | None:
        return rank_report(found, rank, outcome, error=why, **_of_pod(document, found))

    if platform is None and rank == 0 and found.wrong:
        platform, error = Outcome.INVALID_CONFIG, found.wrong
        return RankExit(rank, exit_code, None, platform, error, evidence, beside=beside, read=read)
    if platform is not None or exit_code is None:
        error = error or "the pod failed, and nothing is known about its container"
        return RankExit(rank, exit_code, ended(None), platform, error, evidence, beside=beside, read=read)
    if exit_code == 0:
        error = SILENT if found.last is None else ""
        report = ended(Outcome.SUCCEEDED)
        return RankExit(rank, 0, report, error=error, evidence=evidence, beside=beside, read=read)
    outcome = outcome_of(exit_code)
    if outcome is None and "deletionTimestamp" in document["metadata"]:
        return RankExit(rank, exit_code, ended(None), Outcome.EVICTED, DELETED, evidence, beside=beside, read=read)
    error = _how(document, exit_code, found.error or " ".join(last_words(words).split()))
    return RankExit(rank, exit_code, ended(outcome, error), error=error, evidence=evidence, beside=beside, read=read)


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
    containers = (document.get("spec") or {}).get("containers") or ()
    ours: Document = next((each for each in containers if each["name"] == CONTAINER), {})
    limits = (ours.get("resources") or {}).get("limits") or {}
    cpus, most = (quantity(limits[name]) if name in limits else None for name in ("cpu", "memory"))
    told = {
        "cpus": None if cpus is None else float(cpus),
        "memory_limit_bytes": None if most is None else int(most),
    }
    return environment.model_copy(update=told)


def _how(document: Document, exit_code: int, words: str) -> str:
    """How a program ended that failed, and what it said last, or where that stands."""
    how = f"ended with exit code {exit_code}"
    # A container's signal is told as 128 and its number; whatever lies beyond, or is negative, is an exit code.
    if 128 < exit_code <= 128 + LAST_SIGNAL:
        how = f"killed by signal {exit_code - 128} (exit code {exit_code})"
    if words:
        return cut_error(f"{how}; it said: {words}")
    return f"{how}; `kubectl logs {document['metadata']['name']}` has what it said"
