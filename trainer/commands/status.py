"""`status NAME`: how an experiment on a cluster stands, what keeps it from going on, and what to do about that."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any

from trainer import arguments
from trainer.commands.trial_pods import TrialPod, trial_pods
from trainer.experiment.errors import UserError
from trainer.kubectl import Reference, find, pods_of
from trainer.report.wording import brief, count, duration, number, one_line

_WIDTH = 100
_LABEL = 11
_MOST = 3  # failed trials, and trials that wait, that are named
_OPERATOR = "app.kubernetes.io/name=trialrun"
_MOMENT = "%Y-%m-%d %H:%M:%S"
_NO_FAILURE = ("Pending", "Running", "Succeeded", "Skipped", "Stopped")

Document = Mapping[str, Any]
Row = tuple[str, str]


def main(options: argparse.Namespace) -> int:
    """Prints it."""
    wanted, found = find(options.experiment, options.namespace)
    if options.json:
        print(json.dumps(found.get("status") or {}))
        return 0
    print("\n".join(_text(options, wanted, found)))
    return 0


def _text(options: argparse.Namespace, wanted: Reference, found: Document) -> Iterator[str]:
    status = found.get("status") or {}
    yield f"{wanted.text} in namespace {wanted.namespace}: {status.get('phase', 'not taken up')}"
    for label, said in _rows(options, wanted, found, status):
        lines = wrap(one_line(said, 4000), _WIDTH - _LABEL, break_long_words=False) or [""]
        yield f"  {label:{_LABEL - 2}}{lines[0]}".rstrip()
        yield from (" " * _LABEL + line for line in lines[1:])


def _rows(options: argparse.Namespace, wanted: Reference, found: Document, status: Document) -> Iterator[Row]:
    if not status:
        yield (
            "waits",
            f"No operator has looked at it yet. `kubectl get pods -A -l {_OPERATOR}` shows whether one runs.",
        )
        return
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    if status.get("phase") == "Invalid":
        yield from (("mistake", line) for line in _message(conditions, "Accepted").splitlines())
        return
    pods = _waiting(wanted, found) if status.get("running") else []
    yield "trials", _counts(status, pods)
    yield from _best(status)
    yield from _times(status)
    yield from _verdicts(options, wanted, status, conditions)
    if status.get("observedGeneration") != found["metadata"].get("generation"):
        yield "note", "The operator has not acted on the latest change yet."
    yield from _waits(pods)
    yield from _failures(options, wanted, status)


def _counts(status: Document, pods: Sequence[TrialPod]) -> str:
    counts = (status.get("summary") or {}).get("counts") or {}
    said = [f"{status.get('done', '0/0').replace('/', ' of ')} done"]
    if running := status.get("running"):
        waiting = len({pod.trial for pod in pods})
        said.append(
            f"{running} running" + (f" ({waiting} of them {'waits' if waiting == 1 else 'wait'})" if waiting else "")
        )
    said.append(f"{status.get('failed', 0)} failed")
    said += [
        f"{counts[kind]} {word}"
        for kind, word in (("stopped", "stopped early"), ("skipped", "skipped"))
        if counts.get(kind)
    ]
    return ", ".join(said)


def _times(status: Document) -> Iterator[Row]:
    if "acceptedAt" not in status:
        return
    accepted = datetime.fromisoformat(status["acceptedAt"]).astimezone(UTC)
    if "finishedAt" in status:
        finished = datetime.fromisoformat(status["finishedAt"]).astimezone(UTC)
        took = duration((finished - accepted).total_seconds())
        said = f"{took}, from {accepted:{_MOMENT}} to {finished:{_MOMENT}} UTC"
    else:
        said = f"accepted {accepted:{_MOMENT}} UTC, {duration((datetime.now(UTC) - accepted).total_seconds())} ago"
    yield "time", said


def _best(status: Document) -> Iterator[Row]:
    """The best trial of a search; of a scale test how far it came."""
    best = (status.get("summary") or {}).get("best")
    if best is not None:
        point = ", ".join(f"{path} {brief(value)}" for path, value in best["parameters"].items())
        yield "best", f"trial {best['index']} ({best['id']}) with {best['metric']} {number(best['value'])}: {point}"
    if "largest" in status:
        yield "largest", f"{status['largest']} of the base set"
    if status.get("oom"):
        yield "memory", f"{count(status['oom'], 'cell')} ran out of memory"
    if "speedup" in status:
        yield "speedup", status["speedup"]


def _verdicts(
    options: argparse.Namespace, wanted: Reference, status: Document, conditions: Mapping[str, Document]
) -> Iterator[Row]:
    """What its conditions say, where that is worth reading."""
    accepted = _message(conditions, "Accepted").splitlines()
    # The first line of a valid one says no more than that.
    valid = conditions.get("Accepted", {}).get("reason") == "Valid"
    yield from (("note", line) for line in accepted[1 if valid else 0 :])
    if conditions.get("Finished", {}).get("status") == "True":
        yield "result", _message(conditions, "Succeeded")
        if status.get("failed") or not _all_done(status):
            rerun = arguments.call(options, "rerun", wanted.text)
            yield "next", f"{rerun} runs failed and missing trials again."
    elif "Progressing" in conditions:
        goes = conditions["Progressing"].get("status") == "True"
        yield "now" if goes else "waits", _message(conditions, "Progressing")
        yield from (("note", caveat) for caveat in (status.get("summary") or {}).get("caveats") or ())
    if conditions.get("Comparable", {}).get("reason", "NoBaseline") != "NoBaseline":
        yield "baseline", _message(conditions, "Comparable")


def _message(conditions: Mapping[str, Document], kind: str) -> str:
    return str(conditions.get(kind, {}).get("message", ""))


def _all_done(status: Document) -> bool:
    done, _, total = status.get("done", "").partition("/")
    return bool(done == total)


def _waiting(wanted: Reference, found: Document) -> list[TrialPod]:
    """The pods that have not started; none where the user may not list pods, which the rest doesn't need."""
    try:
        pods = pods_of(wanted, dict(found), "--field-selector=status.phase=Pending")
    except UserError:
        return []
    return [pod for pod in trial_pods(pods) if pod.waits]


def _waits(pods: Sequence[TrialPod]) -> Iterator[Row]:
    """Of each reason why trials have not started, the first of them."""
    by_reason: dict[str, list[TrialPod]] = {}
    for pod in pods:
        by_reason.setdefault(pod.waits, []).append(pod)
    for why, alike in list(by_reason.items())[:_MOST]:
        others = len({pod.trial for pod in alike}) - 1
        more = f" and {count(others, 'other')}" if others else ""
        yield "waits", f"{alike[0].said}{more}: {why}"


def _failures(options: argparse.Namespace, wanted: Reference, status: Document) -> Iterator[Row]:
    failed = [each for each in status.get("trials") or () if each["state"] not in _NO_FAILURE]
    for each in failed[:_MOST]:
        yield "failed", f"trial {each['index']} ({each['id']}) {each['state']}: {each.get('error', '')}"
    if failed:
        first = str(failed[0]["index"])
        yield "", f"{arguments.call(options, 'logs', wanted.text, first)} prints the log of trial {first}."
