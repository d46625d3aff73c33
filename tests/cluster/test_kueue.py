"""Kueue admits jobs to a queue here as in a cluster, with its webhooks."""

from collections.abc import Iterator

import pytest

from cluster.api import Api, Json
from cluster.behaviours import Hangs, Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.queues import Queue
from cluster.testcluster import Cluster
from cluster.trainjobs import TrainJobs, conditions
from eventually import eventually

pytestmark = pytest.mark.usefixtures("trainer", "kueue")


class PyTorchJobs:
    """PyTorchJobs of the namespace that wait in a queue."""

    def __init__(self, api: Api, namespace: str, queue: Queue) -> None:
        self._api = api
        self._jobs = f"/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs"
        self._labels = queue.labels

    def start(self, name: str) -> None:
        container = {"name": "pytorch", "image": "trainer:1", "resources": {"requests": {"cpu": "1"}}}
        pods = {"spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
        master = {"replicas": 1, "restartPolicy": "Never", "template": pods}
        spec = {"runPolicy": {"suspend": True}, "pytorchReplicaSpecs": {"Master": master}}
        metadata = {"name": name, "labels": self._labels}
        job = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": metadata, "spec": spec}
        self._api.create(self._jobs, job)

    def get(self, name: str) -> Json:
        return self._api.get(f"{self._jobs}/{name}")


@pytest.fixture
def queue(cluster: Cluster, namespace: str, kubelet: KubeletPlayer) -> Iterator[Queue]:
    kubelet.play(namespace, lambda pod: Hangs())  # noqa: ARG005
    made = Queue(cluster.api, namespace)
    yield made
    made.delete()


@pytest.fixture
def jobs(cluster: Cluster, namespace: str) -> TrainJobs:
    return TrainJobs(cluster, namespace)


def test_what_the_quota_allows_is_admitted_and_a_third_waits_its_turn(
    queue: Queue, jobs: TrainJobs, cluster: Cluster, namespace: str, kubelet: KubeletPlayer
) -> None:
    pytorch_jobs = PyTorchJobs(cluster.api, namespace, queue)
    jobs.start("first", suspend=True, labels=queue.labels, pod_labels={"trialrun.dev/attempt": "1"})
    (pod,) = jobs.run("first", 1)
    assert pod["metadata"]["labels"]["trialrun.dev/attempt"] == "1"
    pytorch_jobs.start("second")
    eventually(
        lambda: conditions(pytorch_jobs.get("second")).get("Running", ("",))[0] == "True", what="the PyTorchJob runs"
    )
    jobs.start("third", suspend=True, labels=queue.labels)
    eventually(
        lambda: queue.conditions("third").get("QuotaReserved") == ("False", "Pending"), what="the third job waits"
    )
    assert queue.is_admitted("first")
    assert queue.is_admitted("second")
    assert "Admitted" not in queue.conditions("third")
    jobs.becomes("third", "Suspended", reason="Suspended")
    assert jobs.pods("third") == []
    kubelet.become(namespace, pod["metadata"]["name"], Succeeds())
    jobs.run("third", 1)
    assert queue.conditions("first")["Finished"] == ("True", "Succeeded")


def test_what_is_preempted_is_suspended_and_comes_back_with_new_pods(
    queue: Queue, jobs: TrainJobs, namespace: str, kubelet: KubeletPlayer
) -> None:
    jobs.start("low", ranks=2, labels=queue.labels)
    before = {pod["metadata"]["uid"] for pod in jobs.run("low", 2)}
    jobs.start("high", labels=queue.urgent)
    (urgent,) = jobs.run("high", 1)
    eventually(lambda: queue.conditions("low").get("Evicted") == ("True", "Preempted"), what="the other is evicted")
    eventually(lambda: jobs.pods("low") == [], what="its pods are gone")
    jobs.becomes("low", "Suspended")
    kubelet.become(namespace, urgent["metadata"]["name"], Succeeds())
    assert not before & {pod["metadata"]["uid"] for pod in jobs.run("low", 2)}


def test_a_job_that_names_no_queue_is_left_alone(queue: Queue, jobs: TrainJobs) -> None:
    jobs.start("free", ranks=3)
    jobs.run("free", 3)
    assert queue.conditions("free") == {}
