"""The rules for `spec.pod` are the API server's: it refuses what they refuse, and takes all else."""

from typing import Any

import pytest

from cluster.api import ApiError, Json
from cluster.testcluster import Cluster
from jobs import pytorch_job
from trialrun_operator.names import Key
from unit.objects import a_workload
from unit.podcases import REFUSED, SENSELESS, TAKEN


def asked(cluster: Cluster, pod: dict[str, Any]) -> Json:
    """The API server's answer to a pod of a search with this `spec.pod`, which it does not keep."""
    work = a_workload(pod=pod)
    job = pytorch_job(work, Key("HyperparamSearch", "default", "search"), "uid", work.trials[0], 1, "trainer:1")
    template = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    body = {"metadata": {**template["metadata"], "generateName": "asked-"}, "spec": template["spec"]}
    return cluster.api.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", body)


@pytest.mark.parametrize("pod", [pod for pod, _ in REFUSED.values()], ids=REFUSED)
def test_what_is_refused_the_api_server_refuses_too(cluster: Cluster, pod: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        asked(cluster, pod)
    assert refused.value.code in (403, 422), "403 is of the plug-in that looks for service accounts"


@pytest.mark.parametrize("pod", [*TAKEN.values(), *(pod for pod, _ in SENSELESS.values())], ids=[*TAKEN, *SENSELESS])
def test_all_else_it_takes(cluster: Cluster, pod: dict[str, Any]) -> None:
    assert asked(cluster, pod)["kind"] == "Pod"
