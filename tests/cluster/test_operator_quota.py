"""A quota of objects: jobs that have ended count too, so those whose record is kept make room for others."""

import pytest

from cluster.behaviours import Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, a_search, report
from cluster.testcluster import Cluster
from eventually import eventually
from trialrun_operator.backends import BACKENDS

MOST = 6


@pytest.mark.usefixtures("operator", "crds", "trainer")
def test_eighteen_trials_succeed_where_six_jobs_of_their_kind_may_be(
    cluster: Cluster, namespace: str, kubelet: KubeletPlayer
) -> None:
    kubelet.play(namespace, lambda pod: Succeeds(report(pod), after_seconds=0.2))
    both = {kind.lower(): Experiments(cluster, namespace, backend) for kind, backend in BACKENDS.items()}
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    counted = [f"count/{backend.jobs.plural}.{backend.jobs.group}" for backend in BACKENDS.values()]
    quota = {"metadata": {"name": "few"}, "spec": {"hard": dict.fromkeys(counted, str(MOST))}}
    cluster.api.create(quotas, quota)
    eventually(lambda: "used" in cluster.api.get(f"{quotas}/few").get("status", {}), what="the quota is counted")
    for name, experiments in both.items():
        experiments.create(a_search(name, trials=18, parallelTrials=MOST))
    for name, experiments in both.items():
        status = experiments.finished(name)["status"]
        assert (status["done"], status["phase"]) == ("18/18", "Succeeded")
        assert status["summary"]["counts"]["outcomes"] == {"Succeeded": 18}
        (ledger,) = experiments.ledgers(**{"trialrun.dev/experiment": name})
        assert {entry.rpartition(".")[2] for entry in ledger["data"]} == {"1"}, "none was tried twice"
        assert len(experiments.jobs()) <= MOST
