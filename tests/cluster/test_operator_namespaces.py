"""A namespace that goes away, or was never there, is no trouble: neither the operator's nor the other namespaces'."""

from pathlib import Path

import pytest

from cluster.behaviours import Hangs, Succeeds
from cluster.faultyapi import FaultyApi
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, report, service_account
from cluster.testcluster import Cluster
from eventually import eventually, throughout

pytestmark = pytest.mark.usefixtures("crds")

# Of a resync of two namespaces (8), watches that are begun anew, and looks that fail and wait ever longer.
CALLS_A_MINUTE = 120
# An account of this name may be refused what it asks for: it loses a namespace with its role there (see audit.py).
RELEASE = "trialrun.bereft"


def test_a_namespace_deleted_in_mid_run_leaves_nothing_and_the_others_go_on(
    cluster: Cluster, namespace: str, other_namespace: str, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    kubelet.play(namespace, lambda pod: Succeeds(report(pod), after_seconds=0.2))
    kubelet.play(other_namespace, lambda pod: Hangs())  # noqa: ARG005
    account = service_account(cluster, namespace, release=RELEASE, watched=(namespace, other_namespace))
    here, there = Experiments(cluster, namespace), Experiments(cluster, other_namespace)
    with (
        FaultyApi(cluster.access) as proxy,
        OperatorProcess(
            tmp_path, f"{namespace},{other_namespace},{namespace}-never", proxy.kubeconfig_of(account)
        ) as process,
    ):
        process.wait_until_ready()
        there.create(a_search(trials=6, parallelTrials=3))
        eventually(lambda: len(there.pods()) == 3)
        cluster.api.delete(f"/api/v1/namespaces/{other_namespace}")
        here.create(a_search(trials=3))
        assert here.finished("search")["status"]["phase"] == "Succeeded"
        eventually(
            lambda: cluster.api.get_if_there(f"/api/v1/namespaces/{other_namespace}") is None,
            what="the namespace is gone, and with it whatever was in it",
        )

        # Not even a process that starts now, and may read nothing there, is held up.
        process.kill()
        eventually(lambda: process.starts > 1 and process.ask("readyz")[0] == 200)
        here.create(a_search("later", trials=2))
        assert here.finished("later")["status"]["phase"] == "Succeeded"
        starts, requests, seconds = process.starts, proxy.requests, 20
        throughout(lambda: process.starts == starts, seconds=seconds, every_seconds=1, what="it stays up")
        rate = 60 * (proxy.requests - requests) / seconds
        print(f"{rate:.0f} API calls a minute at rest, {process.starts} starts")
        assert rate <= CALLS_A_MINUTE
        assert "Traceback" not in process.log
    kubelet.forget(other_namespace)
