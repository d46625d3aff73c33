"""What Kueue says of jobs that wait in its queues: the words of their Workloads. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from trialrun_operator.names import Resource
from trialrun_operator.observe import Attempt, Job

WORKLOADS = Resource("kueue.x-k8s.io", "v1beta2", "workloads", "Workload")
_JOB = "kueue.x-k8s.io/job-uid"
_ASKED = 100  # at once: a selector has its length


def waiting(attempts: Iterable[Attempt]) -> list[Job]:
    """The jobs that are suspended, the oldest first."""
    found = [each.job for each in attempts if each.job is not None and each.job.suspended and not each.job.deleting]
    return sorted((job for job in found if job.ended is None), key=lambda job: (job.created, job.name))


def asked(jobs: Sequence[Job]) -> Iterator[tuple[Sequence[Job], str]]:
    """Some of the jobs at a time, with the label selector of their Workloads.

    Of Workloads that are alike Kueue tries one and tells only that one why it waits, often but not always an old one.
    """
    for first in range(0, len(jobs), _ASKED):
        some = jobs[first : first + _ASKED]
        yield some, f"{_JOB} in ({','.join(job.uid for job in some)})"


def words(jobs: Sequence[Job], workloads: Sequence[Mapping[str, Any]]) -> str:
    """Why the first of these jobs of which it is known waits; empty where it is known of none."""
    found = {(each["metadata"].get("labels") or {}).get(_JOB): _words(each) for each in workloads}
    return next((f"{job.name}: {said}" for job in jobs if (said := found.get(job.uid))), "")


def _words(workload: Mapping[str, Any]) -> str:
    """Why quota is not reserved for a Workload, or what else it waits for; empty where it was admitted."""
    conditions = {each["type"]: each for each in (workload.get("status") or {}).get("conditions") or ()}
    for kind in ("QuotaReserved", "Admitted"):
        condition = conditions.get(kind)
        if condition is not None and condition.get("status") != "True":
            return str(condition.get("message") or condition.get("reason") or "")
    return ""
