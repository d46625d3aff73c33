"""Trials of several workers on a cluster without room for all: with half of it each they would block each other."""

from collections.abc import Iterator

import pytest

from cluster.api import Json
from cluster.behaviours import Hangs, Succeeds
from cluster.kinds import job_of, over_both
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, a_search, report
from cluster.simulatednodes import NodeSize
from cluster.testcluster import Cluster
from eventually import eventually

pytestmark = pytest.mark.usefixtures("operator")

WORKERS = 2


@pytest.fixture
def small_node(cluster: Cluster) -> Iterator[KubeletPlayer]:
    """A node with room for three pods of one CPU, where ranks wait for each other."""
    with KubeletPlayer(cluster.access, lambda pod: Hangs(), nodes=1, size=NodeSize(cpu="3")) as player:  # noqa: ARG005
        yield player


@over_both
def test_more_trials_of_two_workers_than_have_room_all_succeed(
    experiments: Experiments, small_node: KubeletPlayer
) -> None:
    where = {"kubernetes.io/hostname": small_node.nodes[0]}
    pod = {"nodeSelector": where, "resources": {"requests": {"cpu": "1"}}}
    experiments.create(a_search(trials=6, workers=WORKERS, pod=pod))
    told = eventually(lambda: _told(experiments), what="it is told what the second trial waits for")
    assert told.startswith(
        "2 trials running, 0 of 6 done (parallelTrials 6). No other trial starts before all workers"
    )
    waiting: list[list[str]] = []

    def over() -> bool:
        """Whether the search is. A trial ends once both its ranks run."""
        together: dict[str, list[Json]] = {}
        for each in experiments.pods():
            if each["status"]["phase"] in ("Pending", "Running"):
                together.setdefault(job_of(each), []).append(each)
        waiting.append([job for job, pods in together.items() if not all(map(_has_node, pods))])
        for pods in together.values():
            if [pod["status"]["phase"] for pod in pods] == ["Running"] * WORKERS:
                for each in pods:
                    small_node.become(experiments.namespace, each["metadata"]["name"], Succeeds(report(each)))
        return experiments.condition("search", "Finished").get("status") == "True"

    eventually(over, every_seconds=0.2, what="the search has finished")
    assert [row["state"] for row in experiments.get("search")["status"]["trials"]] == ["Succeeded"] * 6
    assert {len(jobs) for jobs in waiting} <= {0, 1}, "of two, each could have what the other waits for"


def _told(experiments: Experiments) -> str:
    """What the search says of its progress, once the scheduler's words are in it."""
    message: str = experiments.condition("search", "Progressing").get("message", "")
    return message if "nodes are available" in message else ""


def _has_node(pod: Json) -> bool:
    return bool(pod["spec"].get("nodeName"))
