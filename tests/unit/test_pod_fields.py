"""Every field of `spec.pod` reaches the pod, is in the documents, and there is no other."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer.experiment.pod import Pod
from trialrun_operator.manifests import pytorch_job
from unit.objects import KEY, UID, a_workload

DOCUMENT = Path(__file__).parents[2] / "docs" / "pod-fields.md"
Document = dict[str, Any]
Found = Callable[[Document, Document, Document], Any]

# Where each field is found in the job's metadata, the pod's spec and its container.
PLACES: dict[str, Found] = {
    "image": lambda _job, _pod, container: container["image"],
    "imagePullPolicy": lambda _job, _pod, container: container["imagePullPolicy"],
    "imagePullSecrets": lambda _job, pod, _container: pod["imagePullSecrets"],
    "resources": lambda _job, _pod, container: container["resources"],
    "nodeSelector": lambda _job, pod, _container: pod["nodeSelector"],
    "tolerations": lambda _job, pod, _container: pod["tolerations"],
    "affinity": lambda _job, pod, _container: pod["affinity"],
    "priorityClassName": lambda _job, pod, _container: pod["priorityClassName"],
    "runtimeClassName": lambda _job, pod, _container: pod["runtimeClassName"],
    "labels": lambda job, _pod, _container: job["labels"],
    "annotations": lambda job, _pod, _container: job["annotations"],
    "env": lambda _job, _pod, container: container["env"],
    "dataClaim": lambda _job, pod, container: claim_at("/data", pod, container, read_only=True),
    "outputClaim": lambda _job, pod, container: claim_at("/output", pod, container, read_only=False),
}


def claim_at(path: str, pod: Document, container: Document, *, read_only: bool) -> str:
    mount = next(each for each in container["volumeMounts"] if each["mountPath"] == path)
    volume = next(each for each in pod["volumes"] if each["name"] == mount["name"])
    assert mount["readOnly"] is volume["persistentVolumeClaim"]["readOnly"] is read_only
    name: str = volume["persistentVolumeClaim"]["claimName"]
    return name


def documented() -> Document:
    """The pod of the page's first example: one that has every field."""
    example = re.search(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    pod: Document = yaml.safe_load(example[1])["spec"]["pod"]
    return pod


def test_the_example_has_every_field_and_the_table_names_each() -> None:
    fields = {field.alias for field in Pod.model_fields.values()}
    assert set(documented()) == fields == set(PLACES)
    rows = re.findall(r"^\| `([a-zA-Z]+)", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) == fields


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("field", PLACES)
def test_a_field_reaches_every_worker_s_pod(field: str, workers: int) -> None:
    given = documented()[field]
    work = a_workload(pod=documented(), workers=workers)
    made = pytorch_job(work, KEY, UID, work.trials[0], 1, "the chart's")
    for replica in made["spec"]["pytorchReplicaSpecs"].values():
        pod = replica["template"]["spec"]
        for metadata in (made["metadata"], replica["template"]["metadata"]):
            found = PLACES[field](metadata, pod, pod["containers"][0])
            if isinstance(given, dict):
                assert found.items() >= given.items()
            elif field == "env":
                assert all(each in found for each in given)
            else:
                assert found == given


def test_an_experiment_that_says_nothing_gets_the_chart_s_image_and_no_volume() -> None:
    work = a_workload(pod={})
    made = pytorch_job(work, KEY, UID, work.trials[0], 1, "the chart's")
    pod = made["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "the chart's"
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
    assert not {"nodeSelector", "tolerations", "affinity", "priorityClassName", "runtimeClassName"} & set(pod)
