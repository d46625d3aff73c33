"""What every backend tells: how its job is made of a trial's pod, and how a job and its pods are read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialrun_operator.names import Resource

Document = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """What a job is made of.

    `metadata` are its name, namespace and owner. `labels` are ours, for the job and its pods; `chosen` what the
    experiment puts on them: `labels` and `annotations`. `pod` is the spec of each of its `workers` pods, with one
    container; of that one's variables `told` differ from trial to trial. `processes` are a worker's, where torchrun
    may start several. `link` is a text that no other job has. `queue` is the Kueue queue that admits the job.
    """

    metadata: Document
    labels: Mapping[str, str]
    chosen: Mapping[str, Mapping[str, str]]
    pod: Document
    workers: int
    told: frozenset[str]
    processes: int | None
    link: str
    queue: str | None = None

    @property
    def name(self) -> str:
        """The job's."""
        return str(self.metadata["name"])


@dataclass(frozen=True)
class JobState:
    """What a job's status tells. Times are as the API server writes them, None where it has none.

    `ended` is when it succeeded or failed, `released` since when it may have pods after it was suspended, both None
    otherwise.
    """

    ended: str | None
    message: str
    suspended: bool
    released: str | None


@dataclass(frozen=True)
class Place:
    """Where a pod belongs: its rank, and what links it to its job."""

    rank: int
    link: str


@dataclass(frozen=True)
class Complaint:
    """The Events by which a controller says that a job's pods can't be made: `suffix` follows the job's name."""

    kind: str
    reason: str
    suffix: str = ""


class Backend(ABC):
    """One kind of job, `jobs`.

    `container` is what the training container must be called. `install` is how a cluster gets it, `longest_name` how
    long an experiment's name may be. `complaints` are the Events that say why there are no pods.
    """

    jobs: Resource
    container: str
    install: str
    longest_name: int
    complaints: Sequence[Complaint]

    @abstractmethod
    def make(self, parts: Parts) -> tuple[Document, tuple[Resource, Document] | None]:
        """The job, and what must be there before it is, and may be for others already, with its kind."""

    @abstractmethod
    def state(self, document: Mapping[str, Any]) -> JobState:
        """What a job's status tells."""

    @abstractmethod
    def link(self, metadata: Mapping[str, Any]) -> str:
        """What the pods of a job name it by."""

    @abstractmethod
    def owns(self, owner: Mapping[str, Any]) -> bool:
        """Whether a pod with this controller is one of a job's."""

    @abstractmethod
    def place(self, metadata: Mapping[str, Any]) -> Place | None:
        """Where a pod belongs; None where its labels are not as its controller writes them."""

    def is_early(self, refusal: str) -> bool:  # noqa: ARG002
        """Whether a job is refused because its controller has not yet seen what it shares with others."""
        return False

    def counted(self, refusal: str) -> bool:
        """Whether a quota refuses a job for the number of jobs that there are, ended ones included."""
        return "exceeded quota" in refusal and f"count/{self.jobs.plural}.{self.jobs.group}" in refusal


def controller(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference of an object's controller, None where it has none."""
    return next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), None)


def condition(document: Mapping[str, Any], *kinds: str) -> Mapping[str, Any] | None:
    """The first condition of one of these types in a status, None where there is none."""
    found = (document.get("status") or {}).get("conditions") or ()
    return next((each for each in found if each["type"] in kinds), None)


def holds(condition: Mapping[str, Any] | None) -> bool:
    """Whether a condition is true."""
    return condition is not None and condition.get("status") == "True"


def metadata_of(parts: Parts, **labels: str) -> Document:
    """The labels and annotations of a job or a pod: ours, those that the experiment chose, and `labels`."""
    made: Document = {"labels": {**parts.chosen["labels"], **parts.labels, **labels}}
    return made | ({"annotations": dict(parts.chosen["annotations"])} if parts.chosen["annotations"] else {})
