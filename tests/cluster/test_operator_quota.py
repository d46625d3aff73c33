"""A quota of objects: jobs that have ended count too, so those whose record is kept make room for others."""

import pytest

from cluster.behaviours import Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, a_search, report
from cluster.testcluster import Cluster
from eventually import eventually
from trialrun_operator.backends.pytorchjob import JOBS

MOST = 6


@pytest.mark.usefixtures("operator")
def test_eighteen_trials_succeed_where_six_jobs_may_be(
    cluster: Cluster, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, lambda pod: Succeeds(report(pod), after_seconds=0.2))
    counted = f"count/{JOBS.plural}.{JOBS.group}"
    quotas = f"/api/v1/namespaces/{experiments.namespace}/resourcequotas"
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {counted: str(MOST)}}}
    cluster.api.create(quotas, quota)
    eventually(lambda: "used" in cluster.api.get(f"{quotas}/few").get("status", {}), what="the quota is counted")
    experiments.create(a_search(trials=18, parallelTrials=MOST))
    status = experiments.finished("search")["status"]
    assert (status["done"], status["phase"]) == ("18/18", "Succeeded")
    assert status["summary"]["counts"]["outcomes"] == {"Succeeded": 18}
    assert {entry.rpartition(".")[2] for entry in experiments.entries()} == {"1"}, "none was tried twice"
    assert len(experiments.jobs()) <= MOST
