"""A real container that never ends beside the trainer, as a service mesh's: the trial ends with its trainer."""

from pathlib import Path

from cluster.injector import PROXY, injected
from cluster.operatorprocess import a_search
from cluster.testcluster import Cluster
from eventually import eventually
from node import pods
from node.conftest import restricted_namespace


def test_a_search_ends_with_its_trainers_and_what_runs_on_beside_them_is_ended(
    our_node: Cluster, tmp_path: Path
) -> None:
    with restricted_namespace(our_node) as experiments, injected(our_node, experiments.namespace, tmp_path):
        experiments.create(a_search(trials=2, training=pods.a_small_training()))
        there = eventually(lambda: experiments.pods()[1:] and experiments.pods(), what="both pods are there")
        assert {tuple(each["name"] for each in pod["spec"]["containers"]) for pod in there} == {(PROXY, "pytorch")}
        status = experiments.finished("search")["status"]
        assert (status["done"], status["phase"]) == ("2/2", "Succeeded")
        assert [record.attempt for record in pods.records(experiments, "search")] == [1, 1]
        eventually(lambda: not experiments.pods(), within_seconds=120, what="nothing runs on")
