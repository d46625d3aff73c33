"""Trials of several workers on a cluster without room for all: with half of it each they would block each other."""

from collections.abc import Iterator

import pytest

from cluster.api import Json
from cluster.behaviours import Hangs, Succeeds
from cluster.controlplane import ControlPlane
from cluster.kinds import job_of, over_both, rank_of
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, a_search, report
from cluster.simulatednodes import NodeSize
from cluster.testcluster import Cluster
from eventually import eventually
from trialrun_operator import conditions as c

pytestmark = pytest.mark.usefixtures("operator")

WORKERS = 2


@pytest.fixture
def small_node(cluster: Cluster) -> Iterator[KubeletPlayer]:
    """A node with room for two pods of one CPU, where ranks wait for each other."""
    with KubeletPlayer(cluster.access, lambda pod: Hangs(), nodes=1, size=NodeSize(cpu="2")) as player:  # noqa: ARG005
        yield player


@over_both
def test_of_two_trials_with_half_of_their_nodes_the_younger_gives_way_and_all_succeed(
    experiments: Experiments, control_plane: ControlPlane, small_node: KubeletPlayer
) -> None:
    node, pods = small_node.nodes[0], f"/api/v1/namespaces/{experiments.namespace}/pods"
    pod = {"nodeSelector": {"kubernetes.io/hostname": node}, "resources": {"requests": {"cpu": "1"}}}
    control_plane.scheduler.stop()
    try:
        experiments.create(a_search(trials=4, workers=WORKERS, parallelTrials=2, pod=pod))
        eventually(lambda: len(experiments.pods()) == 2 * WORKERS, what="two trials have their pods")
        for each in experiments.pods():
            if rank_of(each) == 0:
                name = each["metadata"]["name"]
                target = {"kind": "Node", "name": node}
                experiments.cluster.api.create(
                    f"{pods}/{name}/binding", {"metadata": {"name": name}, "target": target}
                )
    finally:
        control_plane.scheduler.start()
    halves = {job_of(each): each["metadata"]["uid"] for each in experiments.pods() if rank_of(each) == 0}
    eventually(
        lambda: c.SOME_NODES_MESSAGE in experiments.condition("search", "Progressing").get("message", ""),
        what="it is told that a trial waits for nodes",
    )

    def over() -> bool:
        """Whether the search is. A trial ends once both its ranks run."""
        running: dict[str, list[Json]] = {}
        for each in experiments.pods():
            if each["status"]["phase"] == "Running" and "deletionTimestamp" not in each["metadata"]:
                running.setdefault(job_of(each), []).append(each)
        for ranks in running.values():
            for each in ranks if len(ranks) == WORKERS else ():
                small_node.become(experiments.namespace, each["metadata"]["name"], Succeeds(report(each)))
        return experiments.condition("search", "Finished").get("status") == "True"

    eventually(over, every_seconds=0.2, what="the search has finished")
    rows = experiments.get("search")["status"]["trials"]
    assert [(row["state"], row["job"].endswith("-1")) for row in rows] == [("Succeeded", True)] * 4, (
        "no attempt is lost"
    )
    first = {job_of(each): each["metadata"]["uid"] for each in experiments.pods() if rank_of(each) == 0}
    assert sum(first[job] == uid for job, uid in halves.items()) == 1, "the older kept its node"
