"""Pods that were given a container which never ends: the trainer's end is the trial's, and the rest is ended."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import certificates, injector
from cluster.behaviours import SucceedsBesideOthers
from cluster.controlplane import ControlPlane
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, a_search, report
from eventually import eventually

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


@pytest.fixture
def injected(control_plane: ControlPlane, experiments: Experiments, tmp_path: Path) -> Iterator[None]:
    """New pods of the namespace get the container."""
    namespace, authority = experiments.namespace, certificates.authority(tmp_path, "injector-ca")
    serving = certificates.server(tmp_path, authority, "injector", "IP:127.0.0.1")
    server = injector.server(str(serving.certificate), str(serving.key), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"https://127.0.0.1:{server.server_port}/"
    made = injector.registration(namespace, authority.certificate.read_bytes(), url=url)
    control_plane.api.create(WEBHOOKS, made)
    yield
    control_plane.api.delete(f"{WEBHOOKS}/{namespace}")
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.mark.usefixtures("operator", "injected")
def test_eighteen_trials_succeed_beside_a_container_that_never_ends(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, lambda pod: SucceedsBesideOthers(report(pod), after_seconds=0.2))
    experiments.create(a_search(trials=18, parallelTrials=18))
    eventually(lambda: len(experiments.pods()) == 18, what="all pods are there")
    assert {pod["spec"]["containers"][0]["name"] for pod in experiments.pods()} == {injector.PROXY}
    status = experiments.finished("search")["status"]
    assert (status["done"], status["phase"]) == ("18/18", "Succeeded")
    assert status["summary"]["counts"]["outcomes"] == {"Succeeded": 18}
    assert {entry.rpartition(".")[2] for entry in experiments.entries()} == {"1"}, "none was tried twice"
    eventually(lambda: not experiments.pods(), what="the containers that would run on are ended with their jobs")
