"""Every field of `spec.pod` reaches the pod, is in the documents, and there is no other."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs import pytorch_job
from trainer.experiment.load import load
from trainer.experiment.pod import TAKEN_PATHS, Pod, PodVariable, SecurityContext, VariablesFrom, Volume
from trainer.experiment.section import Section
from trialrun_operator import orders
from trialrun_operator.orders import Code, Known
from trialrun_operator.permits import SWITCHES, not_permitted
from unit.objects import KEY, UID, a_workload

DOCUMENT = Path(__file__).parents[2] / "docs" / "pod-fields.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
Document = dict[str, Any]
Found = Callable[[Document, Document, Document], Any]
PROGRAM = {"command": ["python", "train.py"]}

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
    "envFrom": lambda _job, _pod, container: container["envFrom"],
    "workingDir": lambda _job, _pod, container: container["workingDir"],
    "dataClaim": lambda _job, pod, container: claim_at("/data", pod, container, read_only=True),
    "outputClaim": lambda _job, pod, container: claim_at("/output", pod, container, read_only=False),
    "volumes": lambda _job, pod, container: as_given(pod, container),
    "securityContext": lambda _job, pod, container: pod["securityContext"] | container["securityContext"],
    "serviceAccountName": lambda _job, pod, _container: pod["serviceAccountName"],
}  # fmt: skip


def mounted(pod: Document, container: Document) -> dict[str, tuple[Document, Document]]:
    """By its path, the volume that is mounted there, and the mount."""
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert len(volumes) == len(pod["volumes"])
    mounts = container["volumeMounts"]
    assert len({each["mountPath"] for each in mounts}) == len(mounts)
    return {each["mountPath"]: (volumes[each["name"]], each) for each in mounts}


def claim_at(path: str, pod: Document, container: Document, *, read_only: bool) -> str:
    volume, mount = mounted(pod, container)[path]
    assert mount["readOnly"] is volume["persistentVolumeClaim"]["readOnly"] is read_only
    name: str = volume["persistentVolumeClaim"]["claimName"]
    return name


def as_given(pod: Document, container: Document) -> list[Document]:
    """The further volumes of a pod as a file says them, read-only ones as such."""
    found = []
    for path, (volume, mount) in mounted(pod, container).items():
        if path in TAKEN_PATHS:
            continue
        given = {"mountPath": path} | {name: mount[name] for name in ("subPath",) if name in mount}
        if claim := volume.get("persistentVolumeClaim"):
            given |= {"claim": claim["claimName"]} | ({"readOnly": True} if mount["readOnly"] else {})
        elif "configMap" in volume:
            assert mount["readOnly"] is True
            given |= {"configMap": volume["configMap"]["name"]}
        elif "secret" in volume:
            assert mount["readOnly"] is True
            given |= {"secret": volume["secret"]["secretName"]}
        else:
            given |= {"emptyDir": volume["emptyDir"]}
        found.append(given)
    return found


def documented() -> Document:
    """The pod of the page's first example: one that has every field."""
    found: Document = yaml.safe_load(EXAMPLES[0])["spec"]["pod"]
    return found


def made_of(chosen: Document, workers: int = 1, code: Code | None = None, **spec: Any) -> Document:
    work = a_workload(pod=chosen, workers=workers, **spec)
    return pytorch_job(work, KEY, UID, work.trials[0], 1, "the chart's", known=Known(code=code))


def pod_and_container(made: Document) -> tuple[Document, Document]:
    spec = made["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


def test_the_example_has_every_field_and_the_table_names_each() -> None:
    fields = {field.alias for field in Pod.model_fields.values()}
    assert set(documented()) == fields == set(PLACES)
    rows = re.findall(r"^\| `([a-zA-Z]+)", TEXT.split("## ")[0], re.MULTILINE)
    assert set(rows) == fields


def test_the_example_has_every_field_of_what_is_further_down() -> None:
    def fields(model: type[Section]) -> set[str | None]:
        return {field.alias for field in model.model_fields.values()}

    def had(entries: list[Document]) -> set[str | None]:
        return {name for each in entries for name in each}

    example = documented()
    assert had(example["env"]) == fields(PodVariable)
    assert had(example["envFrom"]) == fields(VariablesFrom)
    assert had(example["volumes"]) == fields(Volume)
    assert set(example["securityContext"]) == fields(SecurityContext)


def test_the_page_has_what_each_switch_means() -> None:
    assert re.findall(r"^\| `allow\.(\w+)` \|", TEXT, re.MULTILINE) == list(SWITCHES)


def test_the_page_s_search_is_one_and_asks_for_the_switch_that_it_sets() -> None:
    experiment = load(EXAMPLES[1])
    assert not_permitted(experiment, {"secrets"}) == []
    assert not_permitted(experiment, ())
    assert "--set allow.secrets=true" in TEXT


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("field", PLACES)
def test_a_field_reaches_every_worker_s_pod(field: str, workers: int) -> None:
    given = documented()[field]
    made = made_of(documented(), workers, objective={"metric": "loss", "direction": "Minimize"}, program=PROGRAM)
    assert len(made["spec"]["pytorchReplicaSpecs"]) == workers
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


def test_an_experiment_that_says_nothing_gets_the_chart_s_image_and_a_pod_without_anything() -> None:
    spec, container = pod_and_container(made_of({}))
    assert container["image"] == "the chart's"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert not {"envFrom", "workingDir"} & set(container)
    assert [volume["name"] for volume in spec["volumes"]] == ["tmp"]
    assert {spec["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {65532}
    assert spec["automountServiceAccountToken"] is False
    assert not {
        "nodeSelector", "tolerations", "affinity", "priorityClassName", "runtimeClassName", "serviceAccountName"
    } & set(spec)  # fmt: skip


def test_only_a_chosen_account_s_token_is_mounted() -> None:
    spec, _ = pod_and_container(made_of({"serviceAccountName": "trainer"}))
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("trainer", True)


def test_variables_of_ours_win_and_a_kubelet_never_expands_what_was_written() -> None:
    secret = {"secretKeyRef": {"name": "keys", "key": "token"}}
    names = ("TOKEN", "TRIALRUN_TRIAL", "HOME", "OMP_NUM_THREADS")
    variables = [{"name": name, "valueFrom": secret} for name in names] + [{"name": "PRICE", "value": "$(TOKEN) $"}]
    _, container = pod_and_container(made_of({"env": variables, "envFrom": [{"secretRef": {"name": "keys"}}]}))
    found = {each["name"]: each for each in container["env"]}
    assert len(found) == len(container["env"])
    assert [name for name, each in found.items() if "valueFrom" in each] == ["TOKEN"]
    assert found["TOKEN"] == {"name": "TOKEN", "valueFrom": secret}
    assert found["PRICE"] == {"name": "PRICE", "value": "$$(TOKEN) $$"}
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_a_program_s_variables_may_come_from_a_secret_but_for_those_that_it_gives_itself() -> None:
    secret = {"secretKeyRef": {"name": "keys", "key": "token"}}
    variables = [{"name": name, "valueFrom": secret} for name in ("HOME", "KIND", "TRIALRUN_REPORTS")]
    program = PROGRAM | {"env": [{"name": "KIND", "value": "$a"}]}
    objective = {"metric": "loss", "direction": "Minimize"}
    _, container = pod_and_container(made_of({"env": variables}, objective=objective, program=program))
    found = {each["name"]: each for each in container["env"]}
    assert found["HOME"] == {"name": "HOME", "valueFrom": secret}
    assert found["KIND"] == {"name": "KIND", "value": "$$a"}
    assert found["TRIALRUN_REPORTS"] == {"name": "TRIALRUN_REPORTS", "value": "/dev/termination-log"}


def test_a_claim_is_one_volume_however_often_it_is_mounted() -> None:
    chosen = {
        "dataClaim": "all", "outputClaim": "all",
        "volumes": [
            {"mountPath": "/a", "claim": "all", "subPath": "a", "readOnly": True},
            {"mountPath": "/b", "claim": "other"},
            {"mountPath": "/c", "claim": "other", "readOnly": True},
        ],
    }  # fmt: skip
    spec, container = pod_and_container(made_of(chosen))
    claims = [each["persistentVolumeClaim"] for each in spec["volumes"] if "persistentVolumeClaim" in each]
    assert claims == [{"claimName": "all", "readOnly": False}, {"claimName": "other", "readOnly": False}]
    mounts = {path: mount["readOnly"] for path, (_, mount) in mounted(spec, container).items() if path != "/tmp"}  # noqa: S108
    assert mounts == {"/data": True, "/output": False, "/a": True, "/b": False, "/c": True}


def test_a_claim_that_is_only_read_is_mounted_as_one_that_many_nodes_may_read() -> None:
    volumes = [{"mountPath": f"/{name}", "claim": "models", "readOnly": True} for name in "ab"]
    spec, _ = pod_and_container(made_of({"dataClaim": "models", "volumes": volumes}))
    assert spec["volumes"][1:] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}
    ]


def test_the_paths_that_are_taken_are_those_of_the_pods() -> None:
    program = PROGRAM | {"code": "configmap/mine"}
    objective = {"metric": "loss", "direction": "Minimize"}
    made = made_of(
        documented() | {"volumes": []},
        code=Code("copy", "0123456789ab", ("train.py",)),
        objective=objective,
        program=program,
    )
    spec, container = pod_and_container(made)
    paths = {*mounted(spec, container), container["terminationMessagePath"], orders.FILES}
    assert paths == set(TAKEN_PATHS)
