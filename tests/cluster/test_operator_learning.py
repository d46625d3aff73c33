"""A search that learns, from apply to its end on a real control plane, and what may happen on the way."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Json
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess
from cluster.sweptsearch import LEARNING, POINTS, assert_learnt, learns, ledger_watched
from cluster.testcluster import Cluster
from eventually import eventually
from unit.replayed import Replayed

pytestmark = pytest.mark.usefixtures("crds")


def a_learning_search(name: str = "search", **spec: Any) -> Json:
    return LEARNING | {"metadata": {"name": name}, "spec": LEARNING["spec"] | spec}


def message(experiments: Experiments, kind: str) -> str:
    return str(experiments.condition("search", kind)["message"])


def suggesting(operator: OperatorProcess) -> list[int]:
    """The processes that suggest points to an operator."""
    children = Path(f"/proc/{operator.pid}/task/{operator.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"trainer.suggesting.child" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def has_suggested(replayed: Callable[[], Replayed], count: int) -> bool:
    return len(replayed().suggestions) >= count


def test_it_learns_to_its_end_and_goes_on_when_trials_are_raised(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, learns)
    with ledger_watched(experiments) as replayed:
        experiments.create(LEARNING)
        experiments.finished("search")
        assert_learnt(experiments, replayed)
        assert operator.figures()["trialrun_suggestions_total"] == POINTS
        assert len(suggesting(operator)) == 1
        experiments.change("search", trials=POINTS + 3)
        eventually(lambda: experiments.get("search")["status"]["done"].endswith(f"/{POINTS + 3}"))
        experiments.finished("search")
        assert_learnt(experiments, replayed, POINTS + 3)


@pytest.mark.usefixtures("operator")
def test_a_target_ends_it(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    kubelet.play(experiments.namespace, learns)
    best = {"parameters": {"train.learningRate": 0.01, "model.hiddenSize": 64}}
    experiments.create(a_learning_search(points=[best], budget={"target": 0.02}))
    status = experiments.finished("search")["status"]
    assert (status["phase"], status["best"]) == ("Succeeded", "0.01")
    assert experiments.condition("search", "Finished")["reason"] == "BudgetUsedUp"
    assert message(experiments, "Finished").startswith("spec.budget.target 0.02 is reached by trial 0 with 0.01.")
    assert len(experiments.jobs()) < POINTS


def test_neither_the_death_of_the_operator_nor_of_what_suggests_costs_a_point(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, learns)
    with ledger_watched(experiments) as replayed:
        experiments.create(LEARNING)
        for count in (2, 6, 9, 12):
            eventually(partial(has_suggested, replayed, count), what=f"{count} points are suggested")
            if count % 2:
                operator.kill()
            else:
                for pid in suggesting(operator):
                    os.kill(pid, signal.SIGKILL)
        experiments.finished("search")
        assert_learnt(experiments, replayed)


@pytest.mark.usefixtures("operator")
def test_it_begins_with_what_another_in_its_namespace_has_come_to(
    experiments: Experiments, kubelet: KubeletPlayer, cluster: Cluster
) -> None:
    kubelet.play(experiments.namespace, learns)
    experiments.create(a_learning_search("earlier", trials=12))
    experiments.finished("earlier")
    experiments.create(a_learning_search(trials=3, warmStart="hps/earlier"))
    assert experiments.finished("search")["status"]["phase"] == "Succeeded"
    assert "began with what 12 points of hps/earlier came to" in message(experiments, "Accepted")
    uid = experiments.get("search")["metadata"]["uid"]
    suggested = cluster.api.get(
        f"/api/v1/namespaces/{experiments.namespace}/configmaps/hps-search-{uid[:8]}-suggestions-0"
    )
    assert "TPE over 12 points" in suggested["data"]["0000"]
    experiments.create(a_learning_search("lost", warmStart="hps/none"))
    assert experiments.finished("lost")["status"]["phase"] == "Invalid"
    assert "there is no hps/none" in experiments.condition("lost", "Accepted")["message"]
