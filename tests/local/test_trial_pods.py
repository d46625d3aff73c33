"""A trial's pods as the commands that ask a cluster see them, whatever kind of job made them."""

from typing import Any

import pytest

from trainer.commands.trial_pods import trial_pods

PYTORCH = "training.kubeflow.org/replica-"
COMPLETION = "batch.kubernetes.io/job-completion-index"


def a_pod(name: str = "pod", *, containers: tuple[str, ...] = ("pytorch",), made: int = 0, **changes: Any) -> Any:
    labels = {"trialrun.dev/trial": "0123456789", "trialrun.dev/index": "3", "trialrun.dev/attempt": "1"}
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": f"2026-01-01T00:00:{made:02d}Z",
            "labels": labels | {f"{PYTORCH}type": "master", f"{PYTORCH}index": "0"} | changes.pop("labels", {}),
        },
        "spec": {"containers": [{"name": each} for each in containers]},
        "status": {"phase": "Pending"} | changes,
    }


def waits(**status: Any) -> str:
    (pod,) = trial_pods([a_pod(**status)])
    return pod.waits


def of_a_train_job(index: str) -> dict[str, str]:
    return {f"{PYTORCH}type": "", f"{PYTORCH}index": "", COMPLETION: index}


@pytest.mark.parametrize(
    ("labels", "rank"),
    [
        ({}, 0),
        ({f"{PYTORCH}type": "worker"}, 1),
        ({f"{PYTORCH}type": "worker", f"{PYTORCH}index": "6"}, 7),
        (of_a_train_job("0"), 0),
        (of_a_train_job("5"), 5),
    ],
)
def test_a_rank_is_told_by_the_labels_of_either_kind_of_job(labels: dict[str, str], rank: int) -> None:
    assert [pod.rank for pod in trial_pods([a_pod(labels=labels)])] == [rank]


def test_pods_that_run_no_trial_are_none() -> None:
    assert trial_pods([a_pod(labels={"trialrun.dev/attempt": ""}), a_pod(labels=of_a_train_job(""))]) == []


@pytest.mark.parametrize(
    ("containers", "trains"),
    [(("sidecar", "node"), "node"), (("pytorch", "sidecar"), "pytorch"), (("other",), "other")],
)
def test_the_container_is_the_one_that_trains(containers: tuple[str, ...], trains: str) -> None:
    assert [pod.container for pod in trial_pods([a_pod(containers=containers)])] == [trains]


def test_of_two_pods_in_one_place_the_later_one_counts() -> None:
    assert [pod.name for pod in trial_pods([a_pod("later", made=2), a_pod("earlier", made=1)])] == ["later"]


def test_a_floor_and_a_baseline_are_called_by_their_names() -> None:
    floor = a_pod(labels={"trialrun.dev/trial": "floor-1"})
    del floor["metadata"]["labels"]["trialrun.dev/index"]
    assert [pod.said for pod in trial_pods([floor, a_pod()])] == ["trial 3 (0123456789)", "floor-1"][::-1]


def test_why_a_pod_has_not_started() -> None:
    image = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    assert waits(containerStatuses=[{"name": "pytorch", "state": image}]) == (
        "ImagePullBackOff: no such image. Check spec.pod.image and spec.pod.imagePullSecrets."
    )
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes."}
    assert waits(conditions=[unscheduled]) == (
        "0/1 nodes. Lower spec.pod.resources, change the node selector, or add nodes."
    )
    assert waits() == "it has no node yet"
    creating = [{"name": "pytorch", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    assert waits(startTime="2026-01-01T00:00:00Z", containerStatuses=creating) == "its container is being created"
    init = [{"name": "wait", "state": {"running": {}}}]
    assert waits(startTime="2026-01-01T00:00:00Z", initContainerStatuses=init) == "its init container wait runs"
    assert waits(phase="Running", startTime="2026-01-01T00:00:00Z") == ""


def test_only_what_does_not_pass_by_itself_is_an_obstacle() -> None:
    (starts,) = trial_pods([a_pod(startTime="2026-01-01T00:00:00Z")])
    (stuck,) = trial_pods([a_pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "full"}])])
    assert (starts.is_stuck, stuck.is_stuck) == (False, True)
