"""Pods that were given a container which never ends: the trainer's end is the trial's, and the rest is ended."""

from pathlib import Path

import pytest

from cluster.behaviours import SucceedsBesideOthers
from cluster.controlplane import ControlPlane
from cluster.injector import PROXY, injected
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, a_search, report
from eventually import eventually


@pytest.mark.usefixtures("operator")
def test_eighteen_trials_succeed_beside_a_container_that_never_ends(
    control_plane: ControlPlane, experiments: Experiments, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, lambda pod: SucceedsBesideOthers(report(pod), after_seconds=0.2))
    with injected(control_plane, experiments.namespace, tmp_path):
        experiments.create(a_search(trials=18, parallelTrials=18))
        eventually(lambda: len(experiments.pods()) == 18, what="all pods are there")
        assert {pod["spec"]["containers"][0]["name"] for pod in experiments.pods()} == {PROXY}
        status = experiments.finished("search")["status"]
    assert (status["done"], status["phase"]) == ("18/18", "Succeeded")
    assert status["summary"]["counts"]["outcomes"] == {"Succeeded": 18}
    assert {entry.rpartition(".")[2] for entry in experiments.entries()} == {"1"}, "none was tried twice"
    eventually(lambda: not experiments.pods(), what="the containers that would run on are ended with their jobs")
