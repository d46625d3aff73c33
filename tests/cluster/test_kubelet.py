"""What the kubelet player does to pods looks as a kubelet leaves it, and the real training operator takes it so."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cluster.api import ApiError, Json
from cluster.behaviours import (
    Behaviour,
    CannotPullImage,
    Fails,
    Hangs,
    IsCutOff,
    IsEvicted,
    LosesItsNode,
    NeverStarts,
    NodeShutsDown,
    RunsOutOfMemory,
    Succeeds,
    WaitsInInit,
)
from cluster.controlplane import ControlPlane
from cluster.kubelet import KubeletPlayer
from cluster.testcluster import Cluster
from eventually import eventually


def pod_template(**spec: Any) -> Json:
    # The training operator's container; a second is as long as a pod that is deleted may take.
    container = {"name": "pytorch", "image": "trainer:1", **spec.pop("container", {})}
    return {"spec": {"containers": [container], "terminationGracePeriodSeconds": 1, **spec}}


def pytorch_job(name: str, *, workers: int = 0, **spec: Any) -> Json:
    def replicas(count: int) -> Json:
        return {"replicas": count, "restartPolicy": "Never", "template": pod_template(**spec)}

    specs = {"Master": replicas(1)} | ({"Worker": replicas(workers)} if workers else {})
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name},
        "spec": {"runPolicy": {"cleanPodPolicy": "None"}, "pytorchReplicaSpecs": specs},
    }


class Place:
    """The jobs and pods of one test's namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._api = cluster.api
        self._jobs = f"/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs"
        self._pods = f"/api/v1/namespaces/{namespace}/pods"

    def start(self, job: Json) -> None:
        self._api.create(self._jobs, job)

    def create_pod(self, name: str, **spec: Any) -> Json:
        return self._api.create(self._pods, {"metadata": {"name": name}, **pod_template(**spec)})

    def delete_pod(self, name: str) -> None:
        self._api.delete(f"{self._pods}/{name}")

    def job_conditions(self, name: str) -> list[str]:
        """The job's conditions that hold now."""
        conditions = self._api.get(f"{self._jobs}/{name}").get("status", {}).get("conditions", [])
        return [each["type"] for each in conditions if each["status"] == "True"]

    def pod(self, name: str) -> Json | None:
        return self._api.get_if_there(f"{self._pods}/{name}")

    def unfinished_pods(self) -> list[Json]:
        return self._api.list(self._pods, fieldSelector="status.phase!=Succeeded", limit="1")

    def job_becomes(self, name: str, condition: str) -> None:
        eventually(lambda: condition in self.job_conditions(name), what=f"job {name} is {condition}")

    def pod_when(self, name: str, true: Callable[[Json], bool], what: str) -> Json:
        def found() -> Json | None:
            pod = self.pod(name)
            return pod if pod and true(pod) else None

        return eventually(found, what=f"pod {name} {what}")

    def pod_in_phase(self, name: str, phase: str) -> Json:
        return self.pod_when(name, lambda pod: pod["status"]["phase"] == phase, f"is {phase}")


@pytest.fixture
def place(cluster: Cluster, namespace: str) -> Place:
    return Place(cluster, namespace)


def container_state(pod: Json, kind: str) -> Json:
    """The state of the first container, which must be of this kind, without its times."""
    state: Json = pod["status"]["containerStatuses"][0]["state"]
    assert list(state) == [kind]
    return {key: value for key, value in state[kind].items() if not key.endswith("At")}


def condition(pod: Json, kind: str) -> tuple[str, str] | None:
    for each in pod["status"].get("conditions", []):
        if each["type"] == kind:
            return each["status"], each.get("reason", "")
    return None


def play_all(kubelet: KubeletPlayer, namespace: str, behaviour: Behaviour) -> None:
    kubelet.play(namespace, lambda pod: behaviour)  # noqa: ARG005


def test_a_job_whose_pod_succeeds_is_succeeded_and_the_pod_keeps_its_message(
    place: Place, namespace: str, kubelet: KubeletPlayer
) -> None:
    kubelet.play(namespace, lambda pod: Succeeds(f"the record of {pod['metadata']['name']}"))
    place.start(pytorch_job("good"))
    place.job_becomes("good", "Succeeded")
    pod = place.pod_in_phase("good-master-0", "Succeeded")
    assert container_state(pod, "terminated") == {
        "exitCode": 0,
        "reason": "Completed",
        "message": "the record of good-master-0",
    }
    assert condition(pod, "Ready") == ("False", "PodCompleted")
    eventually(lambda: kubelet.ended_at.get(pod["metadata"]["uid"]), what="the player notes when that was taken")


def test_a_worker_runs_after_its_init_container_and_under_restricted_pod_security(
    cluster: Cluster, place: Place, namespace: str, kubelet: KubeletPlayer
) -> None:
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": label}})
    play_all(kubelet, namespace, Succeeds(after_seconds=0.5))
    security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    closed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    place.start(pytorch_job("pair", workers=1, securityContext=security, container={"securityContext": closed}))
    place.job_becomes("pair", "Succeeded")
    worker = place.pod_in_phase("pair-worker-0", "Succeeded")
    init = worker["status"]["initContainerStatuses"][0]
    assert init["name"] == "init-pytorch"
    assert init["state"]["terminated"]["exitCode"] == 0


BY_KUBELET = ("True", "TerminationByKubelet")
KILLED = {"exitCode": 137, "reason": "Error"}
FAILURES = {
    "an exit code": (Fails(3, "why"), {"exitCode": 3, "reason": "Error", "message": "why"}, None, None),
    "out of memory": (RunsOutOfMemory(), {"exitCode": 137, "reason": "OOMKilled"}, None, None),
    "an eviction": (IsEvicted(), KILLED, "Evicted", BY_KUBELET),
    "a shutdown": (NodeShutsDown(), KILLED, "Terminated", BY_KUBELET),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_job_whose_pod_fails_is_failed_and_the_pod_says_why(
    place: Place, namespace: str, kubelet: KubeletPlayer, failure: str
) -> None:
    behaviour, container, pod_reason, disruption = FAILURES[failure]
    play_all(kubelet, namespace, behaviour)
    place.start(pytorch_job("bad"))
    place.job_becomes("bad", "Failed")
    pod = place.pod_in_phase("bad-master-0", "Failed")
    assert container_state(pod, "terminated") == container
    assert pod["status"].get("reason") == pod_reason
    assert condition(pod, "DisruptionTarget") == disruption


def test_a_killed_child_of_a_living_parent_leaves_a_pod_that_succeeded_and_was_out_of_memory(
    place: Place, namespace: str, kubelet: KubeletPlayer
) -> None:
    play_all(kubelet, namespace, RunsOutOfMemory(exit_code=0))
    place.create_pod("parent")
    pod = place.pod_in_phase("parent", "Succeeded")
    assert container_state(pod, "terminated") == {"exitCode": 0, "reason": "OOMKilled"}


def test_an_image_that_cannot_be_had_leaves_the_pod_pending_with_the_reason(
    place: Place, namespace: str, kubelet: KubeletPlayer
) -> None:
    play_all(kubelet, namespace, CannotPullImage())
    place.start(pytorch_job("imageless"))
    pod = place.pod_when(
        "imageless-master-0",
        lambda pod: "ImagePullBackOff" in str(pod["status"].get("containerStatuses")),
        "waits for its image",
    )
    assert pod["status"]["phase"] == "Pending"
    assert container_state(pod, "waiting")["message"].startswith('Back-off pulling image "trainer:1": ErrImagePull')


@pytest.mark.parametrize(
    "impossible",
    [{"container": {"resources": {"requests": {"memory": "5Ti"}}}}, {"nodeSelector": {"no": "such-node"}}],
)
def test_a_pod_that_fits_no_node_stays_pending_with_the_schedulers_reason(
    place: Place, kubelet: KubeletPlayer, impossible: Json
) -> None:
    place.create_pod("misfit", **impossible)
    pod = place.pod_when("misfit", lambda pod: condition(pod, "PodScheduled") is not None, "was looked at")
    assert pod["status"]["phase"] == "Pending"
    assert condition(pod, "PodScheduled") == ("False", "Unschedulable")
    assert kubelet.errors == []


def test_a_lost_node_takes_its_pod_with_it(place: Place, namespace: str, kubelet: KubeletPlayer) -> None:
    play_all(kubelet, namespace, LosesItsNode())
    uid = place.create_pod("orphan")["metadata"]["uid"]
    eventually(lambda: place.pod("orphan") is None, what="the pod is gone")
    assert uid in kubelet.ended_at


def test_a_pod_that_is_cut_off_from_its_node_stays_terminating_until_the_test_ends(
    place: Place, namespace: str, kubelet: KubeletPlayer
) -> None:
    play_all(kubelet, namespace, IsCutOff())
    place.create_pod("unreachable")
    pod = place.pod_when("unreachable", lambda pod: "deletionTimestamp" in pod["metadata"], "is terminating")
    assert pod["status"]["phase"] == "Running"
    assert condition(pod, "DisruptionTarget") == ("True", "DeletionByTaintManager")
    kubelet.forget(namespace)
    eventually(lambda: place.pod("unreachable") is None, what="the pod is gone")


@pytest.mark.parametrize("behaviour", [Hangs(), CannotPullImage(), NeverStarts(), WaitsInInit()])
def test_the_pods_own_deadline_ends_it_whatever_it_does(
    place: Place, namespace: str, kubelet: KubeletPlayer, behaviour: Behaviour
) -> None:
    play_all(kubelet, namespace, behaviour)
    place.create_pod("late", activeDeadlineSeconds=1)
    pod = place.pod_in_phase("late", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert condition(pod, "DisruptionTarget") is None


def test_a_deleted_pod_ends_as_killed_and_goes(place: Place, namespace: str, kubelet: KubeletPlayer) -> None:
    play_all(kubelet, namespace, Hangs())
    place.create_pod("deleted", terminationGracePeriodSeconds=3600)
    uid = place.pod_in_phase("deleted", "Running")["metadata"]["uid"]
    place.delete_pod("deleted")
    eventually(lambda: place.pod("deleted") is None, what="the pod is gone")
    assert uid in kubelet.ended_at


def test_a_test_may_decide_later_what_becomes_of_a_running_pod(
    place: Place, namespace: str, kubelet: KubeletPlayer
) -> None:
    play_all(kubelet, namespace, Hangs())
    place.create_pod("undecided")
    place.pod_in_phase("undecided", "Running")
    kubelet.become(namespace, "undecided", Fails(4))
    assert container_state(place.pod_in_phase("undecided", "Failed"), "terminated")["exitCode"] == 4


def test_a_termination_message_keeps_its_last_4096_bytes(
    place: Place, namespace: str, kubelet: KubeletPlayer
) -> None:
    play_all(kubelet, namespace, Succeeds("lost" + "x" * 4092 + "kept"))
    place.create_pod("talkative")
    message = container_state(place.pod_in_phase("talkative", "Succeeded"), "terminated")["message"]
    assert message == "x" * 4092 + "kept"


def test_500_pods_run_and_end_within_a_minute(place: Place, namespace: str, kubelet: KubeletPlayer) -> None:
    play_all(kubelet, namespace, Succeeds("done"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(place.create_pod, [f"one-of-many-{index}" for index in range(500)]))
    eventually(lambda: not place.unfinished_pods(), what="500 pods have succeeded")


def test_the_training_operator_refuses_a_job_it_cannot_run(place: Place) -> None:
    job = pytorch_job("nameless", container={"name": "other"})
    with pytest.raises(ApiError, match="must have at least one container with name pytorch"):
        place.start(job)


def test_while_the_training_operator_is_away_jobs_are_refused_and_afterwards_they_run(
    control_plane: ControlPlane, place: Place, namespace: str, kubelet: KubeletPlayer
) -> None:
    play_all(kubelet, namespace, Succeeds())
    assert control_plane.training_operator is not None
    control_plane.training_operator.kill()
    try:
        with pytest.raises(ApiError, match="failed calling webhook"):
            place.start(pytorch_job("early"))
    finally:
        control_plane.training_operator.start()
    place.start(pytorch_job("in-time"))
    place.job_becomes("in-time", "Succeeded")
