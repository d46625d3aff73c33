"""Kubeflow Trainer and JobSet run TrainJobs here as in a cluster, with their webhooks."""

import pytest

from cluster import audit
from cluster.api import ApiError
from cluster.behaviours import Fails, Hangs, Succeeds
from cluster.controlplane import SILENT, ControlPlane
from cluster.kinds import TRAIN_JOBS
from cluster.kubelet import KubeletPlayer
from cluster.podstatus import Pod
from cluster.testcluster import Cluster
from cluster.trainjobs import TrainJobs, train_job
from eventually import eventually

pytestmark = pytest.mark.usefixtures("trainer")

RANK = "batch.kubernetes.io/job-completion-index"


@pytest.fixture
def jobs(cluster: Cluster, namespace: str, kubelet: KubeletPlayer) -> TrainJobs:
    kubelet.play(namespace, lambda pod: Hangs())  # noqa: ARG005
    return TrainJobs(cluster, namespace)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_job_whose_pods_succeed_is_complete(
    jobs: TrainJobs, namespace: str, kubelet: KubeletPlayer, ranks: int
) -> None:
    kubelet.play(namespace, lambda pod: Succeeds(f"rank {pod['metadata']['labels'][RANK]}"))
    jobs.start("good", ranks=ranks)
    jobs.becomes("good", "Complete")
    ends = [pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] for pod in jobs.pods("good")]
    assert ends == [f"rank {rank}" for rank in range(ranks)]


def test_a_rank_that_fails_ends_no_other_and_the_job_fails_after_both(
    jobs: TrainJobs, namespace: str, kubelet: KubeletPlayer
) -> None:
    def script(pod: Pod) -> Fails | Hangs:
        return Fails(exit_code=3) if pod["metadata"]["labels"][RANK] == "1" else Hangs()

    kubelet.play(namespace, script)
    jobs.start("bad", ranks=2)
    eventually(lambda: jobs.phases("bad") == ["Running", "Failed"], what="rank 0 runs beside its failed neighbour")
    assert "Failed" not in jobs.conditions("bad")
    kubelet.become(namespace, jobs.pods("bad")[0]["metadata"]["name"], Succeeds())
    jobs.becomes("bad", "Failed")
    assert jobs.phases("bad") == ["Succeeded", "Failed"]


def test_labels_of_a_runtime_patch_reach_the_pods(jobs: TrainJobs) -> None:
    jobs.start("labelled", ranks=2, labels={"of": "the-job"}, pod_labels={"trialrun.dev/attempt": "1"})
    for pod in jobs.run("labelled", 2):
        labels = pod["metadata"]["labels"]
        assert (labels["trialrun.dev/attempt"], labels["of"]) == ("1", "the-runtime")


def test_a_job_without_its_runtime_is_refused(jobs: TrainJobs) -> None:
    # By Trainer's webhook or, where that runs, by Kueue's, whichever is asked first.
    with pytest.raises(ApiError, match=r"must be created before|runtime 'alone' not found") as refused:
        jobs.create(train_job("alone"))
    assert TRAIN_JOBS.is_early(str(refused.value))


def test_a_suspended_job_has_no_pods_until_it_is_released(jobs: TrainJobs) -> None:
    jobs.start("waits", suspend=True, pod_labels={"trialrun.dev/attempt": "1"})
    jobs.becomes("waits", "Suspended")
    assert jobs.pods("waits") == []
    jobs.suspend("waits", False)
    (pod,) = jobs.run("waits", 1)
    assert pod["metadata"]["labels"]["trialrun.dev/attempt"] == "1"
    jobs.becomes("waits", "Suspended", status="False", reason="Resumed")
    jobs.suspend("waits", True)
    eventually(lambda: jobs.pods("waits") == [], what="its pod is gone")
    jobs.becomes("waits", "Suspended", reason="Suspended")


def test_a_deleted_job_takes_its_pods_along(jobs: TrainJobs) -> None:
    jobs.start("gone", ranks=2)
    jobs.run("gone", 2)
    jobs.delete("gone")
    eventually(lambda: jobs.pods("gone") == [], what="its pods are gone")


def test_pods_of_others_need_no_jobset(
    jobs: TrainJobs, cluster: Cluster, namespace: str, control_plane: ControlPlane
) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"containers": [{"name": "a", "image": "a:1"}]}
    of_a_jobset = {"name": "bound", "labels": {"jobset.sigs.k8s.io/jobset-name": "bound"}}
    assert control_plane.jobset is not None
    control_plane.jobset.kill()
    try:
        cluster.api.create(pods, {"metadata": {"name": "free"}, "spec": spec})
        with pytest.raises(ApiError, match=r"failed calling webhook .*pod\.kb\.io"):
            cluster.api.create(pods, {"metadata": of_a_jobset, "spec": spec})
    finally:
        control_plane.jobset.start()
    jobs.start("afterwards")
    jobs.run("afterwards", 1)


def test_what_the_controllers_ask_for_stays_out_of_the_audit_log(
    jobs: TrainJobs, control_plane: ControlPlane
) -> None:
    jobs.start("quiet")
    jobs.run("quiet", 1)
    assert not {asked.user for asked in audit.read(control_plane.audit_log)} & set(SILENT)
