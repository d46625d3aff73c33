"""Trial pods pass Pod Security *restricted*, whatever a user may choose for them, and get what was chosen."""

import pytest

from cluster.api import Json
from cluster.behaviours import Behaviour, Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, a_search, report
from cluster.testcluster import Cluster

LABEL = "kueue.x-k8s.io/queue-name"
CHOSEN = {
    "image": "registry.example/team/trainer:2",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
                }
            ]
        }
    },
    "labels": {LABEL: "team-a"},
    "annotations": {"example.com/owner": "someone"},
    "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "TRIALRUN_TRIAL", "value": "mine"}],
    "dataClaim": "data",
    "outputClaim": "output",
}


def succeeds(pod: Json) -> Behaviour:
    return Succeeds(report(pod))


def bound_claim(cluster: Cluster, namespace: str, name: str) -> None:
    """A claim with its volume, bound by hand: the test control plane has no controller that binds them."""
    volume = f"{namespace}-{name}"
    about = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    claim = {"namespace": namespace, "name": name}
    cluster.api.create("/api/v1/persistentvolumes", {
        "metadata": {"name": volume},
        "spec": about | {
            "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Delete",
            "nfs": {"server": "nfs.example", "path": "/"}, "claimRef": claim,
        },
    })  # fmt: skip
    made = cluster.api.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", {
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": about | {"volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}},
    })  # fmt: skip
    reference = {"claimRef": claim | {"uid": made["metadata"]["uid"]}}
    cluster.api.patch(f"/api/v1/persistentvolumes/{volume}", {"spec": reference})
    bound = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"]}}
    cluster.api.patch(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}/status", bound)


@pytest.mark.usefixtures("operator")
def test_every_job_passes_restricted_and_has_what_the_user_chose(
    experiments: Experiments, kubelet: KubeletPlayer, cluster: Cluster
) -> None:
    namespace = experiments.namespace
    enforce = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    cluster.api.patch(f"/api/v1/namespaces/{namespace}", enforce)
    for name in ("data", "output"):
        bound_claim(cluster, namespace, name)
    kubelet.play(namespace, succeeds)
    experiments.create(a_search(trials=1))
    experiments.create(a_search("chosen", trials=1, workers=2, pod=CHOSEN))
    experiments.create({
        "apiVersion": "trialrun.dev/v1alpha1", "kind": "ScaleTest", "metadata": {"name": "cells"},
        "spec": {
            "axes": {"multipliers": [1, 10], "workers": [2]}, "cell": {"memoryLimit": "256Mi"}, "parallelTrials": 2,
            "pod": CHOSEN | {"resources": {}},
        },
    })  # fmt: skip
    assert experiments.finished("search")["status"]["phase"] == "Succeeded"
    assert experiments.finished("chosen")["status"]["phase"] == "Succeeded"
    assert experiments.finished("cells", plural="scaletests")["status"]["phase"] == "Succeeded"
    for name in ("data", "output"):
        cluster.api.delete_if_there(f"/api/v1/persistentvolumes/{namespace}-{name}")

    pods = [pod for pod in experiments.pods() if pod["metadata"]["labels"].get(LABEL)]
    assert len(pods) == 2 + 4 + 2, "a pair of a search, two of cells, and one that measures their floor"
    for pod in pods:
        assert_as_chosen(pod)
    jobs = [job for job in experiments.jobs() if job["metadata"]["labels"].get(LABEL) == "team-a"]
    assert len(jobs) == 1 + 2 + 1, "Kueue looks at the job"
    limits = [
        pod["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for pod in pods
        if pod["metadata"]["labels"]["trialrun.dev/kind"] == "ScaleTest"
        and not pod["metadata"]["labels"]["trialrun.dev/trial"].startswith("floor")
    ]
    assert limits == ["256Mi"] * 4


def assert_as_chosen(pod: Json) -> None:
    metadata, spec, (container,) = pod["metadata"], pod["spec"], pod["spec"]["containers"]
    assert metadata["labels"][LABEL] == "team-a"
    assert metadata["annotations"]["example.com/owner"] == "someone"
    assert (container["image"], container["imagePullPolicy"]) == (CHOSEN["image"], "Always")
    assert spec["imagePullSecrets"] == CHOSEN["imagePullSecrets"]
    assert spec["nodeSelector"] == CHOSEN["nodeSelector"]
    assert spec["affinity"] == CHOSEN["affinity"]
    assert {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["NCCL_DEBUG"] == "INFO"
    assert variables["TRIALRUN_TRIAL"] != "mine", "what the trainer is told is not the user's to set"
    claims = {
        each["name"]: each["persistentVolumeClaim"] for each in spec["volumes"] if "persistentVolumeClaim" in each
    }
    assert claims == {"data": {"claimName": "data", "readOnly": True}, "output": {"claimName": "output"}}
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert mounts["data"] == {"name": "data", "mountPath": "/data", "readOnly": True}
    assert mounts["output"] == {"name": "output", "mountPath": "/output"}
    assert spec["automountServiceAccountToken"] is False
