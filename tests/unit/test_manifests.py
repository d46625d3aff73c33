"""The job of a trial: what it is told, what it may do, and that nothing of a user's spec reaches beyond that."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from jobs import pytorch_job
from trainer.experiment.training import Training
from trialrun_operator.names import Key
from trialrun_operator.orders import TRIAL_VARIABLE
from unit.objects import KEY, UID, a_workload


def job(**spec: Any) -> dict[str, Any]:
    work = a_workload(**spec)
    return pytorch_job(work, KEY, UID, work.trials[0], 2, "trainer:1")


def pod_of(made: dict[str, Any], role: str = "Master") -> dict[str, Any]:
    spec: dict[str, Any] = made["spec"]["pytorchReplicaSpecs"][role]["template"]["spec"]
    return spec


def test_a_job_is_named_labelled_and_owned() -> None:
    made = job()
    trial = a_workload().trials[0]
    assert made["metadata"]["name"] == f"sp500-grid-{trial.id}-2"
    assert (
        made["metadata"]["labels"] == made["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["metadata"]["labels"]
    )
    assert made["metadata"]["labels"]["trialrun.dev/experiment"] == "sp500-grid"
    assert made["metadata"]["labels"]["trialrun.dev/trial"] == trial.id
    assert made["metadata"]["labels"]["trialrun.dev/attempt"] == "2"
    assert made["metadata"]["ownerReferences"][0]["uid"] == UID


def test_the_longest_name_fits_a_pytorch_job() -> None:
    work = a_workload(name="a" * 39)
    made = pytorch_job(work, Key("HyperparamSearch", "n", "a" * 39), UID, work.trials[0], 99, "i")
    assert len(made["metadata"]["name"]) == 53


def test_failed_pods_are_kept_as_evidence() -> None:
    made = job()
    assert made["spec"]["runPolicy"] == {"cleanPodPolicy": "None"}
    assert {replica["restartPolicy"] for replica in made["spec"]["pytorchReplicaSpecs"].values()} == {"Never"}
    assert pod_of(made)["activeDeadlineSeconds"] == 600


def as_a_kubelet_expands(variables: Sequence[dict[str, str]]) -> dict[str, str]:
    """What a container sees of its variables: $$ is $, and $(NAME) the value of one that stands before."""
    seen: dict[str, str] = {}
    for each in variables:
        seen[each["name"]] = re.sub(
            r"\$\$|\$\(([^)]*)\)",
            lambda found: "$" if found.group() == "$$" else seen.get(found.group(1), found.group()),
            each["value"],
        )
    return seen


def test_text_reaches_the_container_as_it_was_written() -> None:
    columns, path = ["Close", "Fees $$", "$"], "$(FIRST)/a$$b$(HOME).csv"
    env = {"FIRST": "INFO", "SECOND": "$(FIRST) $$$ $x"}
    made = job(
        training={"data": {"source": "csv", "path": path, "columns": columns, "window": 5}},
        pod={"env": [{"name": name, "value": value} for name, value in env.items()]},
    )
    seen = as_a_kubelet_expands(pod_of(made)["containers"][0]["env"])
    assert {name: seen[name] for name in env} == env
    told = json.loads(seen[TRIAL_VARIABLE])["training"]["data"]
    assert (told["path"], told["columns"]) == (path, columns)


def test_the_trial_is_told_all_it_needs_in_one_variable() -> None:
    made = job(training={"train": {"threads": 3}})
    container = pod_of(made)["containers"][0]
    values = {each["name"]: each["value"] for each in container["env"]}
    told = json.loads(values[TRIAL_VARIABLE])
    trial = a_workload(training={"train": {"threads": 3}}).trials[0]
    assert Training.model_validate_json(json.dumps(told["training"])) == trial.training
    assert (told["id"], told["attempt"], told["metric"], told["workers"]) == (trial.id, 2, "validMse", 1)
    assert values["OMP_NUM_THREADS"] == "3"
    assert container["name"] == "pytorch"
    assert container["args"] == ["pod"]
    assert "command" not in container


def test_several_workers_are_a_master_and_the_rest() -> None:
    replicas = job(workers=3)["spec"]["pytorchReplicaSpecs"]
    assert {role: replica["replicas"] for role, replica in replicas.items()} == {"Master": 1, "Worker": 2}


def test_pods_pass_pod_security_restricted() -> None:
    pod = pod_of(job())
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False


def test_a_users_pod_fields_reach_the_pod_and_ours_win() -> None:
    pod = {
        "image": "mine:2", "resources": {"limits": {"memory": "2Gi"}}, "nodeSelector": {"gpu": "yes"},
        "labels": {"kueue.x-k8s.io/queue-name": "q", "trialrun.dev/trial": "forged"},
        "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": TRIAL_VARIABLE, "value": "forged"}],
        "dataClaim": "shards", "imagePullSecrets": [{"name": "pull"}],
    }  # fmt: skip
    made = job(pod=pod)
    spec = pod_of(made)
    container = spec["containers"][0]
    assert container["image"] == "mine:2"
    assert container["resources"] == {"limits": {"memory": "2Gi"}}
    assert spec["nodeSelector"] == {"gpu": "yes"}
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "q"
    assert made["metadata"]["labels"]["trialrun.dev/trial"] != "forged"
    values = {each["name"]: each["value"] for each in container["env"]}
    assert values["NCCL_DEBUG"] == "INFO"
    assert values[TRIAL_VARIABLE] != "forged"
    assert {"name": "data", "mountPath": "/data", "readOnly": True} in container["volumeMounts"]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]


def test_tolerations_and_affinity_stand_in_the_pod_as_they_were_written() -> None:
    pod = {
        "tolerations": [{}, {"key": "gpu", "tolerationSeconds": 0}],
        "affinity": {
            "podAffinity": {},
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "zone",
                        "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
                    },
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}},
                ]
            },
        },
    }
    spec = pod_of(job(pod=pod))
    assert {name: spec[name] for name in pod} == pod


@pytest.mark.parametrize("limit", [None, "1Gi"])
def test_a_scale_tests_cell_has_its_own_limits(limit: str | None) -> None:
    cell = {"deadlineSeconds": 45} | ({"memoryLimit": limit} if limit else {})
    work = a_workload(name="scale", kind="ScaleTest", cell=cell)
    made = pytorch_job(work, Key("ScaleTest", "n", "scale"), UID, work.trials[0], 1, "i", limit)
    pod = pod_of(made)
    assert pod["activeDeadlineSeconds"] == 45
    assert pod["containers"][0]["resources"] == (
        {"requests": {"memory": limit}, "limits": {"memory": limit}} if limit else {}
    )


@pytest.mark.parametrize(("asked", "given"), [("256Mi", "256Mi"), ("2Gi", "448790528")])
def test_a_cells_limit_stands_above_what_its_pod_asks_for(asked: str, given: str) -> None:
    pod = {"resources": {"requests": {"memory": asked, "cpu": "1"}, "limits": {"memory": "4Gi"}}}
    work = a_workload(name="scale", kind="ScaleTest", pod=pod, cell={"memoryAboveFloor": "128Mi"})
    key = Key("ScaleTest", "n", "scale")
    cell, floor = (
        pod_of(pytorch_job(work, key, UID, trial, 1, "i", limit))["containers"][0]["resources"]
        for trial, limit in ((work.trials[0], "448790528"), (work.floors[0], None))
    )
    assert cell == {"requests": {"memory": given, "cpu": "1"}, "limits": {"memory": "448790528"}}
    assert floor == pod["resources"]
