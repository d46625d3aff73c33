"""What can happen to a pod on a node: each behaviour is the stages that the kubelet player takes the pod through.

A test picks one per pod, as in `lambda pod: Succeeds('{"mse": 0.1}')`. Anything with the two attributes of
`Behaviour` is one too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

from cluster import podstatus
from cluster.podstatus import Pod, Status


@dataclass(frozen=True)
class Stage:
    """After some seconds the pod gets a status, and perhaps is deleted: by force, or by asking its kubelet."""

    after_seconds: float
    status: Callable[[Pod, str], Status]
    delete: Literal["", "Force", "Ask"] = ""


class Behaviour(Protocol):
    @property
    def kubelet_answers(self) -> bool:
        """Whether anyone on the node carries out the pod's deletion and deadline."""

    def stages(self, pod: Pod) -> list[Stage]:
        """After the last stage the pod stays as it is, until its deletion or deadline."""


_RUNS = Stage(0.0, podstatus.running)


@dataclass(frozen=True)
class _RunsAndEnds:
    after_seconds: float = field(default=0.0, kw_only=True)

    @property
    def kubelet_answers(self) -> bool:
        return True

    def stages(self, pod: Pod) -> list[Stage]:  # noqa: ARG002 - all pods alike
        return [_RUNS, Stage(self.after_seconds, self.end)]

    def end(self, pod: Pod, now: str) -> Status:
        raise NotImplementedError


@dataclass(frozen=True)
class Succeeds(_RunsAndEnds):
    """Runs, and ends with exit code 0. `message` is its termination message: the trial's record."""

    message: str = ""

    def end(self, pod: Pod, now: str) -> Status:
        return podstatus.ended(pod, now, exit_code=0, message=self.message)


@dataclass(frozen=True)
class SucceedsBesideOthers(Succeeds):
    """Its trainer does; what else there is in the pod runs on."""

    def end(self, pod: Pod, now: str) -> Status:
        return podstatus.trainer_ended(pod, now, exit_code=0, message=self.message)


@dataclass(frozen=True)
class Fails(_RunsAndEnds):
    """Runs, and ends with an exit code other than 0."""

    exit_code: int = 1
    message: str = ""

    def end(self, pod: Pod, now: str) -> Status:
        return podstatus.ended(pod, now, exit_code=self.exit_code, message=self.message)


@dataclass(frozen=True)
class RunsOutOfMemory(_RunsAndEnds):
    """The kernel kills it. Where a child is killed and its parent lives on, the exit code may be 0."""

    exit_code: int = podstatus.KILLED
    message: str = ""

    def end(self, pod: Pod, now: str) -> Status:
        return podstatus.ended(pod, now, exit_code=self.exit_code, message=self.message, reason="OOMKilled")


@dataclass(frozen=True)
class IsEvicted(_RunsAndEnds):
    """The node runs short of memory, and its kubelet ends this pod to get some."""

    message: str = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 64Mi. "
    left: str = ""

    def end(self, pod: Pod, now: str) -> Status:
        return podstatus.ended_by_kubelet(
            pod, now, reason="Evicted", message=self.message, disruption="TerminationByKubelet", left=self.left
        )


@dataclass(frozen=True)
class OutlivesItsDeadline(_RunsAndEnds):
    """The kubelet kills it at its deadline, and finds what it had written by then."""

    left: str = ""

    def end(self, pod: Pod, now: str) -> Status:
        return podstatus.past_deadline(pod, now, self.left)


@dataclass(frozen=True)
class NodeShutsDown(_RunsAndEnds):
    """The node is shut down in good order: its kubelet ends the pods first."""

    def end(self, pod: Pod, now: str) -> Status:
        message = "Pod was terminated in response to imminent node shutdown."
        return podstatus.ended_by_kubelet(
            pod, now, reason="Terminated", message=message, disruption="TerminationByKubelet"
        )


@dataclass(frozen=True)
class LosesItsNode(_RunsAndEnds):
    """The node is removed from the cluster: the pod garbage collector marks the pod failed and deletes it at once."""

    def stages(self, pod: Pod) -> list[Stage]:  # noqa: ARG002 - all pods alike
        return [_RUNS, Stage(self.after_seconds, podstatus.orphaned, delete="Force")]


@dataclass(frozen=True)
class IsCutOff(_RunsAndEnds):
    """The node stops answering: the pod is asked to end, nobody carries it out, and it stays Terminating."""

    @property
    def kubelet_answers(self) -> bool:
        return False

    def stages(self, pod: Pod) -> list[Stage]:  # noqa: ARG002 - all pods alike
        return [_RUNS, Stage(self.after_seconds, podstatus.tainted, delete="Ask")]


@dataclass(frozen=True)
class Hangs:
    """Runs for ever."""

    kubelet_answers: bool = field(default=True, init=False)

    def stages(self, pod: Pod) -> list[Stage]:  # noqa: ARG002 - all pods alike
        return [_RUNS]


@dataclass(frozen=True)
class CannotPullImage:
    """Its image can't be had; the kubelet tries again and again."""

    problem: str = "failed to resolve reference: not found"
    kubelet_answers: bool = field(default=True, init=False)

    def stages(self, pod: Pod) -> list[Stage]:
        image = pod["spec"]["containers"][0]["image"]
        pull = f'failed to pull and unpack image "{image}": {self.problem}'
        back_off = f'Back-off pulling image "{image}": ErrImagePull: {pull}'
        return [
            Stage(0.0, partial(podstatus.waiting, reason="ErrImagePull", message=pull)),
            Stage(0.0, partial(podstatus.waiting, reason="ImagePullBackOff", message=back_off)),
        ]


@dataclass(frozen=True)
class NeverStarts:
    """Is on its node, but its containers are never made: a volume that does not come, say."""

    kubelet_answers: bool = field(default=True, init=False)

    def stages(self, pod: Pod) -> list[Stage]:  # noqa: ARG002 - all pods alike
        return [Stage(0.0, partial(podstatus.waiting, reason="ContainerCreating"))]


@dataclass(frozen=True)
class WaitsInInit:
    """Its init container runs for ever: a PyTorchJob's worker whose master is gone."""

    kubelet_answers: bool = field(default=True, init=False)

    def stages(self, pod: Pod) -> list[Stage]:  # noqa: ARG002 - all pods alike
        return [Stage(0.0, podstatus.in_init)]
